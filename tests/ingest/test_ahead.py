"""Reading one band ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from soilpipe.ingest.ahead import ahead


def bands(count: int, read: list[int]) -> Iterator[np.ndarray]:
    for number in range(count):
        read.append(number)
        yield np.full((4, 3, 3), number, np.uint8)


def test_bands_come_whole_and_in_order() -> None:
    assert [int(band[0, 0, 0]) for band in ahead(bands(5, []))] == [0, 1, 2, 3, 4]
    assert list(ahead(bands(0, []))) == []


def test_the_next_band_is_read_while_one_is_in_hand_and_no_more_than_that() -> None:
    read: list[int] = []
    second = threading.Event()

    def told() -> Iterator[np.ndarray]:
        for band in bands(4, read):
            if len(read) == 2:
                second.set()
            yield band

    given = ahead(told())
    next(given)
    assert second.wait(10), "read without being asked for"
    given.close()
    assert len(read) == 2


def test_what_goes_wrong_is_raised_after_the_bands_before_it() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from bands(2, [])
        raise ValueError("it ends inside strip 3")

    seen = []
    with pytest.raises(ValueError, match="strip 3"):
        seen.extend(ahead(broken()))
    given = ahead(broken())
    assert [int(next(given)[0, 0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="strip 3"):
        next(given)
