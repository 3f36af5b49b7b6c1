"""Clocks that were wrong, from the file in the inbox to the slot: mended by the project file, no pixel read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe import layout
from soilpipe.config import ClockEntry, Scanner
from soilpipe.counts.series import series_files
from soilpipe.counts.status import project_status
from soilpipe.counts.tables import scanner_tables, scanner_timetable
from soilpipe.counts.truth import read_truth
from soilpipe.counts.verify import rebuild, verify
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.clock import FIRST, LAST, at_present, shown_utc, to_utc
from soilpipe.ingest.decisions import accept, retry
from soilpipe.ingest.quarantine import open_quarantine, superseded_scans
from soilpipe.ingest.receipts import list_receipts, read_receipt

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RESET = datetime(2000, 1, 1)
BATTERY = ClockEntry(from_=RESET, until=RESET + 7 * DAY, set_=datetime(2024, 3, 10, 6), reason="battery")


def name_of(shown: datetime) -> str:
    return f"A20_{shown:%Y-%m-%d_%HH%MM}.png"


def declare(bench: Any, *entries: ClockEntry, **settings: Any) -> None:
    """The project file with these entries instead of those of before."""
    scanner = bench.scanner.model_copy(update={"clock": entries, **settings})
    bench.project = bench.project.model_copy(update={"scanners": (scanner,)})


def deliver(bench: Any, encode: Any, draw: Any, shown: datetime, seed: int, came: datetime | None = None) -> bytes:
    picture = encode(draw(24, 32, seed=seed), ".png")
    age = (bench.now - came).total_seconds() if came else 3600
    bench.deliver(name_of(shown), picture, age_s=age)
    return picture


def rebuilt(bench: Any) -> dict[datetime, str | None]:
    """The scan of every slot, by local time, after `soilpipe rebuild`; nothing is wrong with the store then."""
    rebuild(bench.project, bench.store, bench.now)
    assert verify(bench.project, bench.store) == []
    truth = read_truth(bench.store, bench.scanner)
    table = scanner_timetable(bench.scanner, truth, bench.now)
    files = [
        key
        for tables in scanner_tables(bench.project, bench.scanner, bench.store, truth, table.slots)
        for key, _ in series_files("A20", tables)
    ]
    assert all(bench.store.exists(key) for key in files)
    local = {slot.slot.astimezone(bench.scanner.zone).replace(tzinfo=None): slot for slot in table.slots}
    return {at: slot.scan_id for at, slot in local.items() if slot.scan_id and slot.observed}


def stored(bench: Any, *folders: str) -> dict[str, tuple[bytes, int]]:
    return {key: what for key, what in bench.bytes_of_the_store().items() if key.split("/")[0] in folders}


@pytest.fixture
def no_pixels(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From the call on, opening a picture fails."""

    def forbid() -> None:
        def fail(*args: object, **options: object) -> None:
            raise AssertionError("a picture was opened")

        monkeypatch.setattr(scan_module, "open_reader", fail)

    return forbid


def test_a_clock_that_fell_back_for_a_week_is_mended_by_one_entry(bench, draw, encode, no_pixels) -> None:
    right = [datetime(2024, 3, 9, 18) + step * 6 * HOUR for step in range(2)]
    wrong = [RESET + step * 6 * HOUR for step in range(5)]
    later = datetime(2024, 3, 12, 6)
    for seed, shown in enumerate([*right, *wrong, later]):
        deliver(bench, encode, draw, shown, seed)
    assert {outcome.kind for outcome in bench.run()} == {"accepted"}
    before = rebuilt(bench)
    assert sorted(before) == [*right, later]
    (status,) = project_status(bench.project, bench.store, bench.now)
    assert [doubt.kind for doubt in status.clock] == ["reset"] and len(status.unslotted) == 5
    first_bytes = stored(bench, "series")
    truth_bytes = stored(bench, "receipts", "scans", "quarantine")

    no_pixels()
    declare(bench, BATTERY)
    after = rebuilt(bench)
    mended = [datetime(2024, 3, 10, 6) + step * 6 * HOUR for step in range(5)]
    assert sorted(after) == [*right, *mended, later]
    assert [layout.parse_scan_id(after[at]).device_time for at in mended] == wrong
    (status,) = project_status(bench.project, bench.store, bench.now)
    assert status.clock == () and status.unslotted == ()
    assert stored(bench, "receipts", "scans", "quarantine") == truth_bytes
    assert stored(bench, "series") != first_bytes

    declare(bench)
    assert rebuilt(bench) == before
    assert {key: what[0] for key, what in stored(bench, "series").items()} == {
        key: what[0] for key, what in first_bytes.items()
    }


