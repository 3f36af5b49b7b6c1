"""One strip or tile of a TIFF, unpacked to exactly the samples it must hold, or refused.

A length that does not fit, a checksum, a decoder's complaint and a hole of zeros all tell of damage. LZW, PackBits
and zstd as TIFF writers use them have no checksum: single bytes changed in them go unnoticed, holes do not.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import imagecodecs
import numpy as np

from soilpipe.ingest.readers.base import Limits, Refused, damaged, truncated
from soilpipe.ingest.readers.jpeg_marks import BYTES_PER_PIXEL_WHOLE, walk
from soilpipe.ingest.readers.sequential import Facts, SequentialReader
from soilpipe.ingest.readers.zeros import CODED, zero_run

NAME = "TIFF"
NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE, ZSTD = 1, 5, 7, 8, 32773, 32946, 50000
NAMES = {
    NONE: "none",
    LZW: "LZW",
    JPEG: "JPEG",
    DEFLATE: "deflate",
    PACKBITS: "PackBits",
    OLD_DEFLATE: "deflate",
    ZSTD: "zstd",
}
_DECODERS = {
    LZW: imagecodecs.lzw_decode,
    DEFLATE: imagecodecs.deflate_decode,
    OLD_DEFLATE: imagecodecs.deflate_decode,
    PACKBITS: imagecodecs.packbits_decode,
    ZSTD: imagecodecs.zstd_decode,
}

# Bytes of zeros that no encoder writes. Deflate has a checksum. zstd leaves a block as it is when packing saves less
# than a 64th of its at most 128 KiB. A row of one or two bytes of black is zeros in PackBits, but never longer.
_ZEROS = {LZW: CODED, PACKBITS: 260, ZSTD: 4096}
# LZW ends in a code of at least 9 bits that is not zero. zstd steps over up to 512 bytes where nothing was like before.
_MOST_ZEROS_AT_THE_END = {LZW: 1, PACKBITS: 7, ZSTD: 1023}


@dataclass(frozen=True)
class Layout:
    """How the samples of every strip or tile lie: ``rows`` x ``width`` pixels of ``samples`` of ``dtype``.

    ``dtype`` has the file's byte order. ``predictor``: 1 none, 2 horizontal differences.
    """

    rows: int
    width: int
    samples: int
    dtype: np.dtype
    predictor: int
    compression: int

    @property
    def row_bytes(self) -> int:
        return self.width * self.samples * self.dtype.itemsize


def unpack(data: bytes | bytearray, layout: Layout, rows: int, where: str) -> np.ndarray:
    """(rows, width, samples) in native byte order; ``rows`` of the layout's are wanted. Raises Refused.

    ``where`` names the strip or tile. One that holds the layout's rows although fewer are wanted is cut.
    """
    wanted, full = rows * layout.row_bytes, layout.rows * layout.row_bytes
    if layout.compression != NONE:
        check_zeros(data, 0, len(data), layout, where)
        try:
            # One byte more than there may be, so that too much is seen, and a bomb is not unpacked.
            data = _DECODERS[layout.compression](data, out=full + 1)
        except MemoryError:
            raise
        except Exception as error:  # each codec of imagecodecs has an error class of its own
            raise damaged(NAME, f"{where} cannot be decoded ({_told(error)})") from error
    if len(data) not in (wanted, full):
        kind = truncated if len(data) < wanted else damaged
        raise kind(NAME, f"{where} holds {len(data) if len(data) <= full else 'more'} bytes, not {wanted}")
    return as_samples(memoryview(data)[:wanted], layout)


def as_samples(data: bytes | bytearray | memoryview, layout: Layout) -> np.ndarray:
    """Unpacked rows → (r, width, samples) in native byte order, the predictor undone."""
    samples = np.frombuffer(data, layout.dtype).reshape(-1, layout.width, layout.samples)
    samples = samples.astype(layout.dtype.newbyteorder("="), copy=False)
    return imagecodecs.delta_decode(samples, axis=-2) if layout.predictor == 2 else samples


@dataclass(frozen=True)
class JpegTags:
    """What a TIFF tells of all its JPEG strips or tiles: their tables, if kept apart, and whether they are YCbCr."""

    tables: bytes | None
    ycbcr: bool


def rows_of_jpeg(
    data: bytes, tags: JpegTags, layout: Layout, rows: int, where: str, limits: Limits
) -> Iterator[np.ndarray]:
    """Like unpack, for a strip or tile that is a JPEG stream: (r, width, samples), a few rows at a time."""
    with _told_of(where):
        coded = memoryview(data)
        stream = b"".join(
            [b"\xff\xd8", _adobe(tags.ycbcr), *_segments(memoryview(tags.tables or b"")), *_segments(coded)]
        )
        del data, coded
        header = walk(stream)
        if header.components != layout.samples or header.width != layout.width:
            raise damaged("JPEG", f"it is {header.width} px wide, of {header.components} samples")
        if not rows <= header.height <= layout.rows:
            raise damaged("JPEG", f"it has {header.height} rows, not {rows}")
    if header.whole:
        need = header.width * header.height * BYTES_PER_PIXEL_WHOLE
        limits.check_memory(NAME, need, f"{where} is a JPEG, and {header.why}")
    size = header.width, header.height
    left = rows
    with _told_of(where), SequentialReader(io.BytesIO(stream), "JPEG", size, Facts(), header.coded_end) as reader:
        for samples in reader.samples(reader.few_rows):
            if samples.shape[2] != layout.samples:
                raise damaged("JPEG", f"it has {samples.shape[2]} samples a pixel")
            if left > 0:
                yield samples[:left]
            left -= len(samples)


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """A refusal of the JPEG inside is one of the TIFF, at that strip or tile."""
    try:
        yield
    except struct.error as error:
        raise truncated(NAME, f"{where} is a JPEG that ends inside its header") from error
    except Refused as refusal:
        raise Refused(refusal.code, f"The {NAME} file is bad in {where}: {refusal.reason}", refusal.remedy) from None


def check_zeros(data: bytes | bytearray | mmap.mmap, start: int, stop: int, layout: Layout, where: str) -> None:
    """Refuse a strip or tile, [start, stop) of ``data``, with zeros that its encoder does not write."""
    length = _ZEROS.get(layout.compression)
    if length is None or (layout.compression == PACKBITS and layout.row_bytes < 3):
        return
    hole = zero_run(data, start, stop, min(length, max(stop - start, 1)))
    if hole is not None:
        raise damaged(NAME, f"{where} has a hole of zeros at its byte {hole - start}")
    last = data[max(start, stop - length) : stop]
    tail = len(last) - len(last.rstrip(b"\0"))
    if tail > _MOST_ZEROS_AT_THE_END.get(layout.compression, tail):
        raise truncated(NAME, f"{where} ends in {tail} zeros, without its end")


def _adobe(ycbcr: bool) -> bytes:
    """The mark by which decoders know whether three components are YCbCr: in TIFF a tag says so."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([ycbcr])


def _segments(stream: memoryview) -> Iterator[memoryview]:
    """A stream without its SOI, without EOI if it is tables only, and without marks about colour or applications."""
    if stream and stream[:2] != b"\xff\xd8":
        raise damaged("JPEG", "it does not begin with SOI")
    at = 2
    while at + 2 <= len(stream) and stream[at : at + 2] != b"\xff\xd9":
        marker = stream[at + 1]
        if marker == 0xDA:
            yield stream[at:]
            return
        (length,) = struct.unpack_from(">H", stream, at + 2)
        if not 0xE0 <= marker <= 0xEF:
            yield stream[at : at + 2 + length]
        at += 2 + max(length, 2)


def _told(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
