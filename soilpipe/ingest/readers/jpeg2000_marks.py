"""A JPEG 2000 codestream, marker by marker: its grid of tiles, where each tile's parts lie, and holes in them.

Every tile-part's length, every tile's presence and the end mark are checked. Packets of coded data have no checksum.
Their arithmetic-coded bytes never hold long runs of zeros; what does is packets without content, one zero byte each.
Where a tile has such a run, its packets are followed one by one (`jpeg2000_packets.py`) to see which it is.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field

from soilpipe.ingest.readers.base import damaged, truncated, unsupported
from soilpipe.ingest.readers.jpeg2000_packets import Coding, TooMuchWork, Work, find_hole
from soilpipe.ingest.readers.zeros import CODED, zero_run

NAME = "JPEG 2000"
STREAM_MAGIC = b"\xff\x4f\xff\x51"
_SOT, _SOD, _EOC, _COD, _COC, _TLM, _PLM, _PPM = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53, 0xFF55, 0xFF57, 0xFF60
_POC, _PPT = 0xFF5F, 0xFF61
_HIGH_THROUGHPUT, _ENDED_PACKETS, _MARKED_PACKETS, _OWN_PRECINCTS = 0x40, 4, 2, 1
_BLOCKS_FOR_FREE = 500_000

Codings = dict[int | None, Coding]
"""By component; None: of those that have none of their own."""


@dataclass(frozen=True)
class Grid:
    """SIZ: the image is [x0, x1) x [y0, y1), its tiles are ``tile_w`` x ``tile_h`` from (``grid_x``, ``grid_y``)."""

    x1: int
    y1: int
    x0: int
    y0: int
    tile_w: int
    tile_h: int
    grid_x: int
    grid_y: int
    components: int
    bits: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def across(self) -> int:
        return -(-(self.x1 - self.grid_x) // self.tile_w)

    @property
    def down(self) -> int:
        return -(-(self.y1 - self.grid_y) // self.tile_h)

    def one(self, column: int, row: int) -> Grid:
        """The grid that is this one tile, at the same place."""
        left, top = self.grid_x + column * self.tile_w, self.grid_y + row * self.tile_h
        return Grid(
            min(left + self.tile_w, self.x1),
            min(top + self.tile_h, self.y1),
            max(left, self.x0),
            max(top, self.y0),
            self.tile_w,
            self.tile_h,
            left,
            top,
            self.components,
            self.bits,
        )


@dataclass
class Codestream:
    """``header``: the bytes from SOC to the first tile-part, without those that list tile-parts.

    ``parts``: for each tile the (start, end) of its tile-parts, SOT included, in their order.
    ``packets``: the same without the headers. ``codings``: of each tile. ``marks``: other marks in headers, by tile;
    those of the main header under None.
    """

    grid: Grid
    header: bytes
    parts: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    cuttable: bool = True
    packets: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    codings: dict[int, Codings] = field(default_factory=dict)
    marks: dict[int | None, set[int]] = field(default_factory=dict)


def read_grid(data: mmap.mmap, start: int, stop: int) -> Grid:
    """What SIZ says. Raises Refused for what cannot be, or is not read."""
    if data[start : start + 4] != STREAM_MAGIC:
        raise damaged(NAME, "its codestream does not begin with SOC and SIZ")
    if start + 42 > stop:
        raise truncated(NAME, "it ends inside its codestream header (SIZ)")
    (length,) = struct.unpack(">H", data[start + 4 : start + 6])
    x1, y1, x0, y0, tile_w, tile_h, grid_x, grid_y, count = struct.unpack(">8IH", data[start + 8 : start + 42])
    if length != 38 + 3 * count:
        raise damaged(NAME, f"its codestream header (SIZ) of {length} bytes cannot hold {count} components")
    if start + 4 + length > stop:
        raise truncated(NAME, "it ends inside its codestream header (SIZ)")
    components = [tuple(data[start + 42 + 3 * i : start + 45 + 3 * i]) for i in range(count)]
    if not 1 <= count <= 4 or len(set(components)) != 1 or components[0][1:] != (1, 1) or components[0][0] >= 128:
        raise unsupported(NAME, f"{count} components of different or signed kinds, or more than four")
    grid = Grid(x1, y1, x0, y0, tile_w, tile_h, grid_x, grid_y, count, components[0][0] + 1)
    fits = tile_w > 0 and tile_h > 0 and grid_x <= x0 < grid_x + tile_w and grid_y <= y0 < grid_y + tile_h
    if not fits or grid.width < 1 or grid.height < 1 or grid.across * grid.down > 65535:
        raise damaged(NAME, f"its header (SIZ) says {grid.width} x {grid.height} pixels in tiles that do not fit")
    if not 8 <= grid.bits <= 16:
        raise unsupported(NAME, f"samples of {grid.bits} bits")
    return grid


def walk(data: mmap.mmap, start: int, stop: int) -> Codestream:
    """The codestream in [start, stop). Raises Refused."""
    stream = Codestream(read_grid(data, start, stop), b"")
    kept = [data[start : start + 2]]
    codings: Codings = {}
    marks = stream.marks.setdefault(None, set())
    position = start + 2
    while (mark := _mark(data, position, stop)) != _SOT:
        end = _segment_end(data, position, stop)
        if mark in (_COD, _COC):
            _take_coding(data[position:end], codings)
        marks.add(mark)
        if mark in (_PLM, _PPM):  # they speak of all tiles at once
            stream.cuttable = False
        if mark != _TLM:
            kept.append(data[position:end])
        position = end
    if None not in codings:
        raise damaged(NAME, "its codestream header has no coding style (COD)")
    stream.header = b"".join(kept)
    _walk_parts(data, position, stop, stream, codings)
    for tile in range(stream.grid.across * stream.grid.down):
        if tile not in stream.parts:
            raise truncated(NAME, f"tile {tile + 1} of {stream.grid.across * stream.grid.down} is missing")
    work = Work(_BLOCKS_FOR_FREE + stop - start)
    for tile, parts in stream.packets.items():
        if any(zero_run(data, *part) is not None for part in parts):
            _check_packets(data, stream, tile, work)
    return stream


def _walk_parts(data: mmap.mmap, position: int, stop: int, stream: Codestream, codings: Codings) -> None:
    tiles = stream.grid.across * stream.grid.down
    announced: dict[int, int] = {}
    while (mark := _mark(data, position, stop)) != _EOC:
        if mark != _SOT or position + 12 > stop:
            raise damaged(NAME, f"no tile-part where one must be, at byte {position}")
        tile, length, number, count = struct.unpack(">HIBB", data[position + 4 : position + 12])
        if tile >= tiles:
            raise damaged(NAME, f"the tile-part at byte {position} is of tile {tile + 1}, and there are {tiles}")
        end = position + length if length else stop - 2  # without a length it goes up to the end mark
        if end > stop:
            raise truncated(NAME, f"it ends inside the tile-part at byte {position}")
        if end - position < 14:
            raise damaged(NAME, f"the tile-part at byte {position} has an impossible length")
        parts = stream.parts.setdefault(tile, [])
        if number != len(parts):
            raise damaged(NAME, f"tile {tile + 1} has its part {number + 1} after {len(parts)} others")
        parts.append((position, end))
        announced[tile] = max(announced.get(tile, 0), count)
        own = stream.codings.setdefault(tile, dict(codings))
        packets = _packets_start(data, position, end, own, stream.marks.setdefault(tile, set()))
        stream.packets.setdefault(tile, []).append((packets, end))
        position = end
    for tile, count in announced.items():
        if count and len(stream.parts[tile]) != count:
            raise truncated(NAME, f"tile {tile + 1} has {len(stream.parts[tile])} of its {count} parts")


def _packets_start(data: mmap.mmap, start: int, end: int, codings: Codings, marks: set[int]) -> int:
    """Where the packets of a tile-part begin; what its header says goes into ``codings`` and ``marks``."""
    position = start + 12
    while (mark := _mark(data, position, end)) != _SOD:
        after = _segment_end(data, position, end)
        if mark in (_COD, _COC):
            _take_coding(data[position:after], codings)
        marks.add(mark)
        position = after
    return position + 2


def _check_packets(data: mmap.mmap, stream: Codestream, tile: int, work: Work) -> None:
    """Refuse a tile with a run of zeros that is not packets without content."""
    grid, own, parts = stream.grid, stream.codings[tile], stream.packets[tile]
    marks = stream.marks[None] | stream.marks[tile]
    one = grid.one(tile % grid.across, tile // grid.across)
    codings = [own.get(component, own[None]) for component in range(grid.components)]
    # Packets whose headers lie elsewhere have no byte here when they are empty.
    most = 0 if marks & {_PPM, _PPT} else sum(coding.packets(one.width, one.height) for coding in codings)
    if most and _POC not in marks:
        try:
            hole = find_hole(data, parts, (one.x0, one.y0, one.x1, one.y1), codings, work)
        except TooMuchWork:
            hole = _long_run(data, parts, most)
    else:
        hole = _long_run(data, parts, most)
    if hole is not None:
        raise damaged(NAME, f"its packets have a hole of zeros, or do not follow on one another, at byte {hole}")


def _long_run(data: mmap.mmap, parts: list[tuple[int, int]], most: int) -> int | None:
    """Where more zeros begin than ``most`` packets could be, each of them a single one."""
    longer = (part for part in parts if part[1] - part[0] >= CODED + most)
    return next((hole for part in longer if (hole := zero_run(data, *part, CODED + most)) is not None), None)


def _take_coding(segment: bytes, codings: Codings) -> None:
    """COD, for all components, or COC, for one of them."""
    try:
        if segment[1] == _COD & 255:
            component, flags, levels_at = None, segment[4], 9
            order, layers = struct.unpack_from(">BH", segment, 5)
        else:
            if None not in codings:
                raise damaged(NAME, "a coding style for one component (COC) comes before that for all (COD)")
            before = codings[None]
            component, levels_at = segment[4], 6  # one byte, for there are at most four components
            flags = segment[5] & _OWN_PRECINCTS | _MARKED_PACKETS * before.marked | _ENDED_PACKETS * before.ended
            order, layers = before.order, before.layers
        levels, wide, high, style = segment[levels_at : levels_at + 4]
        if levels > 32 or not layers or order > 4 or wide > 8 or high > 8 or wide + high > 8:
            raise damaged(
                NAME, f"its coding style says {levels} levels, {layers} layers, order {order}, blocks of {wide}, {high}"
            )
        if style & _HIGH_THROUGHPUT:
            raise unsupported(NAME, "high-throughput coding (HTJ2K)")
        precincts = ((15, 15),) * (levels + 1)
        if flags & _OWN_PRECINCTS:
            sizes = [segment[levels_at + 5 + level] for level in range(levels + 1)]
            precincts = tuple((size & 15, size >> 4) for size in sizes)
    except (IndexError, ValueError, struct.error) as error:
        raise damaged(NAME, "its coding style (COD) is too short") from error
    if component is None:
        codings.clear()  # a tile's own for all goes before the image's for one
    marked, ended = bool(flags & _MARKED_PACKETS), bool(flags & _ENDED_PACKETS)
    codings[component] = Coding(order, layers, marked, ended, (wide + 2, high + 2), style, precincts)


def _mark(data: mmap.mmap, position: int, stop: int) -> int:
    if position + 2 > stop:
        raise truncated(NAME, "it ends before its end mark (EOC)")
    (mark,) = struct.unpack(">H", data[position : position + 2])
    if mark < 0xFF00:
        raise damaged(NAME, f"no marker where one must be, at byte {position}")
    return int(mark)


def _segment_end(data: mmap.mmap, position: int, stop: int) -> int:
    if position + 4 > stop:
        raise truncated(NAME, "it ends inside its codestream header")
    (length,) = struct.unpack(">H", data[position + 2 : position + 4])
    if length < 2:
        raise damaged(NAME, f"the segment at byte {position} has an impossible length")
    if position + 2 + length > stop:
        raise truncated(NAME, "it ends inside its codestream header")
    return position + 2 + int(length)