def test_a_corrected_time_zone_moves_scans_without_a_receipt_being_written(bench, draw, encode, no_pixels) -> None:
    deliver(bench, encode, draw, datetime(2024, 3, 6, 6), 0)
    bench.run()
    before = stored(bench, "receipts", "scans")
    no_pixels()
    declare(bench, timezone="America/Cayenne")
    assert list(rebuilt(bench)) == [datetime(2024, 3, 6, 6)]
    (receipt,) = list_receipts(bench.store, "A20")
    assert receipt.timezone == "Europe/Paris" and receipt.captured_at == datetime(2024, 3, 6, 5, tzinfo=UTC)
    assert at_present(receipt, bench.scanner).captured_at == datetime(2024, 3, 6, 9, tzinfo=UTC)
    assert stored(bench, "receipts", "scans") == before
    (status,) = project_status(bench.project, bench.store, bench.now)
    assert status.needs_person == () or all("sent nothing" in need for need in status.needs_person)


@pytest.fixture
def two_resets(bench, draw, encode):
    """The clock began again at the same time in spring and in autumn: the later scans contradict the earlier ones."""
    bench.now = datetime(2024, 9, 10, 12, tzinfo=UTC)
    bench.spring, bench.autumn = datetime(2024, 3, 10, 6), datetime(2024, 9, 5, 6)
    for seed, real in ((0, bench.spring), (10, bench.autumn)):
        for step in range(3):
            shown, came = RESET + step * 6 * HOUR, (real + step * 6 * HOUR).replace(tzinfo=UTC)
            deliver(bench, encode, draw, shown, seed + step, came)
        bench.kinds = [outcome.kind for outcome in bench.run()]
    assert bench.kinds == ["conflict"] * 3
    between = datetime(2024, 6, 1, tzinfo=UTC)
    end = RESET + DAY
    bench.entries = (
        ClockEntry(from_=RESET, until=end, set_=bench.spring, arrived_until=between, reason="battery"),
        ClockEntry(from_=RESET, until=end, set_=bench.autumn, arrived_from=between, reason="battery again"),
    )
    return bench


def test_conflicts_of_an_earlier_year_vanish_and_the_files_can_be_taken(two_resets) -> None:
    bench = two_resets
    spring = [bench.spring + step * 6 * HOUR for step in range(3)]
    autumn = [bench.autumn + step * 6 * HOUR for step in range(3)]
    assert rebuilt(bench) == {}
    kept = stored(bench, "quarantine", "receipts")
    (status,) = project_status(bench.project, bench.store, bench.now)
    assert sum("`arrived_from` and `arrived_until`" in need for need in status.needs_person) == 3
    declare(bench, *bench.entries)
    assert sorted(rebuilt(bench)) == spring
    assert [q.conflicts_with for q in open_quarantine(bench.store, bench.scanner)] == [None] * 3
    (status,) = project_status(bench.project, bench.store, bench.now)
    assert status.slots["quarantined"] == 3
    told = [need for need in status.needs_person if "quarantine retry --scanner A20" in need]
    assert len(told) == 3 and not any("contradicts" in need for need in status.needs_person)
    assert stored(bench, "quarantine", "receipts") == kept

    outcomes = retry(bench.project, bench.scanner, bench.store, bench.now)
    assert [outcome.kind for outcome in outcomes] == ["accepted"] * 3
    assert open_quarantine(bench.store, bench.scanner) == []
    assert sorted(rebuilt(bench)) == [*spring, *autumn]
    assert bench.run() == []

    declare(bench)  # taken back, they contradict each other as before, and none is counted
    assert rebuilt(bench) == {}
    assert len(open_quarantine(bench.store, bench.scanner)) == 3


def test_one_that_is_wrong_otherwise_too_stays_and_is_told_once(two_resets, monkeypatch) -> None:
    bench = two_resets
    later = bench.entries[1].model_copy(update={"set_": bench.spring + HOUR * 6})
    declare(bench, bench.entries[0], later)  # wrong by half a year: now it meets the next scans of spring
    bench.now += HOUR
    outcomes = retry(bench.project, bench.scanner, bench.store, bench.now)
    assert sorted(outcome.kind for outcome in outcomes) == ["accepted", "conflict", "conflict"]
    open_now = open_quarantine(bench.store, bench.scanner)
    assert len(open_now) == 2 and all(q.conflicts_with for q in open_now)
    declare(bench, *bench.entries)
    bench.now += HOUR
    outcomes = retry(bench.project, bench.scanner, bench.store, bench.now)
    assert [outcome.kind for outcome in outcomes] == ["accepted"] * 2
    assert len(rebuilt(bench)) == 6


