"""JPEG 2000, as boxes (.jp2) or as a bare codestream. End check: box lengths, every tile-part's length, and EOC."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import imagecodecs
import numpy as np

from soilpipe.ingest.readers.base import Limits, damaged, plausible_dpi, rgb8, truncated, unsupported
from soilpipe.ingest.readers.exif import Exif, read_exif

NAME = "JPEG 2000"
BOX_MAGIC = b"\0\0\0\x0cjP  \r\n\x87\n"
STREAM_MAGIC = b"\xff\x4f\xff\x51"
SUFFIXES = frozenset({".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"})
_EXIF_UUID = b"JpgTiffExif->JP2"
_SOT, _SOD, _EOC = b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_GREY, _SRGB = 17, 16


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    components: int
    bits: int
    dpi: float | None = None
    exif: Exif = Exif()  # noqa: RUF009 - frozen


def open_jpeg2000(path: Path, limits: Limits) -> Jpeg2000Reader:
    """Raises Refused."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _Header(*_codestream(data, 0, len(data))) if data[:4] == STREAM_MAGIC else _boxes(data)
    limits.check_pixels(NAME, header.width, header.height)
    if not 1 <= header.components <= 4 or not 8 <= header.bits <= 16:
        raise unsupported(NAME, f"{header.components} components of {header.bits} bits")
    # OpenJPEG holds every component as 32-bit integers, then come its copy and ours.
    need = header.width * header.height * (4 * header.components + 2 * header.components * (header.bits > 8) + 6)
    limits.check_memory(NAME, need + path.stat().st_size, "JPEG 2000 is one wavelet")
    return Jpeg2000Reader(path, header)


class Jpeg2000Reader:
    """The whole image through OpenJPEG, handed out by bands."""

    def __init__(self, path: Path, header: _Header) -> None:
        self.format = NAME
        self.width, self.height = header.width, header.height
        self.dpi = header.dpi or header.exif.dpi
        self.captured: datetime | None = header.exif.captured
        self._path = path
        self._header = header

    def bands(self, rows: int) -> Iterator[np.ndarray]:
        try:
            decoded = imagecodecs.jpeg2k_decode(self._path.read_bytes(), numthreads=2)
        except (imagecodecs.Jpeg2kError, ValueError, RuntimeError) as error:
            raise damaged(NAME, f"it cannot be decoded ({str(error)[:160]})") from error
        if decoded.shape[:2] != (self.height, self.width):
            raise damaged(NAME, f"its header says {self.width} x {self.height} px, its image {decoded.shape}")
        if 8 < self._header.bits < 16:  # samples of 9 to 15 bits stand low in 16
            decoded = decoded << (16 - self._header.bits)
        for top in range(0, self.height, rows):
            yield rgb8(decoded[top : top + rows])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _boxes(data: mmap.mmap) -> _Header:
    dpi, exif = None, Exif()
    stream: tuple[int, int, int, int] | None = None
    for kind, start, end in _each_box(data, 0, len(data)):
        if kind == b"jp2h":
            dpi = _image_header(data, start, end)
        elif kind == b"uuid" and data[start : start + 16] == _EXIF_UUID:
            exif = read_exif(data[start + 16 : end].removeprefix(b"Exif\0\0"))
        elif kind == b"jp2c" and stream is None:
            stream = _codestream(data, start, end)
    if stream is None:
        raise truncated(NAME, "it has no codestream (jp2c box)")
    return _Header(*stream, dpi, exif)


def _each_box(data: mmap.mmap, position: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte of its content, one past its last) of each box."""
    while position < stop:
        if position + 8 > stop:
            raise truncated(NAME, f"it ends inside a box header, at byte {position}")
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        start = position + 8
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


def _image_header(data: mmap.mmap, start: int, stop: int) -> float | None:
    """Refuses palettes and colour spaces other than grey and sRGB; the resolution if there is one."""
    dpi = None
    for kind, first, end in _each_box(data, start, stop):
        if kind == b"pclr":
            raise unsupported(NAME, "a palette")
        if kind == b"colr" and end - first >= 7 and data[first] == 1:
            (space,) = struct.unpack(">I", data[first + 3 : first + 7])
            if space not in (_GREY, _SRGB):
                raise unsupported(NAME, f"pixels of colour space {space}")
        if kind == b"res ":
            found = {name: _resolution(data[a:b]) for name, a, b in _each_box(data, first, end)}
            dpi = found.get(b"resc") or found.get(b"resd")
    return dpi


def _resolution(body: bytes) -> float | None:
    """Points per metre, each side as a fraction with a power of ten."""
    if len(body) < 10:
        return None
    above_y, below_y, above_x, below_x, power_y, power_x = struct.unpack(">HHHHbb", body[:10])
    if not (below_x and below_y) or max(abs(power_x), abs(power_y)) > 20:
        return None
    return plausible_dpi(above_x / below_x * 10.0**power_x * 0.0254, above_y / below_y * 10.0**power_y * 0.0254)


def _codestream(data: mmap.mmap, start: int, stop: int) -> tuple[int, int, int, int]:
    """(width, height, components, bits). Every tile-part must lie inside, and EOC right after the last."""
    if data[start : start + 4] != STREAM_MAGIC:
        raise damaged(NAME, "its codestream does not begin with SOC and SIZ")
    if start + 43 > stop:
        raise truncated(NAME, "it ends inside its codestream header (SIZ)")
    x1, y1, x0, y0 = struct.unpack(">IIII", data[start + 8 : start + 24])
    (components,) = struct.unpack(">H", data[start + 40 : start + 42])
    bits = (data[start + 42] & 0x7F) + 1
    position = start + 2
    while data[position : position + 2] != _SOT:  # the main header, segment by segment
        if position + 4 > stop:
            raise truncated(NAME, "it ends inside its codestream header")
        mark, length = struct.unpack(">HH", data[position : position + 4])
        if mark < 0xFF00 or length < 2:
            raise damaged(NAME, f"no marker where one must be, at byte {position}")
        position += 2 + length
    while data[position : position + 2] != _EOC or position + 2 > stop:
        if position + 12 > stop:
            raise truncated(NAME, "it ends before its end mark (EOC)")
        if data[position : position + 2] != _SOT:
            raise damaged(NAME, f"no tile-part where one must be, at byte {position}")
        (length,) = struct.unpack(">I", data[position + 6 : position + 10])
        if length == 0:  # up to the end mark
            if data[stop - 2 : stop] != _EOC:
                raise truncated(NAME, "its last tile-part has no end mark (EOC)")
            break
        if length < 14:
            raise damaged(NAME, f"the tile-part at byte {position} has an impossible length")
        if position + length > stop:
            raise truncated(NAME, f"it ends inside the tile-part at byte {position}")
        position += length
    return x1 - x0, y1 - y0, components, bits
