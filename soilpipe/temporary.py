"""Folders for copies on this machine's disk that are removed whatever happens, a killed process included."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "soilpipe-"
LOCK = "in-use"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder below the system's temporary one, removed afterwards. Those of killed processes go first.

    Whoever uses such a folder holds a lock on a file in it; the system lets go of it when the process ends, however.
    """
    _sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / f"{LOCK}.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{LOCK}.new").rename(folder / LOCK)  # seen only once it is held
            yield folder


def _sweep() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # another user's, in use, or gone meanwhile
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
