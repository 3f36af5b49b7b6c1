"""A seal for small files: their own sha256 within them, so that a single flipped bit is seen.

A file cannot hold the hash of itself, so the hash is of the file with zeros in the seal's place. The seal lies in the
file's metadata as text, where every reader finds a word of its own and no column; in a record of JSON, in a field.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from soilpipe.store import canonical_json

_FIELD = "seal"
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


def sealed_json(fields: Mapping[str, Any]) -> bytes:
    """A record as canonical JSON with its seal, the hex sha256 of the same without one; equal fields, equal bytes."""
    content = {name: value for name, value in fields.items() if name != _FIELD}
    return canonical_json({**content, _FIELD: hashlib.sha256(canonical_json(content)).hexdigest()})


def unsealed(fields: Any) -> Any:
    """What was read of a record, without its seal."""
    return {name: value for name, value in fields.items() if name != _FIELD} if isinstance(fields, dict) else fields


def is_damaged_json(data: bytes) -> bool:
    """Whether a record is not, to the byte, what `sealed_json` wrote, or no JSON at all. Of one without a seal, which
    is from before there was one, nothing more is known."""
    try:
        fields = json.loads(data)
    except ValueError:
        return True
    return isinstance(fields, dict) and fields.get(_FIELD) is not None and sealed_json(fields) != data