def test_with_the_entry_there_first_nothing_conflicts(bench, draw, encode) -> None:
    bench.now = datetime(2024, 9, 10, 12, tzinfo=UTC)
    between = datetime(2024, 6, 1, tzinfo=UTC)
    once = ClockEntry(from_=RESET, until=RESET + DAY, set_=datetime(2024, 3, 1), arrived_until=between, reason="x")
    again = ClockEntry(from_=RESET, until=RESET + DAY, set_=datetime(2024, 9, 1), arrived_from=between, reason="x")
    declare(bench, once, again)
    for seed, came in enumerate((datetime(2024, 3, 1, 1, tzinfo=UTC), datetime(2024, 9, 1, 1, tzinfo=UTC))):
        deliver(bench, encode, draw, RESET, seed, came)
        (outcome,) = bench.run()
        assert outcome.kind == "accepted"
    assert sorted(rebuilt(bench)) == [datetime(2024, 3, 1), datetime(2024, 9, 1)]
    receipts = list_receipts(bench.store, "A20")
    assert {receipt.captured_at for receipt in receipts} == {datetime(1999, 12, 31, 23, tzinfo=UTC)}


def test_a_conflict_is_told_after_correction(bench, draw, encode) -> None:
    deliver(bench, encode, draw, datetime(2024, 3, 10, 12), 0)
    (right,) = bench.run()
    declare(bench, BATTERY)
    deliver(bench, encode, draw, RESET + 6 * HOUR, 1)
    (wrong,) = bench.run()
    assert (wrong.kind, wrong.scan_id) == ("conflict", right.scan_id)
    assert rebuilt(bench) == {}
    bench.now += HOUR
    taken = accept(bench.project, bench.scanner, bench.store, wrong.sha256, bench.now)
    assert taken.sets_aside == (right.scan_id,) == tuple(superseded_scans(bench.store, "A20"))
    assert rebuilt(bench) == {datetime(2024, 3, 10, 12): taken.scan_id}


def test_the_same_bytes_under_the_right_name_are_a_second_copy(bench, draw, encode) -> None:
    picture = deliver(bench, encode, draw, RESET + 6 * HOUR, 0)
    (first,) = bench.run()
    renamed = name_of(datetime(2024, 3, 10, 12))
    declare(bench, BATTERY)
    bench.deliver(renamed, picture)
    (second,) = bench.run()
    assert (second.kind, second.scan_id) == ("repeat", first.scan_id)


def test_bytes_that_contradicted_themselves_do_so_no_longer(bench, draw, encode) -> None:
    picture = deliver(bench, encode, draw, RESET + 6 * HOUR, 0)
    (first,) = bench.run()
    bench.deliver(name_of(datetime(2024, 3, 10, 12)), picture)
    (second,) = bench.run()
    assert second.kind == "conflict" and len(open_quarantine(bench.store, bench.scanner)) == 1
    declare(bench, BATTERY)
    assert open_quarantine(bench.store, bench.scanner) == []
    assert rebuilt(bench) == {datetime(2024, 3, 10, 12): first.scan_id}


def test_two_accepted_scans_that_an_entry_moves_together_wait_for_a_person(bench, draw, encode) -> None:
    for seed, shown in enumerate((RESET + 6 * HOUR, datetime(2024, 3, 10, 12))):
        deliver(bench, encode, draw, shown, seed)
    one, other = bench.run()
    declare(bench, BATTERY)
    assert rebuilt(bench) == {}
    bench.now += HOUR
    decision = accept(bench.project, bench.scanner, bench.store, other.scan_id, bench.now)
    assert (decision.outcome, decision.sets_aside) == ("kept", (one.scan_id,))
    assert rebuilt(bench) == {datetime(2024, 3, 10, 12): other.scan_id}


def test_a_truncated_file_is_superseded_by_the_good_one_of_the_real_time(bench, draw, encode) -> None:
    deliver(bench, encode, draw, RESET + 6 * HOUR, 0)
    path = Path(bench.scanner.inbox) / name_of(RESET + 6 * HOUR)
    bench.deliver(path.name, path.read_bytes()[:-200])
    assert [outcome.kind for outcome in bench.run()] == ["refused"]
    deliver(bench, encode, draw, datetime(2024, 3, 10, 12), 0)
    bench.run()
    assert len(open_quarantine(bench.store, bench.scanner)) == 1
    declare(bench, BATTERY)
    assert open_quarantine(bench.store, bench.scanner) == []


def test_receipts_say_the_same_whatever_entries_there_are(make_bench, draw, encode, tmp_path) -> None:
    bench = make_bench()
    deliver(bench, encode, draw, RESET, 0)
    (outcome,) = bench.run()
    plain = bench.store.read_bytes(layout.receipt(outcome.scan_id))
    bench.store.delete(layout.receipt(outcome.scan_id))
    declare(bench, BATTERY)
    (again,) = bench.run()
    assert again.scan_id == outcome.scan_id
    assert bench.store.read_bytes(layout.receipt(again.scan_id)) == plain
    assert read_receipt(bench.store, again.scan_id).device_time == RESET


