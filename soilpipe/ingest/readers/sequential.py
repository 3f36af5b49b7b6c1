"""Row bands of JPEG and PNG through libvips, read in one pass from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import pyvips

from soilpipe.ingest.readers.base import damaged, rgb8, unsupported

pyvips.cache_set_max(0)  # its cache goes by file name: a file delivered again would give the old pixels

_DTYPES = {"uchar": np.uint8, "ushort": np.uint16}


class SequentialReader:
    """A reader over libvips. What the header says is checked by the format's own module before."""

    def __init__(
        self, path: Path, format_name: str, size: tuple[int, int], dpi: float | None, captured: datetime | None
    ) -> None:
        self.format = format_name
        self.width, self.height = size
        self.dpi = dpi
        self.captured = captured
        try:
            # "warning" also stops at bad Huffman codes, which libjpeg would fill in with grey.
            self._image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="warning")
        except pyvips.Error as error:
            raise damaged(format_name, told(error)) from error
        image = self._image
        if (image.width, image.height) != size:
            raise damaged(format_name, f"its header says {size[0]} x {size[1]} px, its image {image.width}")
        if image.format not in _DTYPES or image.interpretation == "cmyk" or not 1 <= image.bands <= 4:
            raise unsupported(format_name, f"{image.interpretation} pixels of {image.bands} samples ({image.format})")

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        image = self._image
        region = pyvips.Region.new(image)
        for top in range(0, self.height, rows):
            height = min(rows, self.height - top)
            try:
                data = region.fetch(0, top, self.width, height)
            except pyvips.Error as error:
                raise damaged(self.format, f"it cannot be decoded past row {top} ({told(error)})") from error
            samples = np.frombuffer(data, _DTYPES[image.format]).reshape(height, self.width, image.bands)
            yield rgb8(samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._image


def told(error: pyvips.Error) -> str:
    """libvips's own words, on one line, without the path."""
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))[:200]
