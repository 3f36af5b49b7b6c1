"""Samples that memory would not hold: their pixels lie in files, and what a crop needs of them is read from there.

A scan at 1200 dpi is a gigabyte of seven channels; fifty of them are a usual set of labels. The files are mapped, so
the system keeps in memory what is often used and lets go of the rest.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from soilpipe.errors import SoilpipeError

BAND = 1024  # rows that are computed at once
MOST_IN_MEMORY = 6_000_000_000  # bytes of samples; of more the pixels lie in files


class Windows(Protocol):
    """What is written: (7, h, w) uint8 for any window (`soilpipe.background.ModelInput`)."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray: ...


@contextmanager
def room_for(size: float, work: Path | str | None) -> Iterator[Path | None]:
    """A folder for the pixels of samples of `size` bytes that memory would not hold, below `work` where there is one,
    removed afterwards; None where it holds them."""
    if size <= MOST_IN_MEMORY:
        yield None
    elif work is None:
        with tempfile.TemporaryDirectory(prefix="soilpipe-samples-") as name:
            yield Path(name)
    else:
        folder = Path(work) / "samples"  # what a killed training left there is written anew
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def spilled_file(folder: Path, file_name: str, head: str) -> Path:
    """Where the pixels of one pass of an image lie."""
    return folder / f"{hashlib.sha256(file_name.encode()).hexdigest()[:16]}-{head}.npy"


def spill(windows: Windows, path: Path) -> None:
    """Write all pixels by bands of rows. SoilpipeError where the disk has no room."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (7, windows.height, windows.width)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for top in range(0, windows.height, BAND):
            bottom = min(top + BAND, windows.height)
            file[:, top:bottom] = windows.read(top, bottom, 0, windows.width)
        file.flush()
    except OSError as error:
        raise SoilpipeError(
            f"{path.parent}: the pixels of the labelled scans do not fit there ({error.strerror}). Make room, or name "
            "a folder on a larger disk with XDG_CACHE_HOME"
        ) from error


def mapped(path: Path) -> np.ndarray:
    """(7, h, w) uint8 as they were written; writing into it changes no file."""
    return np.asarray(np.load(path, mmap_mode="c"))
