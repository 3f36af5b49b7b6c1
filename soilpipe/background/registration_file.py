"""A registration as arrays by name, and as a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from zipfile import BadZipFile

import numpy as np

from soilpipe.background.registration import Registration
from soilpipe.background.tone import LocalTone

LOCAL = ("local_gain", "local_offset")


def to_parts(found: Registration) -> dict[str, Any]:
    """Its arrays by name."""
    parts: dict[str, Any] = {
        "dy": found.dy,
        "dx": found.dx,
        "gain": found.gain,
        "offset": found.offset,
        "told": np.array([found.peak, found.alike]),
        "ok": np.array(found.ok),
        "reason": np.array(found.reason),
    }
    if found.local is not None:
        parts |= dict(zip(LOCAL, (found.local.gain, found.local.offset), strict=True))
    return parts


def from_parts(of: Callable[[str], Any], has: Callable[[str], bool]) -> Registration:
    """The registration whose arrays `of` gives by name; `has`: whether there is one of that name."""
    local = LocalTone(*(of(name) for name in LOCAL)) if has(LOCAL[0]) else None
    peak, alike = of("told").tolist()
    return Registration(
        of("dy"), of("dx"), of("gain"), of("offset"), peak, bool(of("ok")), str(of("reason")), alike, local
    )


def to_bytes(found: Registration) -> bytes:
    """As .npz, every bit of it."""
    file = io.BytesIO()
    np.savez_compressed(file, **to_parts(found))
    return file.getvalue()


def from_bytes(data: bytes) -> Registration:
    """What `to_bytes` gave. ValueError or KeyError where it is not that."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            return from_parts(kept.__getitem__, kept.files.__contains__)
    except (BadZipFile, EOFError, OSError) as error:
        raise ValueError(str(error)) from error
