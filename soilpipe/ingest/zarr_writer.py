"""A scan as OME-Zarr 0.5, written in one pass over the source, whole shards at a time.

Each band of rows goes into level 0; its 2 × 2 mean is gathered into level 1 until that holds a band of its own, and
so on up: every level is written in bands of shard height, by one Dask task for each shard. Blocks smaller than a
shard would corrupt it without a word, since two threads would each read, change and write the whole shard
(zarr-python issue 3682). While one band is compressed and written, the next is decoded, and the one before is forced
to disk and hashed.

Everything is a function of the pixels: the same scan gives the same bytes, and a run that follows a killed one
writes the same objects again.

The codec is zstd 1 with its checksum (`benchmarks/codecs.py`). Real soil shrinks to 1 / 3.9 by it, and to 1 / 4.0 by
zstd 9 at a fifth of the speed; bit-shuffling makes it larger. Differences along the rows before zstd would make it
1 / 4.05 (simulated loam 1 / 2.1 instead of 1 / 1.5, peat 1 / 1.7 instead of 1 / 1.5), but reading takes more than twice
as long, and every scan is read again as a reference of later ones; and that filter is no part of the Zarr 3
specification, so that only zarr-python with numcodecs reads it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import MemoryStore, WrapperStore

from soilpipe.ingest.receipts import FileRecord
from soilpipe.ingest.shards import Piece, writers
from soilpipe.store import Store
from soilpipe.tiles import halve, pyramid_shapes

if zarr.config.get("threading.max_workers") is None:
    # zarr takes four threads more than there are cores, and the one that decodes the next band waits for its turn.
    zarr.config.set({"threading.max_workers": len(os.sched_getaffinity(0))})

CHUNK = 512
SHARD = 2048
"""Pixels a side; a shard of a smaller level is as many whole chunks as it needs."""


def shard_side(size: int) -> int:
    """Side of a level's shards along one axis of ``size`` px: whole chunks, at most SHARD."""
    return min(SHARD, -(-size // CHUNK) * CHUNK)


class _NothingBefore(WrapperStore[Any]):
    """A zarr store in which no shard is ever seen to be there: each is written whole, whatever lies in its place.

    zarr reads a shard of the image's border before it writes it, and fails for good on one that was damaged.
    """

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if key.rpartition("/")[2] != "zarr.json":
            return None
        found: Buffer | None = await self._store.get(key, prototype, byte_range)
        return found


def write_image(
    bands: Iterable[np.ndarray], shape: tuple[int, int], store: Store, key: str, name: str, um_per_px: float | None
) -> dict[str, str]:
    """Write ``bands`` ((r, W, 3) uint8 from top to bottom, ``r = SHARD`` but for the last) below ``key``.

    ``shape``: (height, width) px of level 0. ``um_per_px`` None: the metadata then has no unit. Returns the sha256 of
    every shard by its path relative to ``key``, read back from the store.
    """
    shapes = pyramid_shapes(*shape)
    for path, data in _metadata(shapes, name, um_per_px).items():
        store.write_if_changed(f"{key}/{path}", data)
    group = zarr.open_group(_NothingBefore(store.zarr(key)), mode="r+", zarr_format=3)
    # An empty chunk that is not written could not be told from a lost one.
    arrays = [group[str(level)].with_config({"write_empty_chunks": True}) for level in range(len(shapes))]
    digests: dict[str, str] = {}
    with (
        store.told("write", key),
        writers() as (write, at_once),
        ThreadPoolExecutor(1, "soilpipe-settle") as settling,
        ThreadPoolExecutor(at_once, "soilpipe-write") as background,
    ):
        writing: deque[Future[list[str]]] = deque()
        settled: list[Future[None]] = []
        for pieces in chain(_pyramid(bands, shapes), (None,) * at_once):
            if writing and (pieces is None or len(writing) == at_once):
                settled.append(settling.submit(_settle, store, key, writing.popleft().result(), digests))
            if pieces is not None:
                writing.append(background.submit(write, arrays, pieces))
            del pieces
        for future in settled:
            future.result()
    store.sync(key)
    return digests


def describe_files(
    store: Store, folder: str, key: str, shape: tuple[int, int], digests: Mapping[str, str] | None = None
) -> tuple[FileRecord, ...]:
    """Every object of the image written at ``key``, with size and sha256, by path relative to ``folder``.

    ``digests``: what `write_image` told; the rest is read. Raises MissingKeyError when one that must be there is not.
    """
    sizes = {entry.key: entry.size for entry in store.list(key)}
    records = []
    for path in sorted(_object_paths(pyramid_shapes(*shape))):
        whole = f"{key}/{path}"
        sha256 = (digests or {}).get(path) if whole in sizes else None
        sha256 = sha256 or store.sha256(whole)
        records.append(FileRecord(path=whole.removeprefix(folder + "/"), size=sizes[whole], sha256=sha256))
    return tuple(records)


def _pyramid(bands: Iterable[np.ndarray], shapes: tuple[tuple[int, int], ...]) -> Iterator[list[Piece]]:
    """For each source band, what it completes: rows of whole shards, at every level."""
    gathered = [_Gathered(*shape) for shape in shapes]
    given = 0
    for band in bands:
        pieces: list[Piece] = []
        given += len(band)
        rows = band
        for level, level_rows in enumerate(gathered):
            top = level_rows.written
            complete = level_rows.add(rows)
            if complete is None:
                break
            pieces.append((level, top, complete))
            if level + 1 < len(shapes):
                rows = halve(complete)
        del band, rows  # the pieces have what is still needed; the next band is decoded while these are written
        yield pieces
        del pieces
    if [rows.written for rows in gathered] != [height for height, _ in shapes]:
        raise ValueError(f"the bands held {given} rows of {shapes[0][0]}")


class _Gathered:
    """Rows of one level, until they make a row of shards."""

    def __init__(self, height: int, width: int) -> None:
        self.written = 0
        self._height, self._width = height, width
        self._rows: np.ndarray | None = None
        self._filled = 0

    def add(self, rows: np.ndarray) -> np.ndarray | None:
        """A whole row of shards (the last may be lower), or None. It must not be given more than one needs."""
        wanted = min(shard_side(self._height), self._height - self.written)
        if self._rows is None and len(rows) == wanted:
            self.written += wanted
            return rows
        if self._rows is None:
            self._rows = np.empty((wanted, self._width, 3), np.uint8)
        if self._filled + len(rows) > wanted:
            raise ValueError(f"a band of {len(rows)} rows does not fit {wanted - self._filled} rows of a shard")
        self._rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)
        if self._filled < wanted:
            return None
        complete, self._rows, self._filled = self._rows, None, 0
        self.written += wanted
        return complete


def _settle(store: Store, key: str, paths: list[str], digests: dict[str, str]) -> None:
    """Force shards to disk, and hash them as they lie there."""
    for folder in sorted({path.rpartition("/")[0] for path in paths}):
        store.sync(f"{key}/{folder}")
    for path in paths:
        digests[path] = store.sha256(f"{key}/{path}")


def _object_paths(shapes: tuple[tuple[int, int], ...]) -> Iterator[str]:
    yield "zarr.json"
    for level, (height, width) in enumerate(shapes):
        yield f"{level}/zarr.json"
        for row in range(-(-height // shard_side(height))):
            for column in range(-(-width // shard_side(width))):
                yield f"{level}/c/0/{row}/{column}"


def _metadata(shapes: tuple[tuple[int, int], ...], name: str, um_per_px: float | None) -> dict[str, bytes]:
    """Every zarr.json as zarr itself would write it, made in memory so that the store is never overwritten."""
    memory = MemoryStore()
    group = zarr.create_group(memory, zarr_format=3, attributes={"ome": _ome(shapes, name, um_per_px)})
    for level, (height, width) in enumerate(shapes):
        group.create_array(
            str(level),
            shape=(3, height, width),
            dtype="uint8",
            chunks=(3, CHUNK, CHUNK),
            shards=(3, shard_side(height), shard_side(width)),
            compressors=ZstdCodec(level=1, checksum=True),
            filters=None,
            fill_value=0,
            dimension_names=("c", "y", "x"),
        )
    return {path: buffer.to_bytes() for path, buffer in memory._store_dict.items()}


def _ome(shapes: tuple[tuple[int, int], ...], name: str, um_per_px: float | None) -> dict[str, Any]:
    """OME-NGFF 0.5 metadata; the levels halve exactly, so a level's pixel is 2**level of the first."""
    unit = {} if um_per_px is None else {"unit": "micrometer"}
    side = 1.0 if um_per_px is None else um_per_px
    colours = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "type": "mean",
                "axes": [
                    {"name": "c", "type": "channel"},
                    {"name": "y", "type": "space", **unit},
                    {"name": "x", "type": "space", **unit},
                ],
                "datasets": [_dataset(level, side) for level in range(len(shapes))],
            }
        ],
        "omero": {
            "channels": [
                {"label": label, "color": color, "window": window, "active": True} for label, color in colours
            ],
            "rdefs": {"model": "color"},
        },
    }


def _dataset(level: int, side: float) -> dict[str, Any]:
    """One level: its pixel's size, and the half pixels by which the centre of its first one lies further in."""
    factor = 2**level
    shift = side * (factor - 1) / 2
    return {
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": [1.0, side * factor, side * factor]},
            {"type": "translation", "translation": [0.0, shift, shift]},
        ],
    }
