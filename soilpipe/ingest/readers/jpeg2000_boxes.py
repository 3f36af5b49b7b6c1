"""The boxes of a JP2 file around its codestream. End check: every box lies inside the one that holds it."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from soilpipe.ingest.readers.base import damaged, plausible_dpi, truncated, unsupported
from soilpipe.ingest.readers.exif import Exif, read_exif

NAME = "JPEG 2000"
BOX_MAGIC = b"\0\0\0\x0cjP  \r\n\x87\n"
_EXIF_UUID = b"JpgTiffExif->JP2"
_GREY, _SRGB = 17, 16


@dataclass
class Boxes:
    """``stream``: (first byte, one past the last) of the codestream. ``size``: (width, height, components) of ihdr."""

    stream: tuple[int, int] = (0, 0)
    size: tuple[int, int, int] | None = None
    dpi: float | None = None
    icc: bytes | None = None
    exif: Exif = field(default_factory=Exif)


def walk_boxes(data: mmap.mmap) -> Boxes:
    """Raises Refused."""
    found = Boxes()
    for kind, start, end in _each_box(data, 0, len(data)):
        if kind == b"jp2h":
            _image_header(data, start, end, found)
        elif kind == b"uuid" and data[start : start + 16] == _EXIF_UUID:
            found.exif = read_exif(data[start + 16 : end].removeprefix(b"Exif\0\0"))
        elif kind == b"jp2c" and not found.stream[1]:
            found.stream = start, end
    if not found.stream[1]:
        raise truncated(NAME, "it has no codestream (jp2c box)")
    if found.size is None:
        raise damaged(NAME, "it has no image header (jp2h and ihdr boxes)")
    return found


def _each_box(data: mmap.mmap, position: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte of its content, one past its last) of each box."""
    while position < stop:
        if position + 8 > stop:
            raise truncated(NAME, f"it ends inside a box header, at byte {position}")
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        start = position + 8
        if not any(kind):
            raise damaged(NAME, f"no box where one must be, at byte {position}")
        if length == 1:
            if start + 8 > stop:
                raise truncated(NAME, f"it ends inside a box header, at byte {position}")
            (length,) = struct.unpack(">Q", data[start : start + 8])
            start += 8
        end = stop if length == 0 else position + length
        if end < start:
            raise damaged(NAME, f"the box at byte {position} has an impossible length")
        if end > stop:
            raise truncated(NAME, f"it ends inside its {kind.decode('ascii', 'replace')!r} box")
        yield kind, start, end
        position = end


def _image_header(data: mmap.mmap, start: int, stop: int, found: Boxes) -> None:
    """Refuses palettes, colour spaces other than grey and sRGB, and channels that are not in their natural order."""
    for kind, first, end in _each_box(data, start, stop):
        if kind == b"ihdr":
            if end - first != 14:
                raise damaged(NAME, "its image header (ihdr) has the wrong length")
            height, width, components = struct.unpack(">IIH", data[first : first + 10])
            found.size = width, height, components
        elif kind == b"pclr":
            raise unsupported(NAME, "a palette")
        elif kind == b"cdef":
            _check_channels(data[first:end])
        elif kind == b"colr" and end - first >= 3:
            if data[first] == 1 and end - first >= 7:
                (space,) = struct.unpack(">I", data[first + 3 : first + 7])
                if space not in (_GREY, _SRGB):
                    raise unsupported(NAME, f"pixels of colour space {space}")
            elif data[first] == 2:
                found.icc = data[first + 3 : end]
        elif kind == b"res ":
            sides = {name: _resolution(data[a:b]) for name, a, b in _each_box(data, first, end)}
            found.dpi = sides.get(b"resc") or sides.get(b"resd")


def _check_channels(body: bytes) -> None:
    """Colours must come first and in order; what else there is (alpha) after them."""
    for at in range(2, len(body) - 5, 6):
        channel, kind, belongs_to = struct.unpack_from(">HHH", body, at)
        if kind == 0 and belongs_to != channel + 1:
            raise unsupported(NAME, "colours in another order than red, green, blue")


def _resolution(body: bytes) -> float | None:
    """Points per metre, each side as a fraction with a power of ten."""
    if len(body) < 10:
        return None
    above_y, below_y, above_x, below_x, power_y, power_x = struct.unpack(">HHHHbb", body[:10])
    if not (below_x and below_y) or max(abs(power_x), abs(power_y)) > 20:
        return None
    return plausible_dpi(above_x / below_x * 10.0**power_x * 0.0254, above_y / below_y * 10.0**power_y * 0.0254)
