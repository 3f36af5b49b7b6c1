"""Pixels for the workers of a Dask cluster on this machine, handed over in memory instead of through sockets.

A band is laid into a memory file of this process, which workers on the same machine open through /proc. It has no name
in any folder, so that nothing is left behind however this process ends. Whether a cluster's workers see such a file is
tried out, not guessed; those that do not (other machines, containers, users) are sent the pixels.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.cluster import on_workers


@dataclass(frozen=True)
class SharedPixels:
    """Columns left..right of (h, w, 3) uint8 rows that lie at ``offset`` in the memory file ``path``, while that is
    the one called ``name``."""

    path: str
    name: str
    offset: int
    shape: tuple[int, ...]
    left: int
    right: int

    def columns(self, left: int, right: int) -> SharedPixels:
        """Some columns of these rows."""
        return replace(self, left=left, right=right)

    def open(self) -> np.ndarray:
        """(h, right - left, 3) uint8, read-only, by a process on the same machine. Raises FileNotFoundError where the
        file was left meanwhile: in its place may lie another."""
        with open(self.path, "rb") as file:  # noqa: PTH123 - a descriptor's link, not a path
            if f"/memfd:{self.name} " not in str(Path(f"/proc/self/fd/{file.fileno()}").readlink()):
                raise FileNotFoundError(f"{self.path}: {self.name} is no longer there")
            rows = np.memmap(file, np.uint8, "r", self.offset, self.shape)
        return rows[:, self.left : self.right]


class MemoryFile:
    """A memory file of this process that holds some pictures, and then others: memory is asked for once."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._begin()

    def _begin(self) -> None:
        self.name = f"soilpipe-band-{secrets.token_hex(8)}"
        self._descriptor = os.memfd_create(self.name)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def hold(self, pictures: Sequence[np.ndarray]) -> list[SharedPixels]:
        """Lay pictures, (h, w, 3) uint8 each, into the file; whole, in their order. Those before are gone then."""
        offsets = np.cumsum([0, *(picture.nbytes for picture in pictures)]).tolist()
        memory = self._of(offsets[-1])
        for picture, offset in zip(pictures, offsets, strict=False):
            held = np.frombuffer(memory, np.uint8, picture.nbytes, offset)
            np.copyto(held.reshape(picture.shape), picture)
            del held  # the memory cannot be let go of while it is looked at
        places = zip(pictures, offsets, strict=False)
        return [SharedPixels(self.path, self.name, offset, one.shape, 0, one.shape[1]) for one, offset in places]

    def leave(self) -> None:
        """Leave what is held to whoever has opened it, unchanged, and begin another file."""
        self.close()
        self._memory = None
        self._begin()

    def close(self) -> None:
        """Let go of the memory."""
        if self._memory is not None:
            self._memory.close()
        os.close(self._descriptor)

    def _of(self, size: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < size:
            if self._memory is not None:
                self._memory.close()
            os.ftruncate(self._descriptor, size)
            self._memory = mmap.mmap(self._descriptor, size)
        return self._memory


def is_shared_with(client: Any) -> bool:
    """Whether every worker of a Dask client sees what lies in this process's memory files."""
    if not hasattr(os, "memfd_create"):  # which Linux has
        return False
    token = secrets.token_bytes(48)
    file = MemoryFile()
    try:
        file.hold([np.frombuffer(token, np.uint8).reshape(4, 4, 3)])
        answers = on_workers(client, _read, file.path, len(token))
    finally:
        file.close()
    return bool(answers) and all(answer == token for answer in answers.values())


def _read(path: str, size: int) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - runs on a worker, with nothing but builtins
            return file.read(size)
    except OSError:
        return None
