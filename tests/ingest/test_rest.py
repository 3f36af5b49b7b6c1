"""Files that say that they are old while they are being written: copies that were given the time of their original."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.ingest.arrivals import Arrivals, find_arrivals
from soilpipe.ingest.scan import ingest_file

SIX = "A20_2024-03-06_06H00M.png"


@pytest.fixture(autouse=True)
def files_are_as_old_as_they_say() -> None:
    """Here they are as old as they are."""


def look(bench, minutes: float = 0) -> Arrivals:
    return find_arrivals(bench.project, bench.scanner, bench.store, datetime.now(UTC) + timedelta(minutes=minutes))


def names(arrivals: tuple) -> list[str]:
    return [arrival.name for arrival in arrivals]


def test_a_half_copied_file_with_the_time_of_its_original_has_not_come_to_rest(bench) -> None:
    path = bench.deliver(SIX, b"half a pict", age_s=86_400)
    assert (names(look(bench).ready), names(look(bench).growing)) == ([], [SIX])
    with path.open("ab") as file:
        file.write(b"ure")
    os.utime(path, (0, 0))
    assert names(look(bench, 1.9).growing) == [SIX]
    assert names(look(bench, 2.1).ready) == [SIX]


def test_a_file_that_has_its_size_and_time_first_and_its_bytes_afterwards_has_not_come_to_rest(bench) -> None:
    path = bench.deliver(SIX, bytes(11), age_s=86_400)
    assert names(look(bench, -10).growing) == [SIX]
    with path.open("r+b") as file:
        file.write(b"half a")
    os.utime(path, (bench.now.timestamp() - 86_400,) * 2)
    assert names(look(bench).growing) == [SIX], "it was listed ten minutes ago, but not as it is"


def test_other_rights_or_another_hard_link_cost_a_wait_and_no_more(bench, tmp_path: Path) -> None:
    path = bench.deliver(SIX, b"whole", age_s=86_400)
    os.link(path, tmp_path / "elsewhere")
    path.chmod(0o640)
    assert names(look(bench).growing) == [SIX]
    assert names(look(bench, 2.1).ready) == [SIX]


def test_a_marker_with_a_kept_time_is_of_the_file_before(make_bench, draw, encode) -> None:
    bench = make_bench(done_marker=".done")
    bench.deliver(SIX, b"no picture")
    bench.deliver(f"{SIX}.done", b"", age_s=-60)
    (old,) = look(bench).ready
    assert ingest_file(bench.project, bench.scanner, bench.store, old, bench.now).kind == "refused"
    bench.deliver(SIX, encode(draw(), ".png"), age_s=86_400)  # older than the marker, if its time is believed
    assert names(look(bench).growing) == [SIX]
    bench.deliver(f"{SIX}.done", b"")
    assert names(look(bench).ready) == [SIX]


def test_one_that_is_written_to_between_the_look_and_its_turn_is_left_for_the_next_run(bench, draw, encode) -> None:
    image = encode(draw(), ".png")
    path = bench.deliver(SIX, image)
    (arrival,) = look(bench, 3).ready
    status = path.stat()
    path.write_bytes(image)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ingest_file(bench.project, bench.scanner, bench.store, arrival, bench.now).kind == "vanished"
