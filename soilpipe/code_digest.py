"""Which code is running, so that what other code left behind for speed is not believed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from soilpipe import __version__

ELSEWHERE = frozenset({"background", "detect", "labels", "simulate"})
"""Packages that make pictures, detections and labels, and no part of what is kept here."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Hex sha256 of the source on which series and pages depend: a version number would not tell an edited copy."""
    digest = hashlib.sha256(__version__.encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if name.parts[0] in ELSEWHERE:
            continue
        digest.update(name.as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
