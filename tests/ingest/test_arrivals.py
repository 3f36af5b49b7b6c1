from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.ingest.arrivals import find_arrivals, printable, to_utc, waiting
from soilpipe.store import InboxError


def names(arrivals: tuple) -> list[str]:
    return [arrival.name for arrival in arrivals]


def test_a_file_is_taken_once_it_has_come_to_rest(bench) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", b"a", age_s=3600)
    young = bench.deliver("A20_2024-03-06_12H00M.png", b"a", age_s=30)
    look = lambda seconds: find_arrivals(  # noqa: E731
        bench.project, bench.scanner, bench.store, bench.now + timedelta(seconds=seconds)
    )
    first = look(0)
    assert names(first.ready) == ["A20_2024-03-06_06H00M.png"]
    assert names(first.growing) == ["A20_2024-03-06_12H00M.png"]
    young.write_bytes(b"ab")  # it grew, and its time is that of this test
    assert names(look(60).growing) == ["A20_2024-03-06_12H00M.png"]
    assert names(look(60 + 119).growing) == ["A20_2024-03-06_12H00M.png"]
    assert names(look(60 + 120).ready) == ["A20_2024-03-06_06H00M.png", "A20_2024-03-06_12H00M.png"]


def test_a_clock_ahead_does_not_hold_a_file_back_forever(bench) -> None:
    bench.deliver("A20_2024-03-06_06H00M.png", b"a", age_s=-7200)
    assert not find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    assert find_arrivals(bench.project, bench.scanner, bench.store, bench.now + timedelta(minutes=2)).ready


def test_the_oldest_comes_first_and_what_has_no_time_last(bench) -> None:
    for name in ("A20_2024-03-06_12H00M.png", "A20_broken.png", "A20_2023-03-06_12H00M.png"):
        bench.deliver(name, b"a")
    ready = find_arrivals(bench.project, bench.scanner, bench.store, bench.now).ready
    assert names(ready) == ["A20_2023-03-06_12H00M.png", "A20_2024-03-06_12H00M.png", "A20_broken.png"]
    assert ready[2].captured_at is None and "does not follow the pattern" in ready[2].name_problem


def test_nothing_is_detected_past_a_file_that_still_waits(bench) -> None:
    assert waiting(bench.project, bench.scanner, bench.store, bench.now) is None
    bench.deliver("A20_2024-03-06_12H00M.png", b"a")
    bench.deliver("A20_2024-03-06_06H00M.png", b"a", age_s=1)
    assert waiting(bench.project, bench.scanner, bench.store, bench.now) == datetime(2024, 3, 6, 5, tzinfo=UTC)


def test_in_a_shared_inbox_each_takes_its_own_and_strangers_are_told_once(make_bench) -> None:
    bench = make_bench("a5", "a50", "b7", shared=True, filename="stickypi", slots="irregular")
    for name in ("a5.2020-07-08_10-48-38.jpg", "a50.2020-07-08_10-48-38.jpg", "b7.2020-07-08_10-48-38.jpg"):
        bench.deliver(name, b"a")
    for name in ("c9.2020-07-08_10-48-38.jpg", "notes.txt", "holiday.jpg", "a50.2020-77-08_10-48-38.jpg"):
        bench.deliver(name, b"a")
    found = [find_arrivals(bench.project, scanner, bench.store, bench.now) for scanner in bench.project.scanners]
    assert [names(arrivals.ready) for arrivals in found] == [
        ["a5.2020-07-08_10-48-38.jpg"],
        ["a50.2020-07-08_10-48-38.jpg", "a50.2020-77-08_10-48-38.jpg"],
        ["b7.2020-07-08_10-48-38.jpg"],
    ]
    assert [arrivals.strangers for arrivals in found] == [
        ("c9.2020-07-08_10-48-38.jpg", "holiday.jpg", "notes.txt"),
        (),
        (),
    ]


def test_a_file_of_another_scanner_in_an_inbox_of_ones_own_is_told_not_taken(bench) -> None:
    path = bench.deliver("B99_2024-03-06_06H00M.png", b"a")
    arrivals = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert arrivals.ready == () and arrivals.strangers == (path.name,)
    assert path.exists()


@pytest.mark.parametrize("name", [".DS_Store", "A20_2024-03-06_06H00M.png.part", "A20_2024-03-06_06H00M.png.sha256"])
def test_what_lies_beside_scans_is_no_arrival(name: str, bench) -> None:
    bench.deliver(name, b"a")
    arrivals = find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert (arrivals.ready, arrivals.growing, arrivals.strangers) == ((), (), ())


def test_an_inbox_that_does_not_exist_is_told(bench) -> None:
    Path(bench.scanner.inbox).rmdir()
    with pytest.raises(InboxError, match="A20 does not exist"):
        find_arrivals(bench.project, bench.scanner, bench.store, bench.now)


def test_looking_at_an_empty_inbox_writes_nothing(bench) -> None:
    find_arrivals(bench.project, bench.scanner, bench.store, bench.now)
    assert not Path(bench.project.store).exists()


def test_local_times_become_utc_doubled_ones_the_first(bench) -> None:
    assert to_utc(datetime(2024, 7, 1, 12), bench.scanner) == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert to_utc(datetime(2024, 10, 27, 2, 30), bench.scanner) == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    skipped = to_utc(datetime(2024, 3, 31, 2, 30), bench.scanner)
    assert skipped - datetime(2024, 3, 31, 1, 30, tzinfo=UTC) == timedelta(microseconds=1)


def test_any_name_can_be_printed() -> None:
    assert printable("sc\udcffan\n.jpg") == r"sc\xffan\x0a.jpg"
    assert printable("Forêt.jpg") == "Forêt.jpg"
