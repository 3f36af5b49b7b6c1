"""JPEG, baseline and progressive. End check: every marker is walked, up to EOI at the end of the image."""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from soilpipe.ingest.readers.base import Limits, damaged, plausible_dpi, truncated, unsupported
from soilpipe.ingest.readers.exif import Exif, read_exif
from soilpipe.ingest.readers.sequential import SequentialReader

NAME = "JPEG"
MAGIC = b"\xff\xd8\xff"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
BYTES_PER_PIXEL_PROGRESSIVE = 7

# In entropy-coded data 0xFF is followed by a stuffed 0, a restart mark or a fill byte; anything else is a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    components: int
    progressive: bool
    dpi: float | None
    exif: Exif


def open_jpeg(path: Path, limits: Limits) -> SequentialReader:
    """Raises Refused."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _walk(data)
    limits.check_pixels(NAME, header.width, header.height)
    if header.components == 4:
        raise unsupported(NAME, "CMYK pixels")
    if header.progressive:
        need = header.width * header.height * BYTES_PER_PIXEL_PROGRESSIVE
        limits.check_memory(NAME, need, "it is progressive")
    size = header.width, header.height
    return SequentialReader(path, NAME, size, header.dpi or header.exif.dpi, header.exif.captured)


def _walk(data: mmap.mmap) -> _Header:
    frame: tuple[int, int, int, bool] | None = None
    dpi, exif = None, Exif()
    position = 2
    scans = 0
    while True:
        if data[position : position + 1] not in (b"\xff", b""):
            raise damaged(NAME, f"no marker where one must be, at byte {position}")
        while data[position : position + 2] == b"\xff\xff":  # fill bytes
            position += 1
        if position + 2 > len(data):
            raise truncated(NAME, "it ends before its end mark (EOI)")
        marker = data[position + 1]
        position += 2
        if marker == _EOI:
            break
        if marker == _SOI or marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if position + 2 > len(data):
            raise truncated(NAME, f"it ends inside the segment 0x{marker:02X}")
        (length,) = struct.unpack(">H", data[position : position + 2])
        if length < 2 or position + length > len(data):
            raise truncated(NAME, f"it ends inside the segment 0x{marker:02X}")
        body = data[position + 2 : position + length]
        position += length
        if marker in _FRAMES:
            if len(body) < 6:
                raise damaged(NAME, "its frame header is too short")
            _, height, width, components = struct.unpack(">BHHB", body[:6])
            frame = (width, height, components, marker not in (0xC0, 0xC1))
        elif marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12:
            unit, x, y = struct.unpack(">BHH", body[7:12])
            factor = {1: 1.0, 2: 2.54}.get(unit, 0.0)
            dpi = plausible_dpi(x * factor, y * factor)
        elif marker == 0xE1 and body[:6] == b"Exif\0\0":
            exif = read_exif(body[6:])
        elif marker == _SOS:
            scans += 1
            found = _MARKER.search(data, position)
            if found is None:
                raise truncated(NAME, "it ends inside its image data, without an end mark (EOI)")
            position = found.start()
    if frame is None or not scans:
        raise truncated(NAME, "it has an end mark but no image before it")
    return _Header(*frame, dpi, exif)
