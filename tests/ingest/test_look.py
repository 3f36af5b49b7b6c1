"""A look that lists a part of the inbox misses nothing for long, and its price does not grow with the inbox.

Pages are made here of a folder's listing, as S3 gives them; `tests/storage/test_look_on_s3.py` asks a server.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe import layout
from soilpipe.inbox import Page
from soilpipe.ingest import look
from soilpipe.ingest.arrivals import Arrival, Arrivals, find_arrivals
from soilpipe.ingest.index import load_index, remember
from soilpipe.ingest.names import PRESETS, begin_and_time
from soilpipe.store import Inbox

PAGE, MARGIN = 8, 5
START = datetime(2024, 3, 6)
SIX_HOURS = timedelta(hours=6)
STRANGER = "C9_2024-03-06_06H00M.png"


def scan(number: int, start: datetime = START, scanner: str = "A20") -> str:
    return f"{scanner}_{start + number * SIX_HOURS:%Y-%m-%d_%HH%MM}.png"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Inboxes on disk list by pages; where each page that was asked for began."""
    asked: list[str] = []

    def page(self: Inbox, after: str = "", begins: str = "") -> Page:
        asked.append(after)
        found = [entry for entry in Inbox.list(self) if entry.key > after and entry.key.startswith(begins)]
        return Page(tuple(found[:PAGE]), found[PAGE - 1].key if len(found) > PAGE else None)

    monkeypatch.setattr(Inbox, "page", page)
    monkeypatch.setattr(Inbox, "has_pages", True)
    monkeypatch.setattr(look, "MARGIN", MARGIN)
    return asked


def take(bench: Any, scanner: Any, arrival: Arrival) -> None:
    """As if it had been taken in, without a picture: the object that says so, and the note."""
    data = (Path(scanner.inbox) / arrival.entry.key).read_bytes()
    sha256 = hashlib.sha256(arrival.name.encode() + data).hexdigest()
    scan_id = None
    if arrival.device_time is not None:
        scan_id = layout.make_scan_id(scanner.id, arrival.device_time, sha256)
    key = layout.receipt(scan_id) if scan_id else layout.quarantine_reason(scanner.id, sha256)
    remember(
        bench.store, scanner.id, arrival.name, arrival.entry, sha256, "accepted" if scan_id else "refused", scan_id
    )
    bench.store.write_bytes(key, b"")


def run(bench: Any, everything: bool = False, scanner: Any = None) -> Arrivals:
    """A scheduled run six hours after the one before; takes what is ready."""
    bench.now += SIX_HOURS
    scanner = scanner or bench.scanner
    found = find_arrivals(bench.project, scanner, bench.store, bench.now, everything=everything)
    for arrival in found.ready:
        take(bench, scanner, arrival)
    return found


def names(arrivals: tuple[Arrival, ...]) -> list[str]:
    return [arrival.name for arrival in arrivals]


@pytest.fixture
def years(bench: Any, pages: list[str]) -> Any:
    """An inbox of 60 known scans, more than seven pages."""
    bench.now = datetime.fromisoformat("2024-03-21T00:00Z")
    for number in range(60):
        bench.deliver(scan(number), b"x")
    assert len(run(bench).ready) == 60
    return bench


def runs_until_taken(bench: Any, name: str) -> int:
    for number in range(1, 30):
        if name in names(run(bench).ready):
            return number
    raise AssertionError(f"{name} was never taken")


ROUND = math.ceil(70 / (PAGE - 1)) + 2


def test_the_newest_is_found_at_once_and_the_rest_within_a_round(years, pages) -> None:
    for number in range(60, 66):
        years.deliver(scan(number), b"x")
        pages.clear()
        found = run(years)
        assert (names(found.ready), found.is_whole) == ([scan(number)], False)
        assert len(pages) <= 4  # up to two at the end, and the round's
    years.deliver(scan(60, START - timedelta(days=400)), b"late")
    assert runs_until_taken(years, scan(60, START - timedelta(days=400))) <= ROUND
    years.deliver("A20_broken.png", b"odd")
    assert runs_until_taken(years, "A20_broken.png") <= ROUND
    years.deliver(STRANGER, b"nobody's")
    assert any(STRANGER in run(years).strangers for _ in range(ROUND))


