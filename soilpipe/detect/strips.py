"""A window through the network from top to bottom: each row is computed once, and memory does not grow with the height.

Tiles that overlap by their halos compute much twice. Here a window is as tall as the image, and of every level of the
encoder only the rows are kept that what lies deeper, or the way back up, still looks at. The first level, where nearly
all of the memory would go, is computed in strips of rows that suit the processor's cache, and so are the last steps,
and there only for the cells that are asked for. A strip is computed with the rows that its own rows see, and begins on
a cell, so that every number is that of the whole window, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from soilpipe.detect.network import CHANNELS, STRIDE, TOTAL_STRIDE, Answer, CentrePointNetwork, Head
from soilpipe.detect.receptive_field import finest_reach, level_reach

STRIP_PX = 800_000  # of a window's pixels at a time
BAND_CELLS = 192  # rows of cells that go back up at a time
LEAST = 32  # cells, even: of smaller pieces PyTorch may take another kernel, with other last bits
STRIDES = (4, 8, 16, 32)  # px per cell of the encoder's levels

Cells = tuple[int, int, int, int]
"""y0, y1, x0, x1, half-open, in heatmap cells."""


class PixelRows(Protocol):
    """A window's pixels, taken from top to bottom: rows(y0, y1) -> (1, 7, y1 - y0, width) uint8, half-open.

    height, width: of the window, px, multiples of 32. y0 is asked for in order but for a few rows.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def rows(self, y0: int, y1: int) -> Tensor: ...


@dataclass(frozen=True)
class InMemory:
    """Pixel rows of a window that is there, (1, 7, H, W) uint8. ValueError for what no network can look at."""

    pixels: Tensor

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.shape[:2] != (1, CHANNELS):
            raise ValueError(f"expected (1, {CHANNELS}, H, W) uint8, got {tuple(self.pixels.shape)}")
        if self.height % TOTAL_STRIDE or self.width % TOTAL_STRIDE:
            raise ValueError(f"{self.height} x {self.width} px: both must be multiples of {TOTAL_STRIDE}")

    @property
    def height(self) -> int:
        return self.pixels.shape[2]

    @property
    def width(self) -> int:
        return self.pixels.shape[3]

    def rows(self, y0: int, y1: int) -> Tensor:
        return self.pixels[:, :, y0:y1]


@dataclass(frozen=True)
class Part:
    """Some of the cells that were asked for.

    answer: for these cells and one more on every side where the window has it; core: which of its cells they are;
    origin: y, x of its first cell in the window.
    """

    answer: Answer
    core: Cells
    origin: tuple[int, int]


