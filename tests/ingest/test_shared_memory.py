"""Pixels handed to other processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from soilpipe.ingest.shared_memory import MemoryFile, is_shared_with


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_another_process_reads_what_lies_there_and_then_what_came_after() -> None:
    program = (
        "import sys, numpy as np; from soilpipe.ingest.shared_memory import SharedPixels; "
        "path, name, offset, h, w, left, right = sys.argv[1:]; "
        "pixels = SharedPixels(path, name, int(offset), (int(h), int(w), 3), int(left), int(right)).open(); "
        "sys.stdout.buffer.write(np.ascontiguousarray(pixels).tobytes())"
    )
    file = MemoryFile()
    for pictures in ([noise(7, 50, 1), noise(900, 31, 2)], [noise(2000, 60, 3)], [noise(5, 9, 4)]):
        held = [place.columns(3, 8) for place in file.hold(pictures)]
        for place, picture in zip(held, pictures, strict=True):
            values = (place.path, place.name, place.offset, *picture.shape[:2], place.left, place.right)
            command = [sys.executable, "-c", program, *map(str, values)]
            read = subprocess.run(command, capture_output=True, check=True).stdout
            assert read == picture[:, 3:8].tobytes()
            assert np.array_equal(place.open(), picture[:, 3:8])
    path = file.path
    file.close()
    assert not os.path.exists(path)  # noqa: PTH110 - of /proc, where a link may lead nowhere


def test_what_is_left_stays_as_it_was_for_who_has_it_open_and_is_not_opened_any_more() -> None:
    file = MemoryFile()
    (before,) = file.hold([noise(20, 30, 1)])
    rows = before.open()
    file.leave()
    (after,) = file.hold([noise(20, 30, 2)])

    assert np.array_equal(rows, noise(20, 30, 1))
    assert np.array_equal(after.open(), noise(20, 30, 2))
    assert after.path == before.path, "the system gives the same number again, which is what this is about"
    with pytest.raises(FileNotFoundError, match="no longer there"):
        before.open()
    file.close()


class Workers:
    """Two workers, of which one may be elsewhere."""

    def __init__(self, elsewhere: Any) -> None:
        self._elsewhere = elsewhere

    def run(self, function: Any, *arguments: Any) -> dict[str, Any]:
        return {"here": function(*arguments), "there": self._elsewhere(function, *arguments)}


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        (lambda function, path, size: function(path, size), True),
        (lambda function, path, size: function("/proc/1/fd/none", size), False),
        (lambda function, path, size: bytes(size), False),  # another file of that name
    ],
)
def test_memory_counts_as_shared_only_where_every_worker_reads_the_token(elsewhere: Any, expected: bool) -> None:
    assert is_shared_with(Workers(elsewhere)) is expected


def test_without_workers_nothing_is_shared() -> None:
    class Nobody:
        def run(self, function: Any, *arguments: Any) -> dict[str, Any]:
            return {}

    assert not is_shared_with(Nobody())
