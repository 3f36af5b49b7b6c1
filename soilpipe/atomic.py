"""Files written whole or not at all: through a temporary one beside them, fsync, and ``os.replace``."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def write_atomically(target: Path, temporary: Path, blocks: Iterator[bytes], *, new: bool = False) -> None:
    """Write ``target``, durably; ``temporary`` is a folder of the same file system for what is unfinished.

    new: FileExistsError where there is a target already, whoever else writes one at the same moment.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    unfinished = temporary / uuid.uuid4().hex
    try:
        with unfinished.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        if new:
            _name_if_new(unfinished, target)
        else:
            unfinished.replace(target)
        sync_folder(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _name_if_new(unfinished: Path, target: Path) -> None:
    """Give a file its name unless that is taken. Where the file system has no hard links, what another process writes
    between two steps is not seen."""
    try:
        target.hardlink_to(unfinished)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        unfinished.replace(target)
    else:
        unfinished.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
