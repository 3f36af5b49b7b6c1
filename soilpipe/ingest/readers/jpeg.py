"""JPEG files, baseline and progressive."""

from __future__ import annotations

import mmap
from pathlib import Path

from soilpipe.ingest.readers.base import Limits, unsupported
from soilpipe.ingest.readers.jpeg_marks import BYTES_PER_PIXEL_WHOLE, NAME, walk
from soilpipe.ingest.readers.sequential import Facts, SequentialReader

MAGIC = b"\xff\xd8\xff"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def open_jpeg(path: Path, limits: Limits) -> SequentialReader:
    """Raises Refused."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = walk(data)
    limits.check_pixels(NAME, header.width, header.height)
    if header.components not in (1, 3):
        kind = "CMYK pixels" if header.components == 4 else f"{header.components} components"
        raise unsupported(NAME, kind)
    if header.whole:
        limits.check_memory(NAME, header.width * header.height * BYTES_PER_PIXEL_WHOLE, header.why)
    exif = header.exif
    facts = Facts(header.dpi or exif.dpi, exif.captured, exif.orientation, header.icc)
    return SequentialReader(path, NAME, (header.width, header.height), facts, needed_up_to=header.coded_end)
