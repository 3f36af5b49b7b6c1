"""Uploads that are not done yet: a marker beside the file, a name that comes last, a file that moves while read."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.arrivals import Arrivals, find_arrivals, waiting

SIX = "A20_2024-03-06_06H00M.png"


def look(bench, seconds: float = 0) -> Arrivals:
    return find_arrivals(bench.project, bench.scanner, bench.store, bench.now + timedelta(seconds=seconds))


def names(arrivals: tuple) -> list[str]:
    return [arrival.name for arrival in arrivals]


def test_with_a_marker_a_file_is_taken_once_it_is_there_and_then_at_once(make_bench) -> None:
    bench = make_bench(done_marker=".ok")
    bench.deliver(SIX, b"a", age_s=3600)
    for seconds in (0, 86_400):  # however long it lies there
        assert (names(look(bench, seconds).ready), names(look(bench, seconds).growing)) == ([], [SIX])
    bench.deliver(f"{SIX}.ok", b"", age_s=0)
    bench.deliver(SIX, b"ab", age_s=0)
    assert names(look(bench).ready) == [SIX]
    assert look(bench).strangers == ()


def test_a_marker_of_an_earlier_file_of_that_name_says_nothing_of_a_later_one(make_bench, draw, encode) -> None:
    bench = make_bench(done_marker=".done")
    bench.deliver(SIX, b"no picture", age_s=3600)
    bench.deliver(f"{SIX}.done", b"", age_s=3500)
    assert [outcome.kind for outcome in bench.run()] == ["refused"]
    bench.deliver(SIX, encode(draw(), ".png"), age_s=30)
    assert names(look(bench).growing) == [SIX]
    bench.deliver(f"{SIX}.done", b"", age_s=20)
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]


def test_markers_are_no_scans_and_no_strangers(make_bench) -> None:
    bench = make_bench(done_marker="_OK")
    bench.deliver(f"{SIX}_OK", b"")
    arrivals = look(bench)
    assert (arrivals.ready, arrivals.growing, arrivals.strangers) == ((), (), ())


@pytest.mark.parametrize("unfinished", [f".{SIX}.x7Yq2b", f"{SIX}.filepart", f"{SIX}.part", f"{SIX}.tmp"])
def test_a_file_that_gets_its_name_last_is_taken_at_once_without_a_wait(unfinished: str, make_bench) -> None:
    bench = make_bench(settle=timedelta(0))
    half = bench.deliver(unfinished, b"hal", age_s=0)
    assert (look(bench).ready, look(bench).growing) == ((), ())
    half.replace(half.with_name(SIX))
    assert names(look(bench).ready) == [SIX]


def test_the_newest_file_is_not_trusted_for_being_there(bench) -> None:
    bench.deliver(SIX, b"a", age_s=119)
    assert names(look(bench).growing) == [SIX]
    assert names(look(bench, 1).ready) == [SIX]


def test_a_file_still_written_to_under_an_old_time_is_not_taken(bench, draw, encode, monkeypatch) -> None:
    """Programs exist that give a file its time and size first and its bytes afterwards."""
    image = encode(draw(), ".tif")
    path = bench.deliver(SIX.replace("png", "tif"), image)

    def meanwhile(*args: object, **keys: object) -> object:
        written = real(*args, **keys)
        status = path.stat()
        path.write_bytes(image)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return written

    real = scan_module.write_image
    monkeypatch.setattr(scan_module, "write_image", meanwhile)
    (outcome,) = bench.run()
    assert outcome.kind == "vanished" and "changed while it was read" in outcome.reason
    monkeypatch.undo()
    assert [outcome.kind for outcome in bench.run()] == ["accepted"]
    assert Path(bench.project.store).is_dir()


def test_how_long_a_file_has_waited_counts_from_its_first_sight_however_often_it_changed(make_bench) -> None:
    bench = make_bench(done_marker=".done")
    for hours in (0, 12, 24):
        bench.deliver(SIX, b"a" * (hours + 1))
        found = look(bench, 3600 * hours)
        assert (names(found.growing), found.overdue) == ([SIX], ())
    found = look(bench, 86_401)
    assert (found.growing, [late.name for late in found.overdue]) == ((), [SIX])
    assert f"marker {SIX}.done since 2024-04-01 12:00 UTC" in found.overdue[0].sentence
    assert waiting(bench.project, bench.scanner, bench.store, bench.now + timedelta(days=2)) is None
    bench.deliver(f"{SIX}.done", b"")
    assert (names(look(bench, 86_402).ready), look(bench, 86_402).overdue) == ([SIX], ())
