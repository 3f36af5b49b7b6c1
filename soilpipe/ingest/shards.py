"""Writing whole shards of zarr arrays: by the threads of this process, or by a Dask cluster whose client is active."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import cv2
import dask
import numpy as np

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
    client = _active_client()
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
    if by is None:
        write = dask.delayed(_write_shard, pure=False)
        dask.compute([write(*place.where, pieces[place.piece][2][:, place.left : place.right]) for place in places])
    elif by.memory is not None:
        memory = by.memory.get()
        try:
            held = memory.hold([rows for _, _, rows in pieces])
            by.write(places, [held[place.piece].columns(place.left, place.right) for place in places])
        finally:
            by.memory.put(memory)
    else:
        # Pixels go straight to the workers: within the graph they would pass through the scheduler too.
        blocks = [np.ascontiguousarray(pieces[place.piece][2][:, place.left : place.right]) for place in places]
        by.write(places, by.client.scatter(blocks, direct=True, hash=False))
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

    def write(self, places: list[_Place], blocks: Sequence[Any]) -> None:
        work = zip(places, blocks, strict=True)
        self.client.gather([self.client.submit(_write_shard, *place.where, block, pure=False) for place, block in work])


def _active_client() -> Any:
    """The client of a Dask cluster, where one was opened in this process. Without one distributed is not imported."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:  # its word for: there is none
        return None


def _write_shard(array: Any, top: int, left: int, block: np.ndarray | SharedPixels) -> None:
    """One whole shard (or what the image's border leaves of it), (h, w, 3) uint8."""
    if isinstance(block, SharedPixels):
        block = block.open()
    height, width = block.shape[:2]
    channels = np.empty((3, height, width), np.uint8)
    for channel in range(3):  # zarr would take the colours apart chunk by chunk, at half the speed
        cv2.extractChannel(block, channel, channels[channel])
    array[:, top : top + height, left : left + width] = channels
