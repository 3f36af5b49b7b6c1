"""The packets of one JPEG 2000 tile, header by header (ITU-T T.800, Annex B): a hole, or empty packets?

A packet without content may be a single zero byte, so that a large even area may be a long run of zeros. A hole of
some kilobytes in a packet's body is a run that its arithmetic coder never writes; over several packets it is taken for
far more empty ones than it swallowed, so that the packets do not end where the tile does. A few bytes that are wrong
may go unnoticed: small packets fall into step again.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from soilpipe.ingest.readers.zeros import CODED, zero_run

LRCP, RLCP, RPCL, PCRL, CPRL = range(5)
_BYPASS, _END_EACH_PASS = 0x01, 0x04
_MOST_LBLOCK = 64  # more cannot be: lengths of that many bits


class TooMuchWork(Exception):  # noqa: N818 - an outcome for the caller, never shown
    """There are more code-blocks to look at than a file of that size is worth."""


@dataclass(frozen=True)
class Coding:
    """COD or COC: what is needed to find the packets. ``precincts``, ``block``: exponents of width and height.

    ``precincts`` are of each resolution, coarsest first. ``marked``: with SOP; ``ended``: with EPH.
    """

    order: int
    layers: int
    marked: bool
    ended: bool
    block: tuple[int, int]
    style: int
    precincts: tuple[tuple[int, int], ...]

    def packets(self, width: int, height: int) -> int:
        """The most packets that one component of a tile may have."""
        count = 0
        for resolution, (wide, high) in enumerate(self.precincts):
            reduced = len(self.precincts) - 1 - resolution
            count += ((width >> reduced >> wide) + 2) * ((height >> reduced >> high) + 2)
        return count * self.layers


class Work:
    """How many code-blocks may still be looked at; a file that has none in its bytes may claim any number of them."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooMuchWork


def find_hole(
    data: mmap.mmap,
    parts: Sequence[tuple[int, int]],
    area: tuple[int, int, int, int],
    codings: Sequence[Coding],
    work: Work,
) -> int | None:
    """The byte of ``data`` at which a tile's packets turn out to have a hole, or to be out of step; None where all fit.

    ``parts``: where the packets of each tile-part lie, [start, end). ``area``: the tile, x0 y0 x1 y1, half-open.
    ``codings``: of each component. Raises TooMuchWork.
    """
    size = sum(end - start for start, end in parts)
    packets = _packets(area, codings, work, size)
    at = parts[0][0]
    for start, end in parts:
        at = start
        while at < end:
            packet = next(packets, None)
            if packet is None:
                return at  # more bytes than packets
            layer, precinct = packet
            try:
                body, length = precinct.read_header(data, at, end, layer)
            except IndexError:
                return at
            if body + length > end:
                return at
            if length >= CODED and (hole := zero_run(data, body, body + length)) is not None:
                return hole
            at = body + length
    return None if next(packets, None) is None else at


