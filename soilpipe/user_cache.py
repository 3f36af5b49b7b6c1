"""Where this machine keeps what it can make again: a folder of the user's cache. XDG_CACHE_HOME names another disk."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(what: str) -> Path:
    """The folder of one kind of thing; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "soilpipe" / what
