"""A JPEG 2000 codestream, marker by marker: its grid of tiles, where each tile's parts lie, and holes in them.

Every tile-part's length, every tile's presence and the end mark are checked. Packets of coded data have no checksum.
Their arithmetic-coded bytes never hold long runs of zeros; what does is packets without content, one zero byte each,
and a file cannot have more of those than packets.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field

from soilpipe.ingest.readers.base import damaged, truncated, unsupported
from soilpipe.ingest.readers.zeros import CODED, zero_run

NAME = "JPEG 2000"
STREAM_MAGIC = b"\xff\x4f\xff\x51"
_SOT, _SOD, _EOC, _COD, _COC, _TLM, _PLM, _PPM = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53, 0xFF55, 0xFF57, 0xFF60
_HIGH_THROUGHPUT, _MARKED_PACKETS, _OWN_PRECINCTS = 0x40, 2, 1


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


@dataclass(frozen=True)
class _Style:
    """COD or COC: ``precincts`` has the exponents (width, height) of each resolution, coarsest first."""

    layers: int
    marked: bool
    precincts: tuple[tuple[int, int], ...]

    def packets(self, width: int, height: int) -> int:
        """The most packets that one component of a tile may have."""
        count = 0
        for resolution, (wide, high) in enumerate(self.precincts):
            reduced = len(self.precincts) - 1 - resolution
            count += ((width >> reduced >> wide) + 2) * ((height >> reduced >> high) + 2)
        return count * self.layers


@dataclass
class Codestream:
    """``header``: the bytes from SOC to the first tile-part, without those that list tile-parts.

    ``parts``: for each tile the (start, end) of its tile-parts, SOT included, in their order.
    """

    grid: Grid
    header: bytes
    parts: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    cuttable: bool = True


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
    styles: list[_Style] = []
    position = start + 2
    while (mark := _mark(data, position, stop)) != _SOT:
        end = _segment_end(data, position, stop)
        if mark in (_COD, _COC):
            styles.append(_style(data[position:end], stream.grid.components, styles))
        if mark in (_PLM, _PPM):  # they speak of all tiles at once
            stream.cuttable = False
        if mark != _TLM:
            kept.append(data[position:end])
        position = end
    if not styles:
        raise damaged(NAME, "its codestream header has no coding style (COD)")
    stream.header = b"".join(kept)
    _walk_parts(data, position, stop, stream, styles)
    for tile in range(stream.grid.across * stream.grid.down):
        if tile not in stream.parts:
            raise truncated(NAME, f"tile {tile + 1} of {stream.grid.across * stream.grid.down} is missing")
    return stream


def _walk_parts(data: mmap.mmap, position: int, stop: int, stream: Codestream, styles: list[_Style]) -> None:
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
        _check_part(data, position, end, stream.grid, styles)
        position = end
    for tile, count in announced.items():
        if count and len(stream.parts[tile]) != count:
            raise truncated(NAME, f"tile {tile + 1} has {len(stream.parts[tile])} of its {count} parts")


def _check_part(data: mmap.mmap, start: int, end: int, grid: Grid, styles: list[_Style]) -> None:
    """One tile-part's header, and no more zeros in its packets than there may be."""
    position = start + 12
    own = list(styles)
    while (mark := _mark(data, position, end)) != _SOD:
        after = _segment_end(data, position, end)
        if mark in (_COD, _COC):
            own.append(_style(data[position:after], grid.components, own))
        position = after
    width, height = min(grid.tile_w, grid.width), min(grid.tile_h, grid.height)
    packets = grid.components * max(0 if style.marked else style.packets(width, height) for style in own)
    hole = zero_run(data, position + 2, end, CODED + packets)
    if hole is not None:
        raise damaged(NAME, f"its packets have a hole of zeros at byte {hole}")


def _style(segment: bytes, components: int, before: list[_Style]) -> _Style:
    try:
        if segment[1] == _COD & 255:
            flags, layers, levels_at = segment[4], struct.unpack(">H", segment[6:8])[0], 9
        else:
            if not before:
                raise damaged(NAME, "a coding style for one component (COC) comes before that for all (COD)")
            levels_at = 6 if components < 257 else 7
            flags, layers = segment[levels_at - 1] | (_MARKED_PACKETS * before[0].marked), before[0].layers
        levels, block_style = segment[levels_at], segment[levels_at + 3]
        if levels > 32 or not layers:
            raise damaged(NAME, f"its coding style says {levels} levels and {layers} layers")
        if block_style & _HIGH_THROUGHPUT:
            raise unsupported(NAME, "high-throughput coding (HTJ2K)")
        if not flags & _OWN_PRECINCTS:
            return _Style(layers, bool(flags & _MARKED_PACKETS), ((15, 15),) * (levels + 1))
        sizes = [segment[levels_at + 5 + level] for level in range(levels + 1)]
    except (IndexError, struct.error) as error:
        raise damaged(NAME, "its coding style (COD) is too short") from error
    return _Style(layers, bool(flags & _MARKED_PACKETS), tuple((size & 15, size >> 4) for size in sizes))


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
