"""Rows of a window are read in order, once, and in blocks that end where those of the image do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from soilpipe.detect.pixel_rows import BLOCK, MARGIN, RowsAhead


class Recorded:
    """An image of noise that keeps what was read of it."""

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.random.default_rng(1).integers(0, 256, (7, height, width), np.uint8)
        self.read_rows: list[tuple[int, int]] = []

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.read_rows.append((y0, y1))
        return self.pixels[:, y0:y1, x0:x1]


@pytest.mark.parametrize("window", [(0, 1600, 0, 64), (96, 1504, 32, 64), (480, 576, 0, 32)])
def test_each_row_is_read_once_and_is_that_of_the_image(window: tuple[int, int, int, int]) -> None:
    image = Recorded(1600, 64)
    y0, y1, x0, x1 = window
    with ThreadPoolExecutor(1) as reader:
        rows = RowsAhead(image, window, reader)
        assert (rows.height, rows.width) == (y1 - y0, x1 - x0)
        for top in range(0, rows.height, 96):
            first, last = max(top - 20, 0), min(top + 116, rows.height)
            taken = rows.rows(first, last).numpy()
            np.testing.assert_array_equal(taken[0], image.pixels[:, y0 + first : y0 + last, x0:x1])
    assert [row for a, b in image.read_rows for row in range(a, b)] == list(range(y0, y1))
    assert all(b % BLOCK == 0 for _, b in image.read_rows[:-1])


def test_what_is_kept_does_not_grow_with_the_height_and_what_is_gone_is_not_made_up() -> None:
    image = Recorded(40 * BLOCK, 32)
    with ThreadPoolExecutor(1) as reader:
        rows = RowsAhead(image, (0, 40 * BLOCK, 0, 32), reader)
        for top in range(0, rows.height, 128):
            rows.rows(top, top + 128)
            assert rows._kept.shape[1] <= MARGIN + 2 * BLOCK
            assert len(image.read_rows) <= top // BLOCK + 2  # no more than one block ahead
        with pytest.raises(ValueError, match="row 5 of the window was read and forgotten"):
            rows.rows(5, 10)


def test_an_error_of_reading_reaches_who_asks() -> None:
    class Torn(Recorded):
        def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            if y0:
                raise OSError("torn")
            return super().read(y0, y1, x0, x1)

    with ThreadPoolExecutor(1) as reader:
        rows = RowsAhead(Torn(2000, 32), (0, 2000, 0, 32), reader)
        rows.rows(0, 100)
        with pytest.raises(OSError, match="torn"):
            rows.rows(500, 600)