class _Bits:
    """The bits of a packet header: after a byte of ones follow seven bits. Raises IndexError at the end."""

    def __init__(self, data: mmap.mmap, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end
        self._left = self._byte = 0

    def bit(self) -> int:
        if not self._left:
            if self.at >= self._end:
                raise IndexError
            self._left = 7 if self._byte == 0xFF else 8
            self._byte = self._data[self.at]
            self.at += 1
        self._left -= 1
        return self._byte >> self._left & 1

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self.bit()
        return value

    def finish(self) -> int:
        """Where the next byte after the header is."""
        return self.at + (self._byte == 0xFF)


class _TagTree:
    """B.10.2, over ``wide`` x ``high`` leaves. Nodes are made when they are first asked for."""

    def __init__(self, wide: int, high: int) -> None:
        self._depth = max(wide - 1, high - 1).bit_length()
        self._low: dict[tuple[int, int, int], int] = {}
        self._known: set[tuple[int, int, int]] = set()

    def reaches(self, bits: _Bits, x: int, y: int, value: int) -> bool:
        """Read as far as it takes to know whether the leaf's value is less than ``value``."""
        low = 0
        for level in range(self._depth, -1, -1):
            node = level, x >> level, y >> level
            low = max(low, self._low.get(node, 0))
            while low < value and node not in self._known:
                if bits.bit():
                    self._known.add(node)
                else:
                    low += 1
            self._low[node] = low
        return low < value


@dataclass
class _Block:
    """A code-block once it was included: ``lblock`` of B.10.7.1, passes in its open segment, how many it may have."""

    lblock: int = 3
    passes: int = 0
    most: int = 0


class _Band:
    """The code-blocks of one subband in one precinct."""

    def __init__(self, wide: int, high: int, style: int) -> None:
        self.wide, self.high, self._style = wide, high, style
        self._included = _TagTree(wide, high)
        self._planes = _TagTree(wide, high)
        self._blocks: dict[tuple[int, int], _Block] = {}

    def read(self, bits: _Bits, layer: int) -> int:
        """The length in bytes of what a packet holds of it."""
        length = 0
        for y in range(self.high):
            for x in range(self.wide):
                block = self._blocks.get((x, y))
                if block is not None:
                    if bits.bit():
                        length += self._length(bits, block)
                elif self._included.reaches(bits, x, y, layer + 1):
                    block = self._blocks[x, y] = _Block(most=self._most(0))
                    planes = 1
                    while not self._planes.reaches(bits, x, y, planes):
                        planes += 1
                        if planes > 255:
                            raise IndexError
                    length += self._length(bits, block)
        return length

    def _length(self, bits: _Bits, block: _Block) -> int:
        left = _passes(bits)
        while bits.bit():
            block.lblock += 1
            if block.lblock > _MOST_LBLOCK:
                raise IndexError
        length = 0
        while left:
            if block.passes == block.most:
                block.passes, block.most = 0, self._most(block.most)
            some = min(left, block.most - block.passes)
            length += bits.number(block.lblock + some.bit_length() - 1)
            block.passes += some
            left -= some
        return length

    def _most(self, before: int) -> int:
        """Coding passes of the next codeword segment, after one of ``before``."""
        if self._style & _END_EACH_PASS:
            return 1
        if self._style & _BYPASS:
            return {0: 10, 10: 2, 1: 2}.get(before, 1)
        return 1 << 30


def _passes(bits: _Bits) -> int:
    """How many coding passes (table B.4)."""
    if not bits.bit():
        return 1
    if not bits.bit():
        return 2
    if (few := bits.number(2)) < 3:
        return 3 + few
    if (more := bits.number(5)) < 31:
        return 6 + more
    return 37 + bits.number(7)


@dataclass
class _Precinct:
    """``place``: x0 y0 x1 y1 at its resolution. ``area``: the tile's. ``bands``: made when they are needed."""

    coding: Coding
    place: tuple[int, int, int, int]
    resolution: int
    area: tuple[int, int, int, int]
    work: Work
    bands: list[_Band] = field(default_factory=list)

    def read_header(self, data: mmap.mmap, at: int, end: int, layer: int) -> tuple[int, int]:
        """Where the body of its packet of a layer begins, and how long it is."""
        if self.coding.marked and data[at : at + 2] == b"\xff\x91":
            at += 6
        bits = _Bits(data, at, end)
        length = 0
        if bits.bit():
            self.bands = self.bands or list(self._make_bands())
            self.work.spend(sum(band.wide * band.high for band in self.bands))
            length = sum(band.read(bits, layer) for band in self.bands)
        at = bits.finish()
        if self.coding.ended and data[at : at + 2] == b"\xff\x92":
            at += 2
        return at, length

    def _make_bands(self) -> Iterator[_Band]:
        reduced = len(self.coding.precincts) - 1 - self.resolution
        wide, high = self.coding.precincts[self.resolution]
        halved = int(self.resolution > 0)
        across, down = (min(size, limit - halved) for size, limit in zip(self.coding.block, (wide, high), strict=True))
        for right, lower in ((1, 0), (0, 1), (1, 1)) if halved else ((0, 0),):
            levels = reduced + halved
            shifts = [(1 << levels >> 1) * right, (1 << levels >> 1) * lower] * 2
            band = [-(-(edge - shift) // (1 << levels)) for edge, shift in zip(self.area, shifts, strict=True)]
            x0, y0 = (max(a >> halved, b) for a, b in zip(self.place[:2], band[:2], strict=True))
            x1, y1 = (min(a >> halved, b) for a, b in zip(self.place[2:], band[2:], strict=True))
            if x1 > x0 and y1 > y0 and across >= 0 and down >= 0:
                columns, rows = -(-x1 // (1 << across)) - (x0 >> across), -(-y1 // (1 << down)) - (y0 >> down)
                yield _Band(columns, rows, self.coding.style)


def _packets(
    area: tuple[int, int, int, int], codings: Sequence[Coding], work: Work, most: int
) -> Iterator[tuple[int, _Precinct]]:
    """(layer, precinct) of every packet of a tile in the order of the file. There cannot be more than ``most``."""
    first = codings[0]
    places: list[tuple[tuple[int, ...], _Precinct]] = []
    for component, coding in enumerate(codings):
        for resolution in range(len(coding.precincts)):
            for number, (y, x, place) in enumerate(_precincts(area, coding, resolution)):
                if len(places) * first.layers > most:
                    return
                key = {
                    LRCP: (resolution, component, number),
                    RLCP: (resolution, component, number),
                    RPCL: (resolution, y, x, component, number),
                    PCRL: (y, x, component, resolution, number),
                    CPRL: (component, y, x, resolution, number),
                }[first.order]
                places.append((key, _Precinct(coding, place, resolution, area, work)))
    places.sort(key=lambda item: item[0])
    precincts = [precinct for _, precinct in places]
    if first.order == LRCP:
        yield from ((layer, precinct) for layer in range(first.layers) for precinct in precincts)
    elif first.order == RLCP:
        for resolution in range(max(precinct.resolution for precinct in precincts) + 1):
            same = [precinct for precinct in precincts if precinct.resolution == resolution]
            yield from ((layer, precinct) for layer in range(first.layers) for precinct in same)
    else:
        yield from ((layer, precinct) for precinct in precincts for layer in range(first.layers))


def _precincts(
    area: tuple[int, int, int, int], coding: Coding, resolution: int
) -> Iterator[tuple[int, int, tuple[int, int, int, int]]]:
    """(y, x) at which the order by position meets it, and its place, of each precinct, by rows (B.6, B.12.1.3)."""
    reduced = len(coding.precincts) - 1 - resolution
    wide, high = coding.precincts[resolution]
    x0, y0, x1, y1 = (-(-edge // (1 << reduced)) for edge in area)
    if x1 <= x0 or y1 <= y0:
        return
    for row in range(y0 >> high, -(-y1 // (1 << high))):
        for column in range(x0 >> wide, -(-x1 // (1 << wide))):
            top, left = row << high, column << wide
            place = left, top, left + (1 << wide), top + (1 << high)
            yield max(area[1], top << reduced), max(area[0], left << reduced), place
