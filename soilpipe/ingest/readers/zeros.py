"""Long runs of zero bytes: what a copy that broke off, or a lost block on a disk or card, leaves in a file."""

from __future__ import annotations

import mmap

CODED = 1024
"""Bytes. Entropy-coded data hold no such run, but for the exceptions that each format's module knows.

A run of n bits has a chance of 2^-n in data that look random, as coded data do. It is below the 4096 bytes of a block
of a disk, so that a lost block is still found where another part of the format begins inside it.
"""


def zero_run(data: bytes | bytearray | mmap.mmap, start: int, stop: int, length: int = CODED) -> int | None:
    """Where the first run of ``length`` zero bytes begins inside [start, stop), or None."""
    at = data.find(bytes(length), start, stop)
    return None if at < 0 else at
