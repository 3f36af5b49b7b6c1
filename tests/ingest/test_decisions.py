from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.ingest.decisions import DecisionError, accept, retry
from soilpipe.ingest.quarantine import list_decisions, open_quarantine, superseded_scans
from soilpipe.ingest.receipts import list_receipts, read_receipt

SIX, SIX_AGAIN, NOON = "A20_2024-03-06_06H00M.png", "A20_2024-03-06_06H00M00S.png", "A20_2024-03-06_12H00M.png"


@pytest.fixture
def conflict(bench, draw, encode):
    """A bench with an accepted scan and another picture of the same time, in quarantine."""
    bench.deliver(SIX, encode(draw(), ".png"))
    (bench.first,) = bench.run()
    bench.deliver(SIX_AGAIN, encode(draw(seed=1), ".png"))
    (bench.second,) = bench.run()
    return bench


def decide(bench, sha256: str, **keys: object):
    bench.now += timedelta(hours=1)
    return accept(bench.project, bench.scanner, bench.store, sha256, bench.now, **keys)


def test_accepting_the_quarantined_one_puts_the_other_aside(conflict) -> None:
    decision = decide(conflict, conflict.second.sha256[:12], note="the first was a test scan")
    assert decision.outcome == "taken" and decision.sets_aside == (conflict.first.scan_id,)
    assert open_quarantine(conflict.store, conflict.scanner) == []
    assert superseded_scans(conflict.store, "A20") == {conflict.first.scan_id}
    assert read_receipt(conflict.store, decision.scan_id).source_name == SIX_AGAIN
    assert conflict.run() == []


def test_accepting_the_scan_that_is_there_dismisses_the_other(conflict) -> None:
    decision = decide(conflict, conflict.first.scan_id)
    assert decision.outcome == "kept" and decision.sets_aside == ()
    assert open_quarantine(conflict.store, conflict.scanner) == []
    assert superseded_scans(conflict.store, "A20") == frozenset()
    assert len(list_receipts(conflict.store, "A20")) == 1


def test_a_person_may_change_their_mind(conflict) -> None:
    taken = decide(conflict, conflict.second.sha256)
    kept = decide(conflict, conflict.first.scan_id)
    assert kept.sets_aside == (taken.scan_id,)
    assert superseded_scans(conflict.store, "A20") == {taken.scan_id}
    assert decide(conflict, taken.scan_id).outcome == "kept"
    assert superseded_scans(conflict.store, "A20") == {conflict.first.scan_id}
    assert len(list_decisions(conflict.store, "A20")) == 3


def test_one_decision_settles_every_conflict_of_that_time(conflict, draw, encode) -> None:
    conflict.deliver("A20_2024-03-06_06H00M00S.png", encode(draw(seed=2), ".png"))
    conflict.run()
    assert len(open_quarantine(conflict.store, conflict.scanner)) == 2
    decide(conflict, conflict.second.sha256)
    assert open_quarantine(conflict.store, conflict.scanner) == []


@pytest.mark.parametrize("moved", [False, True])
def test_the_same_picture_stays_or_is_moved_to_its_other_time(moved: bool, bench, draw, encode) -> None:
    good = encode(draw(), ".png")
    bench.deliver(SIX, good)
    (first,) = bench.run()
    bench.deliver(NOON, good)
    (second,) = bench.run()
    assert second.kind == "conflict"
    decision = decide(bench, first.sha256 if moved else first.scan_id)
    assert open_quarantine(bench.store, bench.scanner) == []
    assert decision.outcome == ("taken" if moved else "kept")
    assert superseded_scans(bench.store, "A20") == ({first.scan_id} if moved else set())
    if moved:
        assert read_receipt(bench.store, decision.scan_id).device_time == datetime(2024, 3, 6, 12)


def test_a_refused_file_that_cannot_be_read_is_dismissed(bench, draw, encode) -> None:
    bench.deliver(SIX, encode(draw(), ".png")[:-300])
    (refused,) = bench.run()
    decision = decide(bench, refused.sha256)
    assert (decision.outcome, decision.scan_id) == ("dismissed", None)
    assert open_quarantine(bench.store, bench.scanner) == []


def test_a_wrong_extension_may_be_accepted_as_it_is(bench, draw, encode) -> None:
    bench.deliver("A20_2024-03-06_06H00M.jpg", encode(draw(), ".png"))
    (refused,) = bench.run()
    decision = decide(bench, refused.sha256)
    assert decision.outcome == "taken"
    assert read_receipt(bench.store, decision.scan_id).format == "PNG"


def test_a_person_gives_the_time_that_a_name_does_not(bench, draw, encode) -> None:
    bench.deliver("A20_yesterday.png", encode(draw(), ".png"))
    (refused,) = bench.run()
    decision = decide(bench, refused.sha256, device_time=datetime(2024, 3, 6, 6))
    receipt = read_receipt(bench.store, decision.scan_id)
    assert (receipt.device_time, receipt.time_from) == (datetime(2024, 3, 6, 6), "person")
    assert open_quarantine(bench.store, bench.scanner) == []


