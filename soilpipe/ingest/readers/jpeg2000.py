"""JPEG 2000, as boxes (.jp2) or as a bare codestream.

A tiled image is decoded by rows of tiles, each tile as a codestream of its own that says it is an image of one tile
at the same place. What has a single tile is one wavelet, and is decoded whole, within the project's memory limit.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

import imagecodecs
import numpy as np

from soilpipe.ingest.readers.base import Limits, cut, damaged, refusing_the_unforeseen, rgb8
from soilpipe.ingest.readers.jpeg2000_boxes import BOX_MAGIC, Boxes, walk_boxes
from soilpipe.ingest.readers.jpeg2000_marks import NAME, STREAM_MAGIC, Codestream, Grid, read_grid, walk

__all__ = ["BOX_MAGIC", "NAME", "STREAM_MAGIC", "SUFFIXES", "Jpeg2000Reader", "open_jpeg2000"]

SUFFIXES = frozenset({".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"})
_EOC = b"\xff\xd9"


def open_jpeg2000(path: Path, limits: Limits) -> Jpeg2000Reader:
    """Raises Refused."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        boxes = Boxes(stream=(0, len(data))) if data[:4] == STREAM_MAGIC else walk_boxes(data)
        grid = read_grid(data, *boxes.stream)
        if boxes.size not in (None, (grid.width, grid.height, grid.components)):
            raise damaged(NAME, f"its image header (ihdr) says {boxes.size}, its codestream {grid.width, grid.height}")
        limits.check_pixels(NAME, grid.width, grid.height)
        stream = walk(data, *boxes.stream)
    reader = Jpeg2000Reader(path, boxes, stream)
    why = "JPEG 2000 without tiles is one wavelet" if reader.whole else "its tiles are that large"
    limits.check_memory(NAME, reader.memory, why)
    return reader


class Jpeg2000Reader:
    """``whole``: the image is decoded at once. ``memory``: bytes that it takes at most, beside the bands."""

    def __init__(self, path: Path, boxes: Boxes, stream: Codestream) -> None:
        self.format = NAME
        self._grid = stream.grid
        self.width, self.height = stream.grid.width, stream.grid.height
        self.dpi = boxes.dpi or boxes.exif.dpi
        self.captured: datetime | None = boxes.exif.captured
        self.exif_orientation = boxes.exif.orientation
        self.icc = boxes.icc
        self._stream = stream
        self._place = boxes.stream
        self._file = path.open("rb")
        self.whole = not stream.cuttable or stream.grid.across * stream.grid.down == 1

    @property
    def memory(self) -> int:
        grid = self._grid
        one = grid if self.whole else grid.one(min(1, grid.across - 1), min(1, grid.down - 1))
        if self.whole:
            coded = self._place[1] - self._place[0]
        else:
            coded = max(sum(end - start for start, end in parts) for parts in self._stream.parts.values())
        sample = 2 if grid.bits > 8 else 1
        # OpenJPEG holds every component as 32-bit integers, then come imagecodecs' copy and ours.
        decoding = one.width * one.height * (4 * grid.components + 2 * sample * grid.components) + 2 * coded
        row = 0 if self.whole else 2 * grid.width * min(grid.tile_h, grid.height) * sample * grid.components
        return decoding + row + 6 * one.height

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        rows = min(rows, self.height)
        blocks = self._whole() if self.whole else self._rows_of_tiles()
        shift = 16 - self._grid.bits if self._grid.bits > 8 else 0  # samples of 9 to 15 bits stand low in 16
        pieces = (rgb8(piece << shift if shift else piece) for block in blocks for piece in cut(iter([block]), rows))
        with refusing_the_unforeseen(NAME):
            yield from cut(pieces, rows)

    def _whole(self) -> Iterator[np.ndarray]:
        self._file.seek(self._place[0])
        data = self._file.read(self._place[1] - self._place[0])
        yield self._decode(data, self._grid, "its image")

    def _rows_of_tiles(self) -> Iterator[np.ndarray]:
        grid = self._grid
        for row in range(grid.down):
            tiles = [self._tile(column, row) for column in range(grid.across)]
            yield np.concatenate(tiles, axis=1)

    def _tile(self, column: int, row: int) -> np.ndarray:
        number = row * self._grid.across + column
        one = self._grid.one(column, row)
        size = struct.pack(">8I", one.x1, one.y1, one.x0, one.y0, one.tile_w, one.tile_h, one.grid_x, one.grid_y)
        pieces = [self._stream.header[:8], size, self._stream.header[40:]]
        for start, end in self._stream.parts[number]:
            self._file.seek(start)
            part = self._file.read(end - start)
            pieces += [part[:4], b"\0\0", struct.pack(">I", end - start), part[10:]]  # it is tile 0 now
        return self._decode(b"".join([*pieces, _EOC]), one, f"tile {number + 1} of {len(self._stream.parts)}")

    def _decode(self, data: bytes, grid: Grid, what: str) -> np.ndarray:
        """(h, w) or (h, w, components) uint8 or uint16."""
        try:
            decoded = imagecodecs.jpeg2k_decode(data, numthreads=2)
        except (imagecodecs.Jpeg2kError, ValueError, RuntimeError) as error:
            raise damaged(NAME, f"{what} cannot be decoded ({str(error)[:160]})") from error
        if decoded.shape[:2] != (grid.height, grid.width) or decoded.shape[2:] not in ((), (grid.components,)):
            raise damaged(NAME, f"{what} is of {decoded.shape}, its header says {grid.width} x {grid.height} px")
        return np.asarray(decoded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
