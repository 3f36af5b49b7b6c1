"""Which code is running, so that what other code left behind for speed is not believed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from soilpipe import __version__


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Hex sha256 of this package's source: a version number alone would not tell an edited copy."""
    digest = hashlib.sha256(__version__.encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
