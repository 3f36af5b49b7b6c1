"""What the first stage reads is kept for the second."""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.padding import padded
from soilpipe.detect.second_stage import kept as kept_module
from soilpipe.detect.second_stage.kept import CELL, Kept, kept
from tests.detect.test_predict import scene

HEIGHT, WIDTH = 3 * CELL + 5, 4 * CELL + 9


class Counting:
    """Windows that count what is read, and take any window, as `ModelInput` does."""

    def __init__(self, pixels: np.ndarray, factor: float) -> None:
        self.pixels, self.factor, self.read_px = pixels, factor, 0
        self.height, self.width = pixels.shape[1:]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.read_px += (y1 - y0) * (x1 - x0)
        size = (self.height, self.width)
        return padded((y0, y1, x0, x1), size, lambda top, bottom, left, right: self.pixels[:, top:bottom, left:right])


@pytest.fixture(params=["in memory", "in a file", "in a file of zeros"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Counting]:
    """Kept windows, and those they keep."""
    if request.param != "in memory":
        monkeypatch.setattr(kept_module, "IN_MEMORY", 0)
    if request.param == "in a file of zeros":  # as where a system cannot give a file its size at once
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr(kept_module, "ZEROS", 100)
    counting = Counting(scene(HEIGHT, WIDTH, 3).pixels, 2.0)
    return kept(counting), counting


def test_what_was_read_is_not_read_again_and_is_the_same_also_beyond_the_scan(pair: tuple[Any, Counting]) -> None:
    windows, counting = pair
    assert isinstance(windows, Kept)
    assert (windows.height, windows.width, windows.factor) == (HEIGHT, WIDTH, 2.0)
    tall, wide = -(-HEIGHT // CELL) * CELL, -(-WIDTH // CELL) * CELL  # as the tiles: padded to the grid
    for x0, x1 in ((0, 3 * CELL), (2 * CELL, wide)):
        for y0, y1 in ((0, 2 * CELL), (2 * CELL, tall)):
            windows.read(y0, y1, x0, x1)
    before = counting.read_px
    rng = np.random.default_rng(0)
    for _ in range(50):
        y0, x0 = (int(rng.integers(-30, side)) for side in (HEIGHT, WIDTH))
        window = (y0, y0 + int(rng.integers(1, 90)), x0, x0 + int(rng.integers(1, 90)))
        again = windows.read(*window)
        assert counting.read_px == before
        np.testing.assert_array_equal(again, counting.read(*window))
        counting.read_px = before


def test_what_was_read_in_part_is_read_again(pair: tuple[Any, Counting]) -> None:
    windows, counting = pair
    windows.read(0, 2 * CELL, 1, 2 * CELL)  # the first column of cells lacks a pixel
    before = counting.read_px
    np.testing.assert_array_equal(windows.read(0, CELL, 0, CELL), counting.pixels[:, :CELL, :CELL])
    assert counting.read_px == before + CELL * CELL
    windows.read(0, 2 * CELL, CELL, 2 * CELL)
    windows.read(0, CELL, 0, CELL)
    assert counting.read_px == before + CELL * CELL


def test_several_threads_may_read(pair: tuple[Any, Counting]) -> None:
    windows, counting = pair
    columns = [(x * CELL, min((x + 1) * CELL, WIDTH)) for x in range(5)]
    threads = [threading.Thread(target=windows.read, args=(0, HEIGHT, *column)) for column in columns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counting.pixels, known = np.zeros_like(counting.pixels), counting.pixels
    np.testing.assert_array_equal(windows.read(0, HEIGHT, 0, WIDTH), known)


def test_without_room_on_the_disk_they_are_read_anew_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_module, "IN_MEMORY", 0)
    monkeypatch.setattr(kept_module, "_make_room", full)
    counting = Counting(scene(HEIGHT, WIDTH, 3).pixels, 2.0)
    with pytest.warns(UserWarning, match=r"no room for 0 MB in .*No space left.*TMPDIR"):
        assert kept(counting) is counting
