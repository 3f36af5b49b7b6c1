"""Reading ahead, so that a file is decoded while it is hashed, and while what came before is looked at and written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from soilpipe.ingest.readers import Reader
from soilpipe.ingest.zarr_writer import SHARD


class ReadAhead:
    """A file that a thread opens, and reads one band ahead: two bands are held in memory, the one in hand and the next.

    The thread does all of the reading, and begins at once: with the first band, before anybody asks for it. What it
    raises is raised where the result is asked for.
    """

    def __init__(self, open_file: Callable[[], Reader], decoding: ThreadPoolExecutor) -> None:
        self._decoding = decoding
        self._opening = decoding.submit(open_file)
        self._bands: Iterator[np.ndarray] | None = None
        self._given = False
        self._coming: Future[np.ndarray | None] = decoding.submit(self._next)

    @property
    def reader(self) -> Reader:
        """The open file. Raises Refused."""
        return self._opening.result()

    def bands(self) -> Generator[np.ndarray]:
        """(r, W, 3) uint8 from top to bottom, ``r = SHARD`` but for the last. Gone through once, by one caller."""
        if self._given:
            raise RuntimeError("a file is read once: its bands have been given out")
        self._given = True
        while (band := self._coming.result()) is not None:
            self._coming = self._decoding.submit(self._next)
            yield band
            del band  # held by nobody while the next is waited for

    def close(self) -> None:
        """Waits for a band that is being read, so that nothing reads on, and closes the file."""
        self._decoding.shutdown(cancel_futures=True)
        if not self._opening.cancelled() and self._opening.exception() is None:
            self._opening.result().__exit__(None, None, None)

    def _next(self) -> np.ndarray | None:
        if self._bands is None:
            self._bands = self._opening.result().bands(SHARD)
        return next(self._bands, None)


@contextmanager
def reading_ahead(open_file: Callable[[], Reader]) -> Iterator[ReadAhead]:
    """Opens a file and begins to read it, in a thread; however this ends, nothing reads from the file afterwards."""
    with ThreadPoolExecutor(1, "soilpipe-decode") as decoding:
        ahead = ReadAhead(open_file, decoding)
        try:
            yield ahead
        finally:
            ahead.close()
