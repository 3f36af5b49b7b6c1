"""A scan as OME-Zarr 0.5, written in one pass over the source, whole shards at a time.

Each band of rows goes into level 0; its 2 × 2 mean is gathered into level 1 until that holds a band of its own, and
so on up: every level is written in bands of shard height, cut by Dask into blocks of exactly one shard. Blocks
smaller than a shard would corrupt it without a word, since two threads would each read, change and write the whole
shard (zarr-python issue 3682). While one band is compressed and written, the next is decoded.

Everything is a function of the pixels: the same scan gives the same bytes, and a run that follows a killed one
writes the same objects again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dask.array as da
import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import MemoryStore, WrapperStore

from soilpipe.ingest.receipts import FileRecord
from soilpipe.store import Store
from soilpipe.tiles import halve, pyramid_shapes

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
) -> None:
    """Write ``bands`` ((r, W, 3) uint8 from top to bottom, ``r = SHARD`` but for the last) below ``key``.

    ``shape``: (height, width) px of level 0. ``um_per_px`` None: the metadata then has no unit.
    """
    shapes = pyramid_shapes(*shape)
    for path, data in _metadata(shapes, name, um_per_px).items():
        store.write_if_changed(f"{key}/{path}", data)
    group = zarr.open_group(_NothingBefore(store.zarr(key)), mode="r+", zarr_format=3)
    # An empty chunk that is not written could not be told from a lost one.
    arrays = [group[str(level)].with_config({"write_empty_chunks": True}) for level in range(len(shapes))]
    with store.told("write", key), ThreadPoolExecutor(1, "soilpipe-write") as background:
        writing: Future[None] | None = None
        for pieces in _pyramid(bands, shapes):
            if writing is not None:
                writing.result()
            writing = background.submit(_write_pieces, arrays, pieces)
        if writing is not None:
            writing.result()
    store.sync(key)


def describe_files(store: Store, folder: str, key: str, shape: tuple[int, int]) -> tuple[FileRecord, ...]:
    """Every object of the image written at ``key``, with size and sha256, by path relative to ``folder``.

    Raises MissingKeyError when one that must be there is not.
    """
    sizes = {entry.key: entry.size for entry in store.list(key)}
    records = []
    for path in sorted(_object_paths(pyramid_shapes(*shape))):
        whole = f"{key}/{path}"
        sha256 = store.sha256(whole)
        records.append(FileRecord(path=whole.removeprefix(folder + "/"), size=sizes[whole], sha256=sha256))
    return tuple(records)


Piece = tuple[int, int, np.ndarray]  # level, first row, (r, w, 3) uint8


def _pyramid(bands: Iterable[np.ndarray], shapes: tuple[tuple[int, int], ...]) -> Iterator[list[Piece]]:
    """For each source band, what it completes: rows of whole shards, at every level."""
    held: list[list[np.ndarray]] = [[] for _ in shapes]
    written = [0] * len(shapes)
    given = 0
    for band in bands:
        pieces: list[Piece] = []
        given += len(band)
        rows = band
        for level, (height, _) in enumerate(shapes):
            held[level].append(rows)
            waiting = sum(len(part) for part in held[level])
            if waiting < shard_side(height) and written[level] + waiting < height:
                break
            rows = held[level][0] if len(held[level]) == 1 else np.concatenate(held[level])
            pieces.append((level, written[level], rows))
            written[level] += len(rows)
            held[level] = []
            if level + 1 < len(shapes):
                rows = halve(rows)
        yield pieces
    if written != [height for height, _ in shapes]:
        raise ValueError(f"the bands held {given} rows of {shapes[0][0]}")


def _write_pieces(arrays: list[Any], pieces: list[Piece]) -> None:
    sources, targets, regions = [], [], []
    for level, top, rows in pieces:
        target = arrays[level]
        channels = np.moveaxis(rows, 2, 0)  # a view: zarr copies it chunk by chunk, so that no whole copy is held
        sources.append(da.from_array(channels, chunks=target.shards, name=False))
        targets.append(target)
        regions.append((slice(None), slice(top, top + len(rows)), slice(None)))
    da.store(sources, targets, regions=regions, lock=False)


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
