"""Reading one band ahead, so that a file is decoded while what came before is looked at, reduced and written."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def ahead(bands: Iterator[np.ndarray]) -> Generator[np.ndarray]:
    """The same bands in the same order; the next is read by a thread meanwhile. One more band is held in memory.

    What `bands` raises is raised here, in its place. When the caller stops early, a band being read is waited for, so
    that nothing reads from the file any more once this has ended.
    """
    with ThreadPoolExecutor(1, "soilpipe-decode") as decoding:
        coming = decoding.submit(next, bands, None)
        while (band := coming.result()) is not None:
            coming = decoding.submit(next, bands, None)
            yield band
            del band  # held by nobody while the next is waited for
