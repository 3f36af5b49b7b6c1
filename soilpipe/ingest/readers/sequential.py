"""Row bands of JPEG and PNG through libvips, read in one pass from top to bottom."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import pyvips

from soilpipe.ingest.readers.base import cut, damaged, refusing_the_unforeseen, rgb8, unsupported
from soilpipe.ingest.readers.sources import STEP, source_of

pyvips.cache_set_max(0)  # its cache goes by file name: a file delivered again would give the old pixels

_ANCILLARY = re.compile(r"\b[a-z][A-Za-z][A-Z][A-Za-z]: ")  # the case of a chunk's letters tells what it is
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
_LOGGER = logging.getLogger("pyvips")
if _LOGGER.level == logging.NOTSET:
    _LOGGER.setLevel(logging.WARNING)  # whatever else is silenced: what it warns of is needed below
_BYTES_AT_ONCE, _FEWEST_ROWS = 1 << 21, 16


@dataclass(frozen=True)
class Facts:
    """What a file says beside its pixels; see Reader."""

    dpi: float | None = None
    captured: datetime | None = None
    exif_orientation: int = 1
    icc: bytes | None = None


class SequentialReader:
    """A reader over libvips. What the header says is checked by the format's own module before.

    ``needed_up_to``: the decoder must ask for the file up to this byte before it has all rows, or it is damaged.
    """

    def __init__(
        self, source: Path | BinaryIO, format_name: str, size: tuple[int, int], facts: Facts, needed_up_to: int = 0
    ) -> None:
        self.format = format_name
        self.width, self.height = size
        self.dpi = facts.dpi
        self.captured = facts.captured
        self.exif_orientation = facts.exif_orientation
        self.icc = facts.icc
        self._needed_up_to = needed_up_to
        self._file = source.open("rb") if isinstance(source, Path) else source
        self._counted = source_of(self._file, needed_up_to > 0)
        try:
            # "warning" also stops at bad Huffman codes, which libjpeg would fill in with grey.
            self._image = pyvips.Image.new_from_source(self._counted.source, "", access="sequential", fail_on="warning")
            self._check_kind(size)
        except pyvips.Error as error:
            self._close()
            raise self._counted.failure or damaged(format_name, _told(error)) from error
        except BaseException:
            self._close()
            raise

    def _check_kind(self, size: tuple[int, int]) -> None:
        image = self._image
        if (image.width, image.height) != size:
            raise damaged(
                self.format, f"its header says {size[0]} x {size[1]} px, its image {image.width} x {image.height}"
            )
        if image.format not in _DTYPES or image.interpretation == "cmyk" or not 1 <= image.bands <= 4:
            raise unsupported(self.format, f"{image.interpretation} pixels of {image.bands} samples ({image.format})")

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        rows = min(rows, self.height)
        with refusing_the_unforeseen(self.format):
            yield from cut(map(rgb8, self.samples(min(rows, self.few_rows))), rows)

    @property
    def few_rows(self) -> int:
        """How many to fetch at once, since libvips holds what is fetched about ten times."""
        row_bytes = self.width * self._image.bands * (2 if self._image.format == "ushort" else 1)
        return min(self.height, max(_FEWEST_ROWS, _BYTES_AT_ONCE // row_bytes))

    def samples(self, rows: int) -> Iterator[np.ndarray]:
        """(r, width, 1..4) uint8 or uint16 as the file holds them, otherwise like bands."""
        image = self._image
        region = pyvips.Region.new(image)
        for top in range(0, self.height, rows):
            height = min(rows, self.height - top)
            try:
                with _Overheard() as warnings:
                    data = region.fetch(0, top, self.width, height)
            except pyvips.Error as error:
                told = damaged(self.format, f"it cannot be decoded past row {top} ({_told(error)})")
                raise self._counted.failure or told from error
            if warnings.said:
                told = damaged(self.format, f"it is wrong past row {top} ({warnings.said[0][:160]})")
                raise self._counted.failure or told
            if top + height == self.height and self._counted.given + STEP < self._needed_up_to:
                left = self._needed_up_to - self._counted.given
                told = damaged(self.format, f"its image data do not fit its size: {left} bytes are left over")
                raise self._counted.failure or told
            yield np.frombuffer(data, _DTYPES[image.format]).reshape(height, self.width, image.bands)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._image
        self._close()

    def _close(self) -> None:
        self._counted.close()
        self._file.close()


class _Overheard(logging.Handler):
    """What libvips warns of in this thread meanwhile: that is all that tells of pixels left over in a PNG.

    What it says of a PNG's ancillary chunks (a colour profile that is none, for one) is no matter of the pixels.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and not _ANCILLARY.search(record.getMessage()):
            self.said.append(record.getMessage())

    def __enter__(self) -> Self:
        _LOGGER.addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _LOGGER.removeHandler(self)


def _told(error: pyvips.Error) -> str:
    """libvips's own words, on one line, without the path."""
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))[:200]
