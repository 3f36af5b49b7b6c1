"""The marks of a JPEG stream, walked from SOI to EOI: what it says of itself, and whether all of it is there.

Decoders fill in what they miss with grey and say nothing, or a warning. Three things are looked at here, before any
pixel: that every segment and scan lies inside the stream, up to the end mark; that the scans together hold every
coefficient of every component; and that no scan has a hole of zeros. A fourth, that the decoder needs all of the
coded data and no more, is looked at while decoding (`sequential.py`).
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass, field

from soilpipe.ingest.readers.base import damaged, plausible_dpi, truncated, unsupported
from soilpipe.ingest.readers.exif import Exif, read_exif
from soilpipe.ingest.readers.zeros import windows, zero_run

NAME = "JPEG"
BYTES_PER_PIXEL_WHOLE = 8
"""Memory of taking in what libjpeg can only decode whole: 6 for its coefficients and 1 for working on them, and what
the bands under way need. 557 MPix took 4.44 GB (`benchmarks/ingest.py --dpi 2400 --formats "jpeg progressive"`)."""

# In entropy-coded data 0xFF is followed by a stuffed 0, a restart mark or a fill byte; anything else is a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_KINDS_READ = {0xC0, 0xC1, 0xC2}
_SOI, _EOI, _SOS, _DHT = 0xD8, 0xD9, 0xDA, 0xC4
_END_OF_BLOCK, _ZERO_RUN_LENGTH = 0x00, 0xF0


@dataclass
class JpegHeader:
    """What the marks say. ``whole``: the decoder must hold the whole image; ``why`` it must.

    ``coded_end``: where the entropy-coded data of the last scan end, in bytes from the start of the stream.
    """

    width: int = 0
    height: int = 0
    progressive: bool = False
    scans: int = 0
    dpi: float | None = None
    exif: Exif = field(default_factory=Exif)
    coded_end: int = 0
    icc: bytes | None = None
    # component id -> for each of its 64 coefficients the number of low bits still missing, -1: not begun
    missing: dict[int, list[int]] = field(default_factory=dict)
    # (0 for DC, 1 for AC; number) -> the symbol whose code is all zeros
    zero_symbols: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def components(self) -> int:
        return len(self.missing)

    @property
    def whole(self) -> bool:
        return self.progressive or self.scans > 1

    @property
    def why(self) -> str:
        return "it is progressive" if self.progressive else "its colours come one after the other"


@dataclass(frozen=True)
class _Scan:
    """``parts``: (component id, number of its DC table, of its AC table) of each component in the scan."""

    parts: tuple[tuple[int, int, int], ...]
    first: int
    last: int
    high: int
    low: int


def walk(data: bytes | mmap.mmap) -> JpegHeader:
    """``data`` begins with SOI; what follows EOI is not looked at. Raises Refused."""
    header = JpegHeader()
    profile: dict[int, bytes] = {}
    position = 2
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
        if length < 2:
            raise damaged(NAME, f"the segment 0x{marker:02X} at byte {position - 2} has an impossible length")
        if position + length > len(data):
            raise truncated(NAME, f"it ends inside the segment 0x{marker:02X}")
        body = data[position + 2 : position + length]
        position += length
        try:
            _segment(header, marker, body, profile)
            if marker == _SOS:
                position = _pass_scan(data, position, header, body)
        except (struct.error, IndexError) as error:
            raise damaged(NAME, f"its segment 0x{marker:02X} is too short") from error
    if not header.components or not header.scans:
        raise truncated(NAME, "it has an end mark but no image before it")
    for number, coefficients in enumerate(header.missing.values(), 1):
        if any(coefficients):
            raise truncated(NAME, f"it ends before all scans of component {number} have come")
    if profile and sorted(profile) == list(range(1, len(profile) + 1)):
        header.icc = b"".join(profile[number] for number in sorted(profile))
    return header


def _segment(header: JpegHeader, marker: int, body: bytes, profile: dict[int, bytes]) -> None:
    if marker in _FRAMES:
        if header.components:
            raise unsupported(NAME, "several frames (hierarchical coding)")
        bits, height, width, components = struct.unpack(">BHHB", body[:6])
        if marker not in _KINDS_READ:
            kind = "arithmetic" if marker >= 0xC9 else "lossless or hierarchical"
            raise unsupported(NAME, f"{kind} coding (SOF{marker - 0xC0})")
        if bits != 8:
            raise unsupported(NAME, f"samples of {bits} bits")
        header.width, header.height, header.progressive = width, height, marker == 0xC2
        header.missing = {body[6 + 3 * index]: [-1] * 64 for index in range(components)}
        if len(header.missing) != components:
            raise damaged(NAME, "its frame header names a component twice")
    elif marker == _DHT:
        _take_tables(header.zero_symbols, body)
    elif marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12:
        unit, x, y = struct.unpack(">BHH", body[7:12])
        factor = {1: 1.0, 2: 2.54}.get(unit, 0.0)
        header.dpi = plausible_dpi(x * factor, y * factor)
    elif marker == 0xE1 and body[:6] == b"Exif\0\0":
        header.exif = read_exif(body[6:])
    elif marker == 0xE2 and body[:12] == b"ICC_PROFILE\0" and len(body) > 14:
        profile[body[12]] = body[14:]


def _take_tables(zero_symbols: dict[tuple[int, int], int], body: bytes) -> None:
    """Codes are canonical: the first symbol listed is the one whose code is all zeros."""
    at = 0
    while at < len(body):
        kind, number = divmod(body[at], 16)
        symbols = sum(body[at + 1 : at + 17])
        if kind > 1 or not symbols or at + 17 + symbols > len(body):
            raise damaged(NAME, "a Huffman table (DHT) is impossible")
        zero_symbols[kind, number] = body[at + 17]
        at += 17 + symbols


def _pass_scan(data: bytes | mmap.mmap, start: int, header: JpegHeader, body: bytes) -> int:
    """Look at one scan; the position of the marker after it."""
    scan = _read_scan(header, body)
    header.scans += 1
    pieces = windows(data, start, len(data), overlap=1)
    found = next((mark for mark in (_MARKER.search(data, *piece) for piece in pieces) if mark), None)
    if found is None:
        raise truncated(NAME, "it ends inside its image data, without an end mark (EOI)")
    header.coded_end = found.start()
    if not _zeros_are_flat(scan, header):
        hole = zero_run(data, start, found.start())
        if hole is not None:
            raise damaged(NAME, f"its image data have a hole of zeros at byte {hole}")
    return found.start()


def _read_scan(header: JpegHeader, body: bytes) -> _Scan:
    count = body[0]
    parts = tuple((body[1 + 2 * i], body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15) for i in range(count))
    first, last, precision = struct.unpack_from("3B", body, 1 + 2 * count)
    scan = _Scan(parts, first, last, precision >> 4, precision & 15)
    if not header.progressive:  # some writers leave these blank, and decoders do not look at them
        scan = _Scan(parts, 0, 63, 0, 0)
    if not parts or scan.first > scan.last or scan.last > 63:
        raise damaged(NAME, "a scan header (SOS) is impossible")
    for component, _, _ in parts:
        coefficients = header.missing.get(component)
        if coefficients is None:
            raise damaged(NAME, "a scan header (SOS) names a component that the frame header does not")
        for index in range(scan.first, scan.last + 1):
            if coefficients[index] != (scan.high if scan.high else -1):
                raise damaged(NAME, "its scans do not follow on one another")
            coefficients[index] = scan.low
    return scan


def _zeros_are_flat(scan: _Scan, header: JpegHeader) -> bool:
    """Whether a long run of zero bits is what a flat picture gives under the scan's own Huffman tables.

    It is where the code of zeros means "DC as before" and "end of block" for every component, or, in a scan of single
    bits, where it stands for bits that are zero.
    """
    if scan.first == 0 and scan.high:
        return True
    flat = True
    for _, dc, ac in scan.parts:
        if scan.first == 0:
            flat &= header.zero_symbols.get((0, dc)) == 0
        if not header.progressive:
            flat &= header.zero_symbols.get((1, ac)) == _END_OF_BLOCK
        elif scan.first:
            symbol = header.zero_symbols.get((1, ac), 1)
            flat &= symbol & 15 == 0 and symbol != _ZERO_RUN_LENGTH  # the end of one or many blocks
    return flat
