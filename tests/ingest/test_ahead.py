"""Reading one band ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from soilpipe.ingest.ahead import reading_ahead
from soilpipe.ingest.readers import Refused
from soilpipe.ingest.readers.base import truncated


class Told:
    """A reader whose bands are what it is told; `closed` says whether it was left."""

    def __init__(self, bands: Callable[[], Iterator[np.ndarray]]) -> None:
        self._bands = bands
        self.closed = False
        self.thread = threading.current_thread().name

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        return self._bands()

    def __exit__(self, *exc: object) -> None:
        self.closed = True


def told(bands: Callable[[], Iterator[np.ndarray]]) -> Any:
    return lambda: Told(bands)


def numbered(count: int, read: list[int]) -> Iterator[np.ndarray]:
    for number in range(count):
        read.append(number)
        yield np.full((4, 3, 3), number, np.uint8)


def test_bands_come_whole_and_in_order_and_the_file_is_closed() -> None:
    for count in (5, 1, 0):
        with reading_ahead(told(lambda count=count: numbered(count, []))) as ahead:
            assert [int(band[0, 0, 0]) for band in ahead.bands()] == list(range(count))
            reader: Any = ahead.reader
            assert not reader.closed and reader.thread.startswith("soilpipe-decode")
        assert reader.closed


def test_nobody_goes_through_the_bands_twice() -> None:
    with reading_ahead(told(lambda: numbered(3, []))) as ahead:
        assert len(list(ahead.bands())) == 3
        with pytest.raises(RuntimeError, match="read once"):
            next(ahead.bands())


def test_the_first_band_is_read_before_anybody_asks_and_one_more_while_it_is_in_hand() -> None:
    read: list[int] = []
    reached = {number: threading.Event() for number in range(5)}

    def bands() -> Iterator[np.ndarray]:
        for band in numbered(4, read):
            reached[len(read)].set()
            yield band

    with reading_ahead(told(bands)) as ahead:
        assert reached[1].wait(10), "read without being asked for"
        given = ahead.bands()
        next(given)
        assert reached[2].wait(10), "read without being asked for"
    assert len(read) == 2


def test_what_goes_wrong_is_raised_after_the_bands_before_it() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from numbered(2, [])
        raise ValueError("it ends inside strip 3")

    with reading_ahead(told(broken)) as ahead:
        given = ahead.bands()
        assert [int(next(given)[0, 0, 0]) for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="strip 3"):
            next(given)


def test_a_file_that_cannot_be_opened_is_told_when_it_is_asked_for_and_not_before() -> None:
    def refuse() -> Any:
        raise truncated("PNG", "it ends before its last chunk (IEND)")

    with reading_ahead(refuse) as ahead:
        for _ in range(2):
            with pytest.raises(Refused, match="IEND"):
                _ = ahead.reader


def test_an_error_of_whoever_writes_closes_the_file() -> None:
    readers = []
    with pytest.raises(OSError, match="full"), reading_ahead(told(lambda: numbered(3, []))) as ahead:
        readers.append(ahead.reader)
        next(ahead.bands())
        raise OSError("the disk is full")
    assert readers[0].closed
