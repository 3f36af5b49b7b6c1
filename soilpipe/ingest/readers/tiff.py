"""TIFF and BigTIFF, by strips or rows of tiles. End check: every strip lies inside the file and fills its rows."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np

from soilpipe.ingest.readers.base import (
    Limits,
    Refused,
    cut,
    damaged,
    refusing_the_unforeseen,
    rgb8,
    truncated,
    unsupported,
)
from soilpipe.ingest.readers.exif import exif_time, orientation, resolution
from soilpipe.ingest.readers.tiff_codecs import JPEG, NAMES, NONE, JpegTags, Layout, check_zeros, rows_of_jpeg, unpack
from soilpipe.ingest.readers.tiff_streams import STREAMED, STREAMED_FROM, rows_of_stream
from soilpipe.ingest.readers.tiff_tags import Directory, TiffTags

NAME = "TIFF"
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUFFIXES = frozenset({".tif", ".tiff"})
_GREY_WHITE_IS_ZERO, _GREY, _RGB, _YCBCR = 0, 1, 2, 6
_MOST_BYTES = 1 << 24
_MOST_TILE_PIXELS = 1 << 31


def open_tiff(path: Path, limits: Limits) -> TiffReader:
    """Raises Refused."""
    return TiffReader(path, limits)


class TiffReader:
    """The first image of a TIFF file; smaller ones after it (thumbnails, pyramids) are left alone."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.format = NAME
        self._file = path.open("rb")
        try:
            self._tags = TiffTags(self._file)
            directories = self._tags.directories()
            self._main = main = directories[0]
            self.width, self.height = main.integer(256, 0), main.integer(257, 0)
            limits.check_pixels(NAME, self.width, self.height)
            self._layout = self._read_layout()
            self._check_other_images(directories[1:])
            self._offsets, self._counts = self._read_ranges()
            self._check_memory(limits)
            self._limits = limits
            self._jpeg = JpegTags(main.bytes(347, _MOST_BYTES), self._photometric == _YCBCR)
            self.dpi = resolution(main.fraction(282), main.fraction(283), main.integer(296, 2))
            self.captured = self._captured()
            self.exif_orientation = orientation(main.integer(274, 1))
            self.icc = main.bytes(34675, _MOST_BYTES)
        except BaseException:
            self._file.close()
            raise

    def _read_layout(self) -> Layout:
        main = self._main
        compression = main.integer(259, NONE)
        if compression not in NAMES:
            raise unsupported(NAME, f"compression {compression}")
        samples = main.integer(277, 1)
        if not 1 <= samples <= 4:
            raise unsupported(NAME, f"{samples} samples a pixel")
        if main.integer(284, 1) != 1 and samples > 1:
            raise unsupported(NAME, "planar samples (each colour apart)")
        self._photometric = photometric = main.integer(262, -1)
        jpeg_colour = photometric == _YCBCR and compression == JPEG
        if photometric not in (_GREY_WHITE_IS_ZERO, _GREY, _RGB) and not jpeg_colour:
            raise unsupported(NAME, f"pixels of photometric kind {photometric} (palette, CMYK, or the like)")
        colours = 1 if photometric in (_GREY_WHITE_IS_ZERO, _GREY) else 3
        if samples - colours not in (0, 1) or (compression == JPEG and samples != colours):
            raise unsupported(NAME, f"{samples} samples a pixel of photometric kind {photometric}")
        bits, kinds = main.integers(258, 64), main.integers(339, 64)
        depth = int(bits[0]) if len(bits) else 1
        deep_jpeg = compression == JPEG and depth != 8
        if depth not in (8, 16) or any(bits != depth) or any(kinds != 1) or deep_jpeg:
            kind = "integers" if all(kinds == 1) else "numbers other than whole ones"
            raise unsupported(NAME, f"samples of {depth} bits ({kind}, compression {NAMES[compression]})")
        predictor = main.integer(317, 1) if compression not in (NONE, JPEG) else 1
        if predictor not in (1, 2) or main.integer(266, 1) != 1 or main.integer(32997, 1) != 1:
            raise unsupported(NAME, f"predictor {predictor}, fill order {main.integer(266, 1)}, or depth")
        self._tiled = 322 in main
        rows, width = main.integer(278, self.height), self.width
        if self._tiled:
            rows, width = main.integer(323, 0), main.integer(322, 0)
        if rows < 1 or width < 1 or (self._tiled and rows * width > _MOST_TILE_PIXELS):
            raise damaged(NAME, f"its tags say strips or tiles of {width} x {rows} pixels")
        rows = rows if self._tiled else min(rows, self.height)
        dtype = np.dtype(f"{self._tags.order}u{depth // 8}")
        return Layout(rows, width, samples, dtype, predictor, compression)

    def _check_other_images(self, others: list[Directory]) -> None:
        for other in others:
            if other.integer(256, 0) * other.integer(257, 0) >= self.width * self.height:
                raise unsupported(NAME, "several images of one size")

    @property
    def _across(self) -> int:
        return -(-self.width // self._layout.width)

    def _rows_of(self, index: int) -> int:
        """Rows of the image in a strip; all rows of a tile."""
        rows = self._layout.rows
        return rows if self._tiled else min(rows, self.height - index * rows)

    def _name(self, index: int) -> str:
        return f"{'tile' if self._tiled else 'strip'} {index + 1} of {len(self._offsets)}"

    def _read_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and lengths of the strips or tiles, (n,) int64, all inside the file and none inside another."""
        expected = -(-self.height // self._layout.rows) * self._across
        kind = "tiles" if self._tiled else "strips"
        limit = self._tags.size  # a strip has at least one byte
        tags = (324, 325) if self._tiled else (273, 279)
        if self._tiled and 324 not in self._main:
            tags = 273, 279
        given = [self._main[tag].count if tag in self._main else 0 for tag in tags]
        if given != [expected, expected]:
            raise damaged(NAME, f"it lists {given[0]} {kind} of {given[1]} lengths where its size asks for {expected}")
        offsets, counts = (self._main.integers(tag, limit) for tag in tags)
        self._offsets = offsets
        for bad, what in (
            ((offsets < 8) | (counts < 1), "was never written"),
            ((offsets > limit) | (counts > limit) | (offsets + counts > limit), "lies past the end of the file"),
        ):
            if bad.any():
                raise truncated(NAME, f"{self._name(int(bad.argmax()))} {what}")
        order = np.lexsort((counts, offsets))
        ends = (offsets + counts)[order]
        # The very same range twice is a writer's saving; half of another is a broken list.
        inside = (offsets[order][1:] < ends[:-1]) & (
            (offsets[order][1:] != offsets[order][:-1]) | (ends[1:] != ends[:-1])
        )
        if inside.any():
            raise damaged(NAME, f"{self._name(int(order[1:][inside.argmax()]))} begins inside another")
        if self._layout.compression == NONE:
            full = self._layout.rows * self._layout.row_bytes
            wanted = np.full(expected, full, np.uint64)
            if not self._tiled:
                wanted[-1] = self._rows_of(expected - 1) * self._layout.row_bytes
            bad = (counts != wanted) & (counts != full)
            if bad.any():
                index = int(bad.argmax())
                kind_of = truncated if counts[index] < wanted[index] else damaged
                raise kind_of(NAME, f"{self._name(index)} has {counts[index]} bytes, not {wanted[index]}")
        return offsets.astype(np.int64), counts.astype(np.int64)

    def _check_memory(self, limits: Limits) -> None:
        """The bands aside: what is held of a strip, or of a row of tiles, that cannot be had in pieces."""
        layout, coded = self._layout, int(self._counts.max())
        one = layout.rows * layout.row_bytes
        need = one * self._across if self._tiled else 0
        if layout.compression == JPEG:
            need += 2 * coded
        elif not (self._by_offset or self._by_stream):
            need += 3 * one + 2 * coded
        limits.check_memory(NAME, need, "its strips or tiles are that large")

    def _captured(self) -> datetime | None:
        texts: list[str | None] = []
        if 34665 in self._main:
            try:
                exif = self._tags.directory(self._main.integer(34665, 0))
                texts = [exif.text(36867), exif.text(36868)]
            except Refused as refusal:
                if refusal.code == "truncated":
                    raise
        texts.append(self._main.text(306))
        return next((time for time in map(exif_time, texts) if time), None)

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        blocks = self._plain_rows(rows) if self._by_offset else self._decoded_rows()
        rows = min(rows, self.height)
        white_is_zero = self._photometric == _GREY_WHITE_IS_ZERO
        with refusing_the_unforeseen(NAME):
            pieces = (piece for block in blocks for piece in cut(iter([block]), rows))
            yield from cut((rgb8(piece, white_is_zero=white_is_zero) for piece in pieces), rows)

    @property
    def _by_offset(self) -> bool:
        return self._layout.compression == NONE and not self._tiled

    @property
    def _by_stream(self) -> bool:
        layout = self._layout
        large = layout.rows * layout.row_bytes >= STREAMED_FROM
        return large and layout.compression in STREAMED and not self._tiled

    def _plain_rows(self, rows: int) -> Iterator[np.ndarray]:
        """Uncompressed strips by offset, a piece at a time: one strip may well be the whole image."""
        layout = self._layout
        native = layout.dtype.newbyteorder("=")
        for index, offset in enumerate(self._offsets.tolist()):
            height = self._rows_of(index)
            for top in range(0, height, rows):
                count = min(rows, height - top)
                data = self._read(offset + top * layout.row_bytes, count * layout.row_bytes, index)
                samples = np.frombuffer(data, layout.dtype).reshape(count, layout.width, layout.samples)
                yield samples.astype(native, copy=False)

    def _decoded_rows(self) -> Iterator[np.ndarray]:
        """Compressed strips, or rows of tiles put together."""
        if not self._tiled:
            for index in range(len(self._offsets)):
                yield from self._segment(index)
            return
        layout, across = self._layout, self._across
        shape = layout.rows, across * layout.width, layout.samples
        for first in range(0, len(self._offsets), across):
            top = first // across * layout.rows
            block = np.empty(shape, layout.dtype.newbyteorder("="))
            for column in range(across):
                at = 0
                for rows in self._segment(first + column):
                    block[at : at + len(rows), column * layout.width : (column + 1) * layout.width] = rows
                    at += len(rows)
            yield block[: self.height - top, : self.width]

    def _segment(self, index: int) -> Iterator[np.ndarray]:
        """(r, width, samples) of a strip or tile, together exactly its rows."""
        start, length = int(self._offsets[index]), int(self._counts[index])
        rows, where = self._rows_of(index), self._name(index)
        if self._by_stream:
            with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                check_zeros(mapped, start, start + length, self._layout, where)
            yield from rows_of_stream(self._file, start, start + length, self._layout, rows, where)
        elif self._layout.compression == JPEG:
            yield from rows_of_jpeg(
                self._read(start, length, index), self._jpeg, self._layout, rows, where, self._limits
            )
        else:
            yield unpack(self._read(start, length, index), self._layout, rows, where)

    def _read(self, offset: int, length: int, index: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise truncated(NAME, f"it ends inside {self._name(index)}")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