def test_deciding_twice_is_deciding_once(conflict) -> None:
    when = conflict.now + timedelta(hours=1)
    for _ in range(2):
        accept(conflict.project, conflict.scanner, conflict.store, conflict.second.sha256, when)
    assert len(list_receipts(conflict.store, "A20")) == 2
    assert superseded_scans(conflict.store, "A20") == {conflict.first.scan_id}


@pytest.mark.parametrize("given", ["", "zz", "0000000000"])
def test_a_decision_about_nothing_is_told(given: str, conflict) -> None:
    with pytest.raises(DecisionError, match="quarantine list"):
        decide(conflict, given)


def test_two_refusals_of_the_same_bytes_need_the_time(bench) -> None:
    bench.deliver(SIX, b"")
    bench.deliver(NOON, b"")
    (refused, _) = bench.run()
    with pytest.raises(DecisionError, match=r"06:00:00.*12:00:00.*the time that is meant"):
        decide(bench, refused.sha256)
    decide(bench, refused.sha256, device_time=datetime(2024, 3, 6, 6))
    (left,) = open_quarantine(bench.store, bench.scanner)
    assert left.device_time == datetime(2024, 3, 6, 12)


def test_retry_takes_what_a_raised_limit_allows(make_bench, draw, encode) -> None:
    bench = make_bench(max_pixels=5000)
    bench.deliver(SIX, encode(draw(), ".png"))
    (refused,) = bench.run()
    assert "max_pixels" in refused.reason
    (again,) = retry(bench.project, bench.scanner, bench.store, bench.now)
    assert again.kind == "refused" and len(open_quarantine(bench.store, bench.scanner)) == 1
    allowed = bench.project.model_copy(update={"max_pixels": 10**9})
    (taken,) = retry(allowed, bench.scanner, bench.store, bench.now, sha256=refused.sha256[:8])
    assert taken.kind == "accepted" and open_quarantine(bench.store, bench.scanner) == []


def test_retry_reads_names_by_the_corrected_pattern(bench, draw, encode) -> None:
    bench.deliver("20240306-0600.png", encode(draw(), ".png"))
    assert bench.run()[0].kind == "refused"
    own = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)-(?P<hour>\d\d)(?P<minute>\d\d)"
    corrected = bench.scanner.model_copy(update={"filename": own})
    (taken,) = retry(bench.project, corrected, bench.store, bench.now)
    assert taken.kind == "accepted" and open_quarantine(bench.store, bench.scanner) == []


def test_what_was_refused_does_not_depend_on_the_inbox_any_more(conflict) -> None:
    for path in Path(conflict.scanner.inbox).iterdir():
        path.unlink()
    assert decide(conflict, conflict.second.sha256).outcome == "taken"


def test_a_picture_that_was_kept_at_its_time_may_still_be_moved_to_the_other(bench, draw, encode) -> None:
    good = encode(draw(), ".png")
    bench.deliver(SIX, good)
    (first,) = bench.run()
    bench.deliver(NOON, good)
    bench.run()
    decide(bench, first.scan_id)
    moved = decide(bench, first.sha256, device_time=datetime(2024, 3, 6, 12))
    assert (moved.outcome, moved.sets_aside) == ("taken", (first.scan_id,))
    assert superseded_scans(bench.store, "A20") == {first.scan_id}
    back = decide(bench, first.scan_id)
    assert (back.outcome, back.sets_aside) == ("kept", (moved.scan_id,))
    assert superseded_scans(bench.store, "A20") == {moved.scan_id}


def test_a_file_given_another_time_leaves_the_scan_that_it_contradicted_alone(conflict) -> None:
    decision = decide(conflict, conflict.second.sha256, device_time=datetime(2024, 3, 6, 12))
    assert (decision.outcome, decision.sets_aside) == ("taken", ())
    assert superseded_scans(conflict.store, "A20") == frozenset()
    assert open_quarantine(conflict.store, conflict.scanner) == []
    assert len(list_receipts(conflict.store, "A20")) == 2


def test_a_time_that_stood_in_the_file_stays_one_from_the_file(bench, draw, encode) -> None:
    bench.deliver(SIX, encode(draw(), ".png"))
    bench.run()
    bench.deliver("A20_0001.tif", encode(draw(seed=1), ".tif", datetime="2024:03:06 06:00:00"))
    (second,) = bench.run()
    decision = decide(bench, second.sha256)
    assert read_receipt(bench.store, decision.scan_id).time_from == "file"


def test_a_conflict_names_both_ways_out_and_both_work(conflict) -> None:
    (refusal,) = open_quarantine(conflict.store, conflict.scanner)
    assert "Neither is counted" in refusal.remedy
    _, takes, _, keeps, _ = refusal.remedy.split("`")
    assert takes == f"soilpipe quarantine accept A20 {conflict.second.sha256[:12]}"
    assert keeps == f"soilpipe quarantine accept A20 {conflict.first.scan_id}"
    assert decide(conflict, takes.split()[-1]).outcome == "taken"
    assert decide(conflict, keeps.split()[-1]).outcome == "kept"
