"""PNG. End check: every chunk's length and checksum, up to IEND, which libvips does not miss when it is gone."""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path

from soilpipe.ingest.readers.base import Limits, damaged, plausible_dpi, truncated
from soilpipe.ingest.readers.exif import Exif, read_exif
from soilpipe.ingest.readers.sequential import SequentialReader

NAME = "PNG"
MAGIC = b"\x89PNG\r\n\x1a\n"
SUFFIXES = frozenset({".png"})


def open_png(path: Path, limits: Limits) -> SequentialReader:
    """Raises Refused."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        width, height, sample_bytes, interlaced, dpi, exif = _walk(data)
    limits.check_pixels(NAME, width, height)
    if interlaced:
        limits.check_memory(NAME, 2 * width * height * sample_bytes, "it is interlaced")
    return SequentialReader(path, NAME, (width, height), dpi or exif.dpi, exif.captured)


def _walk(data: mmap.mmap) -> tuple[int, int, int, bool, float | None, Exif]:
    header: tuple[int, int, int, int, int, int, int] | None = None
    dpi, exif = None, Exif()
    position, pixels = len(MAGIC), 0
    while True:
        if position + 8 > len(data):
            raise truncated(NAME, "it ends before its last chunk (IEND)")
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 12 + length
        name = kind.decode("ascii", "replace")
        if not (kind.isalpha() and kind.isascii()):
            raise damaged(NAME, f"no chunk where one must be, at byte {position}")
        if end > len(data):
            raise truncated(NAME, f"it ends inside its {name} chunk at byte {position}")
        (checksum,) = struct.unpack(">I", data[end - 4 : end])
        with memoryview(data) as view, view[position + 4 : end - 4] as checked:
            wrong = zlib.crc32(checked) != checksum
        if wrong:
            raise damaged(NAME, f"the checksum of its {name} chunk at byte {position} is wrong")
        if header is None and kind != b"IHDR":
            raise damaged(NAME, "its first chunk is not IHDR")
        body = position + 8
        if kind == b"IHDR":
            if length != 13:
                raise damaged(NAME, "its IHDR chunk has the wrong length")
            header = struct.unpack(">IIBBBBB", data[body : body + 13])
        elif kind == b"pHYs" and length == 9:
            x, y, unit = struct.unpack(">IIB", data[body : body + 9])
            dpi = plausible_dpi(x * 0.0254, y * 0.0254) if unit == 1 else None
        elif kind == b"eXIf":
            exif = read_exif(data[body : body + length])
        elif kind == b"IDAT":
            pixels += length
        elif kind == b"IEND":
            break
        position = end
    if header is None or not pixels:
        raise truncated(NAME, "it has no image data (IDAT)")
    width, height, depth, _, _, _, interlace = header
    return width, height, 8 if depth == 16 else 4, interlace == 1, dpi, exif
