"""A window through the network strip by strip: a fraction of the memory, less time, and the same bits.

Nearly all that a network holds at once is at the finest levels, and pages of memory that are fetched and given back
for every window cost as much as a tenth of the arithmetic. So the encoder's first level is computed in strips of rows,
what lies deeper at once (it is small), and the last steps in strips again, and there only for the cells that are
asked for: the halo of a tile is computed no further than it is seen. A strip is read with the rows that its own rows
see, and begins on a cell, so that every number is that of the whole window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from soilpipe.detect.network import STRIDE, TOTAL_STRIDE, Answer, CentrePointNetwork, Head, check_pixels
from soilpipe.detect.receptive_field import finest_reach

STRIP_PX = 600_000  # of a window's pixels at a time
LEAST = 64  # cells, even: of smaller pieces PyTorch may take another kernel, with other last bits

Cells = tuple[int, int, int, int]
"""y0, y1, x0, x1, half-open, in heatmap cells."""


@dataclass(frozen=True)
class Part:
    """Some of the cells that were asked for.

    answer: for these cells and one more on every side where the window has it; core: which of its cells they are;
    origin: y, x of its first cell in the window.
    """

    answer: Answer
    core: Cells
    origin: tuple[int, int]


def answer_parts(network: CentrePointNetwork, pixels: Tensor, head: Head, core: Cells) -> Iterator[Part]:
    """The network's answers for the cells `core` of one window, (1, 7, H, W) uint8, strip by strip from the top.

    The same bits as `network(pixels, head)` has there, on a CPU. ValueError as there.
    """
    check_pixels(pixels)
    finest = _finest_in_strips(network, pixels)
    shared, shared_top, shared_left = _shared(network, finest, core)
    left, right, seen_left, seen_right = _around(core[2], core[3], finest.shape[3])
    for a, b in strips(core[0], core[1], STRIP_PX // (STRIDE * pixels.shape[3])):
        top, bottom, seen_top, seen_bottom = _around(a, b, finest.shape[2])
        features = network.join_finest(
            finest[:, :, seen_top:seen_bottom, seen_left:seen_right],
            shared[
                :,
                :,
                seen_top // 2 - shared_top : seen_bottom // 2 - shared_top,
                seen_left // 2 - shared_left : seen_right // 2 - shared_left,
            ],
        )
        whole = network.head(head)(features)
        answer = Answer(
            *(part[:, :, top - seen_top : bottom - seen_top, left - seen_left : right - seen_left] for part in whole)
        )
        yield Part(answer, (a - top, b - top, core[2] - left, core[3] - left), (top, left))


def strips(first: int, last: int, most: int) -> list[tuple[int, int]]:
    """Intervals of about equal length that make up `first..last` (half-open), of `most` (or LEAST) at the most."""
    count = -(-(last - first) // max(most, LEAST))
    bounds = [first + (last - first) * k // max(count, 1) for k in range(count + 1)]
    return list(pairwise(bounds))


def _shared(network: CentrePointNetwork, finest: Tensor, core: Cells) -> tuple[Tensor, int, int]:
    """The shared features at stride 8 that cells `core` of stride 4 look at, and the first row and column of them.

    Two cells of stride 4, a smoothing at stride 8 and one at stride 16: 32 px, a cell of stride 32, on every side.
    """
    deeper = network.deeper(finest)
    least = network.smallest_input // TOTAL_STRIDE
    rows, columns = (
        _whole_cells(first, last, least, side)
        for first, last, side in zip(core[::2], core[1::2], deeper[-1].shape[2:], strict=True)
    )
    seen = []
    for level, scale in zip(deeper, (4, 2, 1), strict=True):
        across = slice(columns[0] * scale, columns[1] * scale)
        seen.append(level[:, :, rows[0] * scale : rows[1] * scale, across])
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


def _finest_in_strips(network: CentrePointNetwork, pixels: Tensor) -> Tensor:
    """The encoder's features at stride 4, channels last."""
    height, width = (side // STRIDE for side in pixels.shape[2:])
    finest: Tensor | None = None
    for a, b in strips(0, height, STRIP_PX // (STRIDE * pixels.shape[3])):
        first, last = finest_reach((a, b - 1), network.ladder)
        top, bottom = max(first // STRIDE, 0), min(last // STRIDE + 1, height)
        strip = network.finest(pixels[:, :, top * STRIDE : bottom * STRIDE])
        if finest is None:
            shape = (1, strip.shape[1], height, width)
            finest = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last)
        finest[:, :, a:b] = strip[:, :, a - top : b - top]
    assert finest is not None  # a window has rows
    return finest


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