def test_what_comes_some_days_late_is_found_at_once(years) -> None:
    late = f"A20_{START + 57.5 * SIX_HOURS:%Y-%m-%d_%HH%MM}.png"
    years.deliver(late, b"late")
    assert names(run(years).ready) == [late]


def test_a_long_absence_is_made_up_for_in_one_run(years) -> None:
    later = [scan(number) for number in range(300, 350)]
    for name in later:
        years.deliver(name, b"x")
    assert names(run(years).ready) == later


def test_a_clock_that_was_reset_is_found_by_the_round_and_then_followed(years) -> None:
    reset = [scan(number, datetime(2000, 1, 1)) for number in range(40)]
    years.deliver(reset[0], b"x")
    runs_until_taken(years, reset[0])
    run(years)
    for name in reset[1:]:
        years.deliver(name, b"x")
        assert names(run(years).ready) == [name]
    years.deliver(scan(70), b"mended")
    assert names(run(years).ready) == [scan(70)]


def test_a_clock_ahead_hides_no_later_scan(years, pages) -> None:
    ahead = [scan(number, datetime(2034, 1, 1)) for number in range(30)]
    for name in ahead:
        years.deliver(name, b"x")
    assert names(run(years).ready) == ahead
    years.deliver(scan(80), b"x")
    run(years)
    pages.clear()
    years.deliver(scan(81), b"x")
    assert names(run(years).ready) == [scan(81)] and len(pages) <= 4


def test_one_too_young_in_the_round_is_looked_at_again_by_the_next_run(years) -> None:
    late = scan(-100)
    years.deliver(late, b"x", age_s=-1e6)  # as on servers whose clock is ahead: only two listings tell
    for _ in range(ROUND):
        if late in names(run(years).growing):
            break
    assert late in names(run(years).ready)


def test_what_waits_elsewhere_still_waits_and_its_marker_is_found(years) -> None:
    scanner = years.scanner.model_copy(update={"done_marker": ".done", "missing_after": timedelta(days=99)})
    years.project = years.project.model_copy(update={"scanners": (scanner,)})
    late = scan(-100)
    years.deliver(late, b"x")
    while late not in names(run(years).growing):
        pass
    for _ in range(2 * ROUND):
        found = run(years)
        assert names(found.growing) == [late] and found.ready == ()
    years.deliver(f"{late}.done", b"")
    assert runs_until_taken(years, late) <= ROUND
    assert run(years).growing == ()


def test_a_lost_receipt_is_noticed_in_a_round(years) -> None:
    lost = sorted(years.store.keys("receipts"))[7]
    years.store.delete(lost)
    taken = [name for _ in range(ROUND) for name in names(run(years).ready)]
    assert taken == [scan(7)] and years.store.exists(lost)


@pytest.mark.parametrize("lose", ["index", "index_notes"])
def test_without_an_index_everything_is_looked_at(lose: str, years) -> None:
    years.deliver(scan(-100), b"x")
    years.store.delete(getattr(layout, lose)("A20"))
    if lose == "index":
        for key in years.store.keys("receipts"):
            years.store.delete(key)  # the stand-ins of this test hold nothing to make an index of
    found = run(years)
    assert found.is_whole and scan(-100) in names(found.ready)


def test_a_person_sees_everything_and_other_patterns_begin_anew(years) -> None:
    years.deliver(scan(-100), b"x")
    before = load_index(years.store, "A20").round
    found = find_arrivals(years.project, years.scanner, years.store, years.now)
    assert names(found.ready) == [scan(-100)] and found.is_whole
    assert load_index(years.store, "A20").round == before
    scanner = years.scanner.model_copy(update={"filename": PRESETS["soil_scan"]})
    years.project = years.project.model_copy(update={"scanners": (scanner,)})
    assert run(years).is_whole and not run(years).is_whole


