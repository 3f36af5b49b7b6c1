"""Looking through a mapped file for long runs of zero bytes, without all of it staying in memory.

Zeros are what a copy that broke off, or a lost block on a disk or card, leaves in a file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

CODED = 1024
"""Bytes. Entropy-coded data hold no such run, but for the exceptions that each format's module knows.

A run of n bits has a chance of 2^-n in data that look random, as coded data do. It is below the 4096 bytes of a block
of a disk, so that a lost block is still found where another part of the format begins inside it.
"""

_WINDOW = 1 << 24


def zero_run(data: bytes | bytearray | mmap.mmap, start: int, stop: int, length: int = CODED) -> int | None:
    """Where the first run of ``length`` zero bytes begins inside [start, stop), or None."""
    zeros = bytes(length)
    for first, last in windows(data, start, stop, length - 1):
        at = data.find(zeros, first, last)
        if at >= 0:
            return at
    return None


def windows(data: bytes | bytearray | mmap.mmap, start: int, stop: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Pieces of [start, stop), each ``overlap`` bytes into the next one.

    A mapped file's pages are let go once they were looked at: they count as the process's memory as long as they stay.
    """
    while start < stop:
        end = min(start + _WINDOW, stop)
        yield start, min(end + overlap, stop)
        if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
            if first < last:
                data.madvise(mmap.MADV_DONTNEED, first, last - first)
        start = end
