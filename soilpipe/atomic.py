"""Files written whole or not at all: through a temporary one beside them, fsync, and ``os.replace``."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def write_atomically(target: Path, temporary: Path, blocks: Iterator[bytes]) -> None:
    """Write ``target``, durably; ``temporary`` is a folder of the same file system for what is unfinished."""
    temporary.mkdir(parents=True, exist_ok=True)
    unfinished = temporary / uuid.uuid4().hex
    try:
        with unfinished.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(target)
        sync_folder(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