@pytest.mark.parametrize(
    ("pattern", "name", "begin"),
    [
        ("soil_scan", "A20_2024-03-06_06H00M.jp2", "A20_"),
        ("stickypi", "08038ade.2020-07-08_10-48-38.jpg", "08038ade."),
        ("iso", "A20_2024-03-06T06-00.tiff", "A20_"),
        ("iso", "20240306T060000.tiff", ""),
        ("ci600", "PD_T088_L004_17.10.18_140056_014_SS_crop.tiff", None),
        ("soil_scan", "A20_2024-13-06_06H00M.jp2", None),
        (r"(?P<scanner>\w+)_IMG\d+", "A20_IMG0001.tiff", None),
        (r"(?P<hour>\d\d)(?P<minute>\d\d)_(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)", "0600_20240306.tiff", None),
    ],
)
def test_names_that_sort_by_time_are_told_from_others(pattern: str, name: str, begin: str | None) -> None:
    found = begin_and_time(name, pattern)
    assert (found and found[0]) == begin


def test_where_names_do_not_sort_by_time_everything_is_listed(make_bench, pages) -> None:
    bench = make_bench("PD_T088_L004", filename="ci600")
    name = "PD_T088_L004_17.10.18_140056_014_SS_crop.tiff"
    bench.deliver(name, b"x")
    for _ in range(3):
        found = find_arrivals(bench.project, bench.scanner, bench.store, bench.now, everything=False)
        assert found.is_whole and names(found.ready) == [name]


def test_scanners_that_share_an_inbox_find_their_own_and_the_first_what_is_nobodys(make_bench, pages) -> None:
    bench = make_bench("B7", "A20", "A20O", shared=True)
    bench.now = datetime.fromisoformat("2024-03-21T00:00Z")
    for scanner in bench.project.scanners:
        for number in range(40):
            bench.deliver(scan(number, scanner=scanner.id), b"x")
        assert len(run(bench, scanner=scanner).ready) == 40
    late = {scanner.id: scan(-50, scanner=scanner.id) for scanner in bench.project.scanners}
    for name in (*late.values(), STRANGER):
        bench.deliver(name, b"late")
    for scanner in bench.project.scanners:
        pages.clear()
        found = [run(bench, scanner=scanner) for _ in range(math.ceil(82 / (PAGE - 1)) + 2)]
        assert [name for one in found for name in names(one.ready)] == [late[scanner.id]]
        told = {name for one in found for name in one.strangers}
        assert told == ({STRANGER} if scanner.id == "B7" else set())


steps = st.lists(
    st.lists(
        st.one_of(
            st.integers(0, 90).map(scan),
            st.integers(0, 40).map(lambda number: scan(number, datetime(2000, 1, 1))),
            st.integers(0, 6).map(lambda number: scan(number, datetime(2031, 5, 1))),
            st.sampled_from(["A20_broken.png", "A20_0.png", STRANGER, "A20-x.png", "0.png", "zoo.png", "notes.txt"]),
        ),
        max_size=12,
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=steps, first=st.integers(0, 40))
def test_in_the_end_it_is_what_looks_at_everything_would_have_found(
    deliveries: list[list[str]], first: int, make_bench: Any, pages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = make_bench()
    folder = tmp_path_factory.mktemp("example")
    (folder / "inbox").mkdir()
    scanner = bench.scanner.model_copy(update={"inbox": str(folder / "inbox")})
    bench.project = bench.project.model_copy(update={"scanners": (scanner,), "store": str(folder / "store")})
    bench.__post_init__()
    taken: list[tuple[str, bytes]] = []
    strangers: set[str] = set()

    def step() -> None:
        found = run(bench)
        taken.extend((name, (folder / "inbox" / name).read_bytes()) for name in names(found.ready))
        strangers.update(found.strangers)

    for number, delivery in enumerate([list(map(scan, range(first))), *deliveries]):
        for name in delivery:
            bench.deliver(name, bytes([number]))
        step()
    files = {path.name: path.read_bytes() for path in (folder / "inbox").iterdir()}
    for _ in range(2 * math.ceil(len(files) / (PAGE - 1)) + 3):
        step()
    assert len(taken) == len(set(taken))  # each content once
    assert {(name, data) for name, data in files.items() if name not in strangers} <= set(taken)
    everything = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert everything.ready == () and set(everything.strangers) == strangers
