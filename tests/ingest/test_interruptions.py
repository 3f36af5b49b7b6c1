"""Killed at any moment and run again, or run twice at once: the same bytes, and nothing lost.

Each killed case stops a real run of its own process where a power cut could: SIGKILL, no clean-up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from soilpipe import atomic, atomic_zarr, layout, local_files
from soilpipe.ingest import scan as scan_module
from soilpipe.ingest.receipts import list_receipts

NAME = "A20_2024-03-06_06H00M.png"


def kill_after(writes: int) -> None:
    left = [writes]

    def write(target: Path, temporary: Path, blocks: Iterator[bytes]) -> None:
        def halfway() -> Iterator[bytes]:
            for block in blocks:
                yield bytes(block)[: len(block) // 2]
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield bytes(block)[len(block) // 2 :]

        atomic.write_atomically(target, temporary, halfway())
        left[0] -= 1

    local_files.write_atomically = write  # objects
    atomic_zarr.write_atomically = write  # shards


def kill_before_the_receipt(_: int) -> None:
    scan_module.write_receipt = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(bench: object, stop: Callable[[int], None], count: int) -> None:
    stop(count)
    bench.run()


def truth(bench: object) -> dict[str, bytes]:
    """All but unfinished writes and the index, which is no truth."""
    files = bench.bytes_of_the_store()
    return {key: data for key, (data, _) in files.items() if not key.startswith((".tmp/", ".index/"))}


@pytest.mark.parametrize(
    ("stop", "count"),
    [
        pytest.param(kill_after, 0, id="first metadata"),
        pytest.param(kill_after, 2, id="first shard"),
        pytest.param(kill_after, 4, id="second level", marks=pytest.mark.slow),
        pytest.param(kill_after, 5, id="mask", marks=pytest.mark.slow),
        pytest.param(kill_after, 6, id="original", marks=pytest.mark.slow),
        pytest.param(kill_before_the_receipt, 0, id="receipt"),
    ],
)
def test_killed_and_run_again_gives_the_same_bytes(
    stop: Callable[[int], None], count: int, make_bench, draw, encode
) -> None:
    bench = make_bench(settle=timedelta(0))  # in the killed process files are as old as they are
    image = encode(draw(700, 600), ".png")
    bench.deliver(NAME, image)
    (undisturbed,) = bench.run()
    expected = truth(bench)
    root = Path(bench.project.store)
    root.rename(root.with_name("undisturbed"))

    process = multiprocessing.get_context("spawn").Process(target=run_and_die, args=(bench, stop, count))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert list_receipts(bench.store, "A20") == []

    (outcome,) = bench.run()
    assert outcome == undisturbed
    assert truth(bench) == expected


def test_two_runs_at_once_write_the_same_bytes(make_bench, draw, encode) -> None:
    bench = make_bench()
    bench.deliver(NAME, encode(draw(700, 600), ".png"))
    (undisturbed,) = bench.run()
    expected = truth(bench)
    root = Path(bench.project.store)
    root.rename(root.with_name("undisturbed"))
    with ThreadPoolExecutor(3) as pool:
        outcomes = [future.result()[0] for future in [pool.submit(bench.run) for _ in range(3)]]
    assert {outcome.scan_id for outcome in outcomes} == {undisturbed.scan_id}
    assert {outcome.kind for outcome in outcomes} <= {"accepted", "repeat"}
    assert truth(bench) == expected


def test_killed_after_the_receipt_the_file_is_known_as_a_repeat(make_bench, draw, encode) -> None:
    bench = make_bench()
    bench.deliver(NAME, encode(draw(), ".png"))
    (first,) = bench.run()
    bench.store.write_json(layout.index("A20"), {"files": {}, "growing": {}, "version": 2})
    (again,) = bench.run()
    assert (again.kind, again.scan_id) == ("repeat", first.scan_id)
    assert bench.run() == []


def test_a_scan_whose_receipt_was_lost_is_taken_again_from_the_inbox(bench, draw, encode) -> None:
    bench.deliver(NAME, encode(draw(seed=1), ".png"))
    bench.deliver("A20_2024-03-06_12H00M.png", encode(draw(seed=2), ".png"))
    bench.run()
    before = truth(bench)
    first = list_receipts(bench.store, "A20")[0]
    bench.store.delete(layout.receipt(first.scan_id))
    (outcome,) = bench.run()
    assert (outcome.kind, outcome.scan_id) == ("accepted", first.scan_id)
    assert truth(bench) == before


def test_damaged_pixels_are_made_again_from_the_inbox_as_verify_says(bench, draw, encode) -> None:
    bench.deliver(NAME, encode(draw(), ".png"))
    bench.run()
    before = truth(bench)
    (receipt,) = list_receipts(bench.store, "A20")
    shard = next(file for file in receipt.files if "/c/" in file.path)
    bench.store.write_bytes(f"{layout.scan_folder(receipt.scan_id)}/{shard.path}", b"rot")
    bench.store.delete(layout.receipt(receipt.scan_id))
    bench.run()
    assert truth(bench) == before


def test_a_refused_file_whose_quarantine_was_emptied_is_refused_again(bench) -> None:
    bench.deliver(NAME, b"no picture at all")
    bench.run()
    for entry in bench.store.list("quarantine"):
        bench.store.delete(entry.key)
    assert [outcome.kind for outcome in bench.run()] == ["refused"]
