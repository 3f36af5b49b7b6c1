"""Writing whole shards of zarr arrays: by the threads of this process, or by a Dask cluster whose client is active.

A cluster that is lost meanwhile loses nothing: the threads write what it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import cv2
import dask
import numpy as np

from soilpipe.cluster import active_client, gathered
from soilpipe.ingest.shared_memory import MemoryFile, SharedPixels, is_shared_with
from soilpipe.ingest.workers import ready_to_write

BANDS_SENT = 2
"""Bands that a cluster has at once: it is sent the next while it compresses one. Threads need no such time."""

Piece = tuple[int, int, np.ndarray]
"""Level, first row, (r, w, 3) uint8: rows of whole shards."""

Write = Callable[[list[Any], list[Piece]], list[str]]
"""Writes every shard of some pieces into the arrays of the levels; their paths below the group."""


@contextmanager
def writers() -> Iterator[tuple[Write, int]]:
    """How shards are written here and now, and how many calls of it should be under way at once."""
    client = active_client()
    if client is None:
        yield partial(_write_pieces, None), 1
        return
    with ExitStack() as held:
        held.enter_context(ready_to_write(client))
        memory: SimpleQueue[MemoryFile] | None = None
        if is_shared_with(client):
            memory = SimpleQueue()
            for _ in range(BANDS_SENT):
                memory.put(held.enter_context(closing(MemoryFile())))
        yield partial(_write_pieces, _Cluster(client, memory)), BANDS_SENT


def _write_pieces(by: _Cluster | None, arrays: list[Any], pieces: list[Piece]) -> list[str]:
    """Write every shard of the pieces, by threads or by a Dask cluster; their paths."""
    places: list[_Place] = []
    for number, (level, top, rows) in enumerate(pieces):
        _, height, width = arrays[level].shards
        for left in range(0, rows.shape[1], width):
            path = f"{level}/c/0/{top // height}/{left // width}"
            places.append(_Place(path, arrays[level], number, top, left, min(left + width, rows.shape[1])))
    if by is None or not by.write(places, pieces):
        write = dask.delayed(_write_shard, pure=False)
        dask.compute(
            [write(*place.where, pieces[place.piece][2][:, place.left : place.right]) for place in places],
            scheduler="threads",
        )
    return [place.path for place in places]


@dataclass(frozen=True)
class _Place:
    """One shard to be written: columns left..right of a piece, from row ``top`` of its level on."""

    path: str
    array: Any
    piece: int
    top: int
    left: int
    right: int

    @property
    def where(self) -> tuple[Any, int, int]:
        return self.array, self.top, self.left


@dataclass(frozen=True)
class _Cluster:
    """A Dask cluster that writes. ``memory``: for as many bands as are under way, where its workers see it."""

    client: Any
    memory: SimpleQueue[MemoryFile] | None

    def write(self, places: list[_Place], pieces: list[Piece]) -> bool:
        """False where its workers, its scheduler or the way to it were lost: then nobody knows what is written."""
        if self.memory is None:
            # Pixels go straight to the workers: within the graph they would pass through the scheduler too.
            blocks = [np.ascontiguousarray(pieces[place.piece][2][:, place.left : place.right]) for place in places]
            return self._done(places, partial(self.client.scatter, blocks, direct=True, hash=False))
        memory = self.memory.get()
        done = False
        try:
            held = memory.hold([rows for _, _, rows in pieces])
            shared = [held[place.piece].columns(place.left, place.right) for place in places]
            done = self._done(places, lambda: shared)
        finally:
            if not done:  # a worker that was cut off may still be reading it
                memory.leave()
            self.memory.put(memory)
        return done

    def _done(self, places: list[_Place], sent: Callable[[], Sequence[Any]]) -> bool:
        def submit() -> list[Any]:
            work = zip(places, sent(), strict=True)
            return [self.client.submit(_write_shard, *place.where, block, pure=False) for place, block in work]

        return gathered(self.client, submit) is not None


def _write_shard(array: Any, top: int, left: int, block: np.ndarray | SharedPixels) -> None:
    """One whole shard (or what the image's border leaves of it), (h, w, 3) uint8."""
    if isinstance(block, SharedPixels):
        block = block.open()
    height, width = block.shape[:2]
    channels = np.empty((3, height, width), np.uint8)
    for channel in range(3):  # zarr would take the colours apart chunk by chunk, at half the speed
        cv2.extractChannel(block, channel, channels[channel])
    array[:, top : top + height, left : left + width] = channels