PARIS = Scanner(id="A20", site="wood", inbox="/nowhere", timezone="Europe/Paris")
UTC_SCANNER = Scanner(id="A20", site="wood", inbox="/nowhere", timezone="UTC")


def test_the_time_that_was_set_is_exact_and_the_rest_is_elapsed_time() -> None:
    summer = ClockEntry(from_=RESET, until=RESET + 30 * DAY, set_=datetime(2024, 3, 28, 6), reason="x")
    scanner = PARIS.model_copy(update={"clock": (summer,)})
    local = [to_utc(RESET + days * DAY, scanner).astimezone(scanner.zone).replace(tzinfo=None) for days in (0, 2, 4)]
    assert local == [datetime(2024, 3, 28, 6), datetime(2024, 3, 30, 6), datetime(2024, 4, 1, 7)]


def test_a_drift_grows_from_the_beginning_of_its_entry() -> None:
    drift = ClockEntry(from_=datetime(2024, 3, 1), offset=HOUR, drift=timedelta(seconds=12), reason="x")
    scanner = UTC_SCANNER.model_copy(update={"clock": (drift,)})
    assert to_utc(datetime(2024, 3, 1), scanner) == datetime(2024, 3, 1, 1, tzinfo=UTC)
    assert to_utc(datetime(2024, 3, 31), scanner) == datetime(2024, 3, 31, 1, 6, tzinfo=UTC)
    assert to_utc(datetime(2024, 2, 29, 23, 59, 59), scanner) == datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("scanner", [PARIS, UTC_SCANNER])
def test_the_ends_of_the_calendar_are_times_too(scanner: Scanner) -> None:
    far = ClockEntry(from_=datetime(9000, 1, 1), until=datetime(9999, 12, 31), offset=36_600 * DAY, reason="x")
    for one in (scanner, scanner.model_copy(update={"clock": (far,)})):
        assert to_utc(datetime(1, 1, 1), one) == FIRST
        assert to_utc(datetime(9999, 12, 31, 23, 59, 59), one) == LAST
        assert to_utc(datetime(9998, 6, 1), one) <= LAST


moments = st.datetimes(datetime(1970, 1, 2), datetime(2035, 1, 1)).map(lambda at: at.replace(microsecond=0))
zones = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
moves = st.one_of(
    st.timedeltas(-9000 * DAY, 9000 * DAY).map(lambda span: {"offset": span}),
    moments.map(lambda at: {"set": at}),
    st.timedeltas(-6 * HOUR, 6 * HOUR).map(lambda span: {"drift": span}),
    st.tuples(st.timedeltas(-DAY, DAY), st.timedeltas(-6 * HOUR, 6 * HOUR)).map(
        lambda both: {"offset": both[0], "drift": both[1]}
    ),
)


def exists(shown: datetime, scanner: Scanner) -> bool:
    """Whether a clock of that zone ever shows this."""
    return shown_utc(shown, scanner).astimezone(scanner.zone).replace(tzinfo=None) == shown


@settings(max_examples=200, deadline=None)
@given(zone=zones, start=moments, length=st.integers(2, 10**7), move=moves, share=st.tuples(*[st.floats(0, 0.999)] * 2))
def test_later_times_of_an_entry_stay_later_and_all_others_stay(
    zone: str, start: datetime, length: int, move: dict[str, Any], share: tuple[float, float]
) -> None:
    plain = UTC_SCANNER.model_copy(update={"timezone": zone})
    end = start + timedelta(seconds=length)
    entry = ClockEntry(from_=start, until=end, reason="x", **move)
    scanner = plain.model_copy(update={"clock": (entry,)})
    one, other = sorted(start + timedelta(seconds=int(length * part)) for part in share)
    if exists(one, plain) and exists(other, plain) and one < other:
        assert to_utc(one, scanner) < to_utc(other, scanner)
    for outside in (start - timedelta(seconds=1), end, end + DAY):
        assert to_utc(outside, scanner) == shown_utc(outside, scanner) == to_utc(outside, plain)


@settings(max_examples=100, deadline=None)
@given(zone=zones, shown=moments)
def test_without_entries_the_device_is_believed(zone: str, shown: datetime) -> None:
    scanner = UTC_SCANNER.model_copy(update={"timezone": zone})
    assert to_utc(shown, scanner) == shown_utc(shown, scanner) == shown.replace(tzinfo=scanner.zone).astimezone(UTC)
