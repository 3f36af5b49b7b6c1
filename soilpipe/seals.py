"""A seal for small files: their own sha256 within them, so that a single flipped bit is seen.

A file cannot hold the hash of itself, so the hash is of the file with zeros in the seal's place. The seal lies in the
file's metadata as text, where every reader finds a word of its own and no column.
"""

from __future__ import annotations

import hashlib
import re

_DIGITS = 64
_BEGIN = b"sealed:"
_ZEROS = b"0" * _DIGITS
_SEAL = re.compile(re.escape(_BEGIN) + b"([0-9a-f]{%d})" % _DIGITS)

UNSEALED = {"seal": (_BEGIN + _ZEROS).decode()}
"""Metadata (name: text) to be written into a file that is then sealed."""


def sealed(data: bytes) -> bytes:
    """The file with its seal; equal bytes get the same. Raises ValueError when it was not made for one seal."""
    places = [match.start(1) for match in _SEAL.finditer(data)]
    if len(places) != 1 or data[places[0] : places[0] + _DIGITS] != _ZEROS:
        raise ValueError(f"a file is sealed in the one place that UNSEALED leaves for it, and this has {len(places)}")
    return _with(data, places[0], hashlib.sha256(data).hexdigest().encode())


def is_damaged(data: bytes) -> bool:
    """Whether the file is not what was sealed. One without a seal is from before there was one: that is not known."""
    seals = list(_SEAL.finditer(data))
    if not seals:
        return False
    return all(hashlib.sha256(_with(data, seal.start(1), _ZEROS)).hexdigest().encode() != seal[1] for seal in seals)


def _with(data: bytes, place: int, digits: bytes) -> bytes:
    return data[:place] + digits + data[place + _DIGITS :]
