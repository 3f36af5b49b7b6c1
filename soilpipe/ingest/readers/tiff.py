"""TIFF and BigTIFF, by strips or rows of tiles. End check: every strip lies inside the file and fills its rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile

from soilpipe.ingest.readers.base import Limits, Refused, cut, damaged, rgb8, truncated, unsupported
from soilpipe.ingest.readers.exif import exif_time, resolution

NAME = "TIFF"
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUFFIXES = frozenset({".tif", ".tiff"})
COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 50000: "zstd"}
_GREY_WHITE_IS_ZERO, _GREY, _RGB, _YCBCR = 0, 1, 2, 6


def open_tiff(path: Path, limits: Limits) -> TiffReader:
    """Raises Refused."""
    try:
        return TiffReader(path, limits)
    except (Refused, OSError):
        raise
    except Exception as error:  # tags are read by very many roads, and a broken one ends in nearly any error
        raise truncated(NAME, f"its directory of tags cannot be read ({_told(error)})") from error


class TiffReader:
    """The first image of a TIFF file; smaller ones after it (thumbnails, pyramids) are left alone."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.format = NAME
        self._size = path.stat().st_size
        self._file = tifffile.TiffFile(path)
        try:
            if not len(self._file.pages):
                raise truncated(NAME, "it has no directory of tags, which often stands at the end")
            self._page: Any = self._file.pages[0]
            self.width, self.height = int(self._page.imagewidth), int(self._page.imagelength)
            limits.check_pixels(NAME, self.width, self.height)
            self._check_kind()
            self._check_other_pages()
            self._check_ranges(limits)
        except BaseException:
            self._file.close()
            raise
        self.dpi = self._dpi()
        self.captured = self._captured()

    def _check_kind(self) -> None:
        page = self._page
        if page.compression not in COMPRESSIONS:
            raise unsupported(NAME, f"compression {int(page.compression)}")
        if page.planarconfig != 1 and page.samplesperpixel > 1:
            raise unsupported(NAME, "planar samples (each colour apart)")
        jpeg_colour = page.photometric == _YCBCR and page.compression == 7
        if page.photometric not in (_GREY_WHITE_IS_ZERO, _GREY, _RGB) and not jpeg_colour:
            raise unsupported(NAME, f"pixels of photometric kind {int(page.photometric)} (palette, CMYK, or the like)")
        if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
            raise unsupported(NAME, f"samples of {page.bitspersample} bits ({page.dtype})")
        if not 1 <= page.samplesperpixel <= 4 or page.imagedepth != 1:
            raise unsupported(NAME, f"{page.samplesperpixel} samples a pixel, depth {page.imagedepth}")

    def _check_other_pages(self) -> None:
        for page in self._file.pages[1:3]:
            if page.imagewidth * page.imagelength >= self.width * self.height:
                raise unsupported(NAME, "several images of one size")

    def _check_ranges(self, limits: Limits) -> None:
        page = self._page
        offsets, counts = page.dataoffsets, page.databytecounts
        down = -(-self.height // self._segment_rows)
        across = -(-self.width // page.tilewidth) if page.is_tiled else 1
        if len(offsets) != down * across or len(counts) != down * across:
            raise damaged(NAME, f"it lists {len(offsets)} strips or tiles where its size asks for {down * across}")
        for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
            if offset < 8 or count < 1:
                raise truncated(NAME, f"strip or tile {index + 1} of {len(offsets)} was never written")
            if offset + count > self._size:
                raise truncated(NAME, f"strip or tile {index + 1} of {len(offsets)} lies past the end of the file")
            if page.compression == 1 and count < self._plain_bytes(index):
                raise truncated(NAME, f"strip or tile {index + 1} of {len(offsets)} has {count} bytes, too few")
        if page.compression != 1 or page.is_tiled:
            wide = page.tilewidth * across if page.is_tiled else self.width
            need = 3 * self._segment_rows * wide * page.samplesperpixel * page.dtype.itemsize
            limits.check_memory(NAME, need, "its strips or tiles are that large")

    @property
    def _segment_rows(self) -> int:
        page = self._page
        return int(page.tilelength) if page.is_tiled else min(int(page.rowsperstrip), self.height)

    @property
    def _row_bytes(self) -> int:
        return int(self.width * self._page.samplesperpixel * self._page.dtype.itemsize)

    def _plain_bytes(self, index: int) -> int:
        page = self._page
        if page.is_tiled:
            return int(page.tilelength * page.tilewidth * page.samplesperpixel * page.dtype.itemsize)
        return min(self._segment_rows, self.height - index * self._segment_rows) * self._row_bytes

    def _dpi(self) -> float | None:
        tags = self._page.tags
        sides = [tags.valueof(code, (0, 1)) for code in (282, 283)]
        try:
            x, y = (above / below if below else 0.0 for above, below in sides)
        except (TypeError, ValueError):
            return None
        return resolution(x, y, int(tags.valueof(296, 2)))

    def _captured(self) -> datetime | None:
        exif = self._page.tags.valueof(34665, {})
        candidates = [exif.get("DateTimeOriginal"), exif.get("DateTimeDigitized")] if isinstance(exif, dict) else []
        candidates.append(self._page.tags.valueof(306))
        return next((time for time in map(exif_time, candidates) if time), None)

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        white_is_zero = self._page.photometric == _GREY_WHITE_IS_ZERO
        blocks = self._plain_rows(rows) if self._is_plain else self._decoded_rows()
        for band in cut(blocks, rows):
            yield rgb8(band, white_is_zero=white_is_zero)

    @property
    def _is_plain(self) -> bool:
        page = self._page
        return bool(page.compression == 1 and not page.is_tiled and page.predictor == 1)

    def _plain_rows(self, rows: int) -> Iterator[np.ndarray]:
        """Uncompressed strips by offset, a piece at a time: one strip may well be the whole image."""
        page, handle = self._page, self._file.filehandle
        dtype = page.dtype.newbyteorder(self._file.byteorder)
        for index, offset in enumerate(page.dataoffsets):
            height = min(self._segment_rows, self.height - index * self._segment_rows)
            for top in range(0, height, rows):
                count = min(rows, height - top)
                handle.seek(offset + top * self._row_bytes)
                data = handle.read(count * self._row_bytes)
                if len(data) != count * self._row_bytes:
                    raise truncated(NAME, f"it ends inside strip {index + 1}")
                samples = np.frombuffer(data, dtype).reshape(count, self.width, page.samplesperpixel)
                yield samples.astype(page.dtype, copy=False)

    def _decoded_rows(self) -> Iterator[np.ndarray]:
        """Compressed strips, or rows of tiles put together."""
        page = self._page
        across = -(-self.width // page.tilewidth) if page.is_tiled else 1
        for first in range(0, len(page.dataoffsets), across):
            top = first // across * self._segment_rows
            height = min(self._segment_rows, self.height - top)
            row = [self._segment(index) for index in range(first, first + across)]
            block = row[0] if across == 1 else np.concatenate(row, axis=1)
            if block.shape[0] < height or block.shape[1] < self.width:
                raise damaged(NAME, f"the strip or tiles at row {top} hold too few pixels")
            yield block[:height, : self.width]

    def _segment(self, index: int) -> np.ndarray:
        page, handle = self._page, self._file.filehandle
        where = f"strip or tile {index + 1} of {len(page.dataoffsets)}"
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index])
        if len(data) != page.databytecounts[index]:
            raise truncated(NAME, f"it ends inside {where}")
        if page.compression == 7 and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise truncated(NAME, f"{where} is JPEG without its end mark")
        try:
            decoded, _, _ = page.decode(data, index, jpegtables=page.jpegtables, _fullsize=page.is_tiled)
        except Exception as error:  # each codec of imagecodecs has an error class of its own
            raise damaged(NAME, f"{where} cannot be decoded ({_told(error)})") from error
        return np.asarray(decoded[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _told(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