def answer_parts(network: CentrePointNetwork, pixels: PixelRows, head: Head, core: Cells) -> Iterator[Part]:
    """The network's answers for the cells `core` of one window, strip by strip from the top.

    The same bits as `network(pixels, head)` has there, on a CPU.
    """
    levels = _Levels(network, pixels)
    left, right, seen_left, seen_right = _around(core[2], core[3], pixels.width // STRIDE)
    for band in strips(core[0], core[1], BAND_CELLS):
        shared, shared_top, shared_left = _shared(network, levels, (*band, core[2], core[3]))
        for a, b in strips(*band, STRIP_PX // (STRIDE * pixels.width)):
            top, bottom, seen_top, seen_bottom = _around(a, b, levels.heights[0])
            features = network.join_finest(
                levels.rows(0, seen_top, seen_bottom)[:, :, :, seen_left:seen_right],
                shared[
                    :,
                    :,
                    seen_top // 2 - shared_top : seen_bottom // 2 - shared_top,
                    seen_left // 2 - shared_left : seen_right // 2 - shared_left,
                ],
            )
            whole = network.head(head)(features)
            down, across = slice(top - seen_top, bottom - seen_top), slice(left - seen_left, right - seen_left)
            answer = Answer(*(part[:, :, down, across] for part in whole))
            yield Part(answer, (a - top, b - top, core[2] - left, core[3] - left), (top, left))
        levels.forget(band[1])


def strips(first: int, last: int, most: int) -> list[tuple[int, int]]:
    """Intervals of about equal length that make up `first..last` (half-open), of `most` (or LEAST) at the most."""
    count = -(-(last - first) // max(most, LEAST))
    bounds = [first + (last - first) * k // max(count, 1) for k in range(count + 1)]
    return list(pairwise(bounds))


class _Levels:
    """The encoder's features of one window at strides 4 to 32, computed downwards as far as they are asked for.

    heights: rows of each level.
    """

    def __init__(self, network: CentrePointNetwork, pixels: PixelRows) -> None:
        self._network, self._pixels = network, pixels
        self.heights = tuple(pixels.height // stride for stride in STRIDES)
        # What is computed at once is this tall or taller: of smaller pieces PyTorch may take another kernel.
        self._least = tuple(network.smallest_input // stride for stride in STRIDES)
        self._first = [0] * len(STRIDES)
        self._kept: list[Tensor | None] = [None] * len(STRIDES)

    def rows(self, level: int, a: int, b: int) -> Tensor:
        """Rows a..b (half-open) of a level, channels last; they must not be forgotten."""
        self._compute(level, b)
        kept, first = self._kept[level], self._first[level]
        assert kept is not None and a >= first
        return kept[:, :, a - first : b - first]

    def forget(self, cell: int) -> None:
        """What only rows of cells above `cell` need."""
        for level, stride in enumerate(STRIDES):
            kept = self._kept[level]
            if kept is None:
                continue
            # The way back up reads whole cells of stride 32, one before the first and `least` in all.
            deepest = min(cell * STRIDE // TOTAL_STRIDE - 2, self.heights[-1] - self._least[-1])
            first = min(deepest * TOTAL_STRIDE // stride, cell * STRIDE // stride - LEAST)
            if level + 1 < len(STRIDES):  # what lies deeper goes on from its own end, or `least` rows before it
                first = min(first, self._read_for(level + 1, self._end(level + 1) - self._least[level + 1], 0)[0])
            first = max(first, self._first[level])
            self._kept[level] = kept[:, :, first - self._first[level] :]
            self._first[level] = first

    def _end(self, level: int) -> int:
        kept = self._kept[level]
        return self._first[level] + (0 if kept is None else kept.shape[2])

    def _compute(self, level: int, b: int) -> None:
        end = self._end(level)
        if b <= end:
            return
        start = max(min(end, b - self._least[level]), 0)
        new = self._finest(start, b) if level == 0 else self._deeper(level, start, b)
        kept = self._kept[level]
        new = new[:, :, end - start :]
        self._kept[level] = new if kept is None else torch.cat([kept, new], dim=2)

    def _read_for(self, level: int, a: int, b: int) -> tuple[int, int]:
        """Rows of the level above that rows a..b of a level see, from an even one to an even one."""
        first, last = level_reach((a, b - 1), self._network.ladder, level)
        return max(first // 2 * 2, 0), min((last + 2) // 2 * 2, self.heights[level - 1])

    def _deeper(self, level: int, a: int, b: int) -> Tensor:
        top, bottom = self._read_for(level, a, b)
        return self._network.deepen(level, self.rows(level - 1, top, bottom))[:, :, a - top // 2 : b - top // 2]

    def _finest(self, first: int, last: int) -> Tensor:
        """Rows of the first level, strip by strip."""
        finest: Tensor | None = None
        for a, b in strips(first, last, STRIP_PX // (STRIDE * self._pixels.width)):
            seen_first, seen_last = finest_reach((a, b - 1), self._network.ladder)
            top, bottom = max(seen_first // STRIDE, 0), min(seen_last // STRIDE + 1, self.heights[0])
            strip = self._network.finest(self._pixels.rows(top * STRIDE, bottom * STRIDE))
            if finest is None:
                shape = (1, strip.shape[1], last - first, strip.shape[3])
                finest = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last)
            finest[:, :, a - first : b - first] = strip[:, :, a - top : b - top]
        assert finest is not None  # what is asked for has rows
        return finest


def _shared(network: CentrePointNetwork, levels: _Levels, core: Cells) -> tuple[Tensor, int, int]:
    """The shared features at stride 8 that cells `core` of stride 4 look at, and the first row and column of them.

    Two cells of stride 4, a smoothing at stride 8 and one at stride 16: 32 px, a cell of stride 32, on every side.
    """
    least = network.smallest_input // TOTAL_STRIDE
    deepest = levels.rows(3, *_whole_cells(core[0], core[1], least, levels.heights[-1]))
    rows, columns = (
        _whole_cells(first, last, least, side)
        for first, last, side in zip(core[::2], core[1::2], (levels.heights[-1], deepest.shape[3]), strict=True)
    )
    seen = []
    for level, scale in ((1, 4), (2, 2), (3, 1)):
        across = slice(columns[0] * scale, columns[1] * scale)
        seen.append(levels.rows(level, rows[0] * scale, rows[1] * scale)[:, :, :, across])
    return network.top_down(seen), 4 * rows[0], 4 * columns[0]


def _whole_cells(first: int, last: int, least: int, size: int) -> tuple[int, int]:
    """Cells of stride 32, of `size`, that hold those of stride 4 `first..last` and one more on either side; `least` or
    more, so that they hold as well what `_around` adds, and that PyTorch keeps to its kernels."""
    per = TOTAL_STRIDE // STRIDE
    start, end = max(first // per - 1, 0), min(-(-last // per) + 1, size)
    if end - start < least:
        end = min(start + least, size)
        start = max(end - least, 0)
    return start, end


def _around(first: int, last: int, size: int) -> tuple[int, int, int, int]:
    """Cells `first..last` (half-open) with one more on either side, and what of `size` cells is looked at for them.

    That is what these see (3 x 3), in whole cells of stride 8, and LEAST cells or more.
    """
    wider, end = max(first - 1, 0), min(last + 1, size)
    seen_first, seen_end = max(wider - 1, 0) // 2 * 2, min((end + 2) // 2 * 2, size)
    if seen_end - seen_first < LEAST:
        seen_end = min(seen_first + LEAST, size)
        seen_first = max(seen_end - LEAST, 0)
    return wider, end, seen_first, seen_end
