"""A large strip of a TIFF, unpacked as a stream: a few rows are held at a time, however many the strip has.

Deflate through zlib (which looks at the checksum at its end) and zstd through Arrow. LZW has no decoder by pieces here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from soilpipe.ingest.readers.base import damaged, truncated
from soilpipe.ingest.readers.tiff_codecs import DEFLATE, NAME, OLD_DEFLATE, ZSTD, Layout, as_samples

STREAMED = (DEFLATE, OLD_DEFLATE, ZSTD)
STREAMED_FROM = 1 << 26
"""Bytes of a strip unpacked. Smaller ones are unpacked at once, in a third of the time."""
_BYTES_AT_ONCE = 1 << 21
_CODED_AT_ONCE = 1 << 20


def rows_of_stream(
    file: BinaryIO, start: int, stop: int, layout: Layout, rows: int, where: str
) -> Iterator[np.ndarray]:
    """(r, width, samples) in native byte order, ``rows`` of them together, from [start, stop) of the file.

    ``where`` names the strip. Raises Refused when it doesn't hold exactly those rows, or all of the layout's.
    """
    unpacked = _zstd if layout.compression == ZSTD else _deflate
    wanted, full = rows * layout.row_bytes, layout.rows * layout.row_bytes
    piece = max(1, _BYTES_AT_ONCE // layout.row_bytes) * layout.row_bytes
    held, seen = bytearray(), 0
    for data in unpacked(_coded(file, start, stop), where):
        held += data[: max(0, wanted - seen)]
        seen += len(data)
        if seen > full:
            raise damaged(NAME, f"{where} holds more than {full} bytes, not {wanted}")
        while len(held) >= piece:
            yield as_samples(held[:piece], layout)
            del held[:piece]
    if seen not in (wanted, full):
        raise (truncated if seen < wanted else damaged)(NAME, f"{where} holds {seen} bytes, not {wanted}")
    if held:
        yield as_samples(held, layout)


def _coded(file: BinaryIO, start: int, stop: int) -> Callable[[], bytes]:
    """What gives the next coded bytes, none at the end. Others may read from the file meanwhile."""
    at = start

    def next_bytes() -> bytes:
        nonlocal at
        file.seek(at)
        data = file.read(min(_CODED_AT_ONCE, stop - at))
        at += len(data)
        return data

    return next_bytes


def _deflate(coded: Callable[[], bytes], where: str) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    try:
        while not unpacker.eof and (piece := coded()):
            more = True
            while more and not unpacker.eof:
                data = unpacker.decompress(piece, _BYTES_AT_ONCE)
                piece = unpacker.unconsumed_tail
                more = bool(piece) or len(data) == _BYTES_AT_ONCE  # then it may hold back some
                yield data
    except zlib.error as error:
        raise damaged(NAME, f"{where} cannot be decoded ({error})") from error
    if not unpacker.eof:
        raise truncated(NAME, f"{where} ends before its deflate stream does")


class _Coded:
    """The coded bytes as the file that Arrow reads from; ``failure``: the disk's, which Arrow tells like its own."""

    closed = False

    def __init__(self, coded: Callable[[], bytes]) -> None:
        self._coded, self._held = coded, b""
        self.failure: OSError | None = None

    def read(self, size: int) -> bytes:
        try:
            self._held = self._held or self._coded()
        except OSError as error:
            self.failure = error
            raise
        data, self._held = self._held[:size], self._held[size:]
        return data

    def close(self) -> None:
        """Nothing to be done: the file is the reader's."""


def _zstd(coded: Callable[[], bytes], where: str) -> Iterator[bytes]:
    import pyarrow

    source = _Coded(coded)
    try:
        with pyarrow.CompressedInputStream(pyarrow.PythonFile(source, "r"), "zstd") as stream:
            while data := stream.read(_BYTES_AT_ONCE):
                yield data
    except (OSError, pyarrow.ArrowException) as error:
        if source.failure:
            raise source.failure from None
        raise damaged(NAME, f"{where} cannot be decoded ({str(error)[:160]})") from error
