"""PNG. End check: every chunk's length and checksum, up to IEND, which libvips does not miss when it is gone."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imagecodecs import deflate_crc32

from soilpipe.ingest.readers.base import Limits, damaged, plausible_dpi, truncated
from soilpipe.ingest.readers.exif import Exif, read_exif
from soilpipe.ingest.readers.sequential import Facts, SequentialReader

NAME = "PNG"
MAGIC = b"\x89PNG\r\n\x1a\n"
SUFFIXES = frozenset({".png"})
_MAX_PROFILE = 1 << 24
_BUFFER = 1 << 20
_LOOKED_AT = (b"IHDR", b"pHYs", b"eXIf", b"iCCP")
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass
class _Header:
    width: int = 0
    height: int = 0
    depth: int = 0
    colour: int = 0
    interlaced: bool = False
    dpi: float | None = None
    exif: Exif = Exif()  # noqa: RUF009 - frozen
    icc: bytes | None = None
    data_bytes: int = 0


def open_png(path: Path, limits: Limits) -> SequentialReader:
    """Raises Refused."""
    with path.open("rb", buffering=_BUFFER) as file:
        header = _walk(file, path.stat().st_size)
    limits.check_pixels(NAME, header.width, header.height)
    if header.interlaced:
        sample_bytes = 8 if header.depth == 16 else 4
        limits.check_memory(NAME, 2 * header.width * header.height * sample_bytes, "it is interlaced")
    facts = Facts(header.dpi or header.exif.dpi, header.exif.captured, header.exif.orientation, header.icc)
    return SequentialReader(path, NAME, (header.width, header.height), facts)


def _walk(file: BinaryIO, size: int) -> _Header:
    header: _Header | None = None
    position = file.seek(len(MAGIC))
    while True:
        if position + 8 > size:
            raise truncated(NAME, "it ends before its last chunk (IEND)")
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head)
        end = position + 12 + length
        name = kind.decode("ascii", "replace")
        if not (kind.isalpha() and kind.isascii()):
            raise damaged(NAME, f"no chunk where one must be, at byte {position}")
        if end > size:
            raise truncated(NAME, f"it ends inside its {name} chunk at byte {position}")
        # Only what is looked at below is held whole.
        kept = kind in _LOOKED_AT and length < _MAX_PROFILE
        body, crc = _read(file, length, deflate_crc32(kind), kept)
        (checksum,) = struct.unpack(">I", file.read(4))
        if crc != checksum:
            raise damaged(NAME, f"the checksum of its {name} chunk at byte {position} is wrong")
        if header is None:
            if kind != b"IHDR":
                raise damaged(NAME, "its first chunk is not IHDR")
            header = _image_header(body)
        elif kind == b"pHYs" and length == 9:
            x, y, unit = struct.unpack(">IIB", body)
            header.dpi = plausible_dpi(x * 0.0254, y * 0.0254) if unit == 1 else None
        elif kind == b"eXIf" and kept:
            header.exif = read_exif(body)
        elif kind == b"iCCP" and kept:
            header.icc = _profile(body)
        elif kind == b"IDAT":
            header.data_bytes += length
        elif kind == b"IEND":
            break
        position = end
    if not header.data_bytes:
        raise truncated(NAME, "it has no image data (IDAT)")
    return header


def _read(file: BinaryIO, length: int, crc: int, kept: bool) -> tuple[bytes, int]:
    """The content of a chunk (nothing unless it is to be kept) and its checksum, which goes on from ``crc``."""
    pieces: list[bytes] = []
    while length > 0:
        piece = file.read(min(length, _BUFFER))
        if not piece:
            raise truncated(NAME, "it became shorter while it was read")
        crc = deflate_crc32(piece, crc)  # four times as fast as zlib's
        length -= len(piece)
        if kept:
            pieces.append(piece)
    return b"".join(pieces), crc


def _image_header(body: bytes) -> _Header:
    if len(body) != 13:
        raise damaged(NAME, "its IHDR chunk has the wrong length")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
    if colour not in _SAMPLES or depth not in (1, 2, 4, 8, 16) or interlace > 1:
        raise damaged(NAME, f"its IHDR chunk says colour type {colour}, {depth} bits, interlace {interlace}")
    return _Header(width, height, depth, colour, interlace == 1)


def _profile(body: bytes) -> bytes | None:
    """The colour profile: a name, a zero, the method, and the profile deflated."""
    packed = body.partition(b"\0")[2][1:]
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed, _MAX_PROFILE)
    except zlib.error:
        return None
    return profile if unpacker.eof else None
