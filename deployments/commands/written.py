"""Files that a command writes for a person: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from deployments.commands.options import OptionError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, with its folder where there is none; what was there before stays until the new one is complete.

    OptionError says why it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device, /dev/stdout
            path.write_bytes(data)
            return
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OptionError:
    """The error of an output that has no place."""
    return OptionError(f"{path} cannot be written ({error.strerror or error}). Name another place.")
