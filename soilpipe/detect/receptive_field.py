"""What of the image a heatmap cell can see, from the layers that lead to it: this decides the halo of the tiles."""

from __future__ import annotations

from dataclasses import dataclass

Layer = tuple[int, int]
"""(kernel, stride) of a convolution or pooling, padded with half its kernel."""


@dataclass(frozen=True)
class Ladder:
    """The widest path down an encoder: its stem, then the layers of each level (strides 4, 8, 16, 32 in all).

    Short cuts and laterals read within what the main path reads and are left out.
    """

    stem: tuple[Layer, ...]
    levels: tuple[tuple[Layer, ...], ...]


def reach(cells: tuple[int, int], ladder: Ladder) -> tuple[int, int]:
    """The input rows (or columns) that heatmap cells `first..last` can see, as `first..last` px, both inclusive.

    Followed backwards through the network as intervals: a convolution of kernel k and stride s reads
    s a - k//2 .. s b + k//2; doubling by nearest neighbour reads a//2 .. b//2. Whatever the encoder, the top-down path
    is smoothed by a 3 x 3 at strides 8 and 16, and each head begins with a 3 x 3 at stride 4.
    """
    first, last = cells[0] - 1, cells[1] + 1  # the head's 3 x 3
    seen: list[tuple[int, int]] = []
    for level in range(len(ladder.levels)):  # what of each level the output reads
        if level:
            first, last = first // 2, last // 2
        if 0 < level < len(ladder.levels) - 1:
            first, last = first - 1, last + 1  # smoothing
        a, b = first, last
        down = [*ladder.stem, *(layer for rung in ladder.levels[: level + 1] for layer in rung)]
        for kernel, stride in reversed(down):
            a, b = stride * a - kernel // 2, stride * b + kernel // 2
        seen.append((a, b))
    return min(a for a, _ in seen), max(b for _, b in seen)


def halo_of(ladder: Ladder, *, stride: int, total_stride: int, extra_cells: int = 1) -> int:
    """Px of context, a multiple of the total stride, that a core on the grid of the total stride needs on every side.

    `stride`: px per heatmap cell. `extra_cells` cells around the core are exact as well: finding local maxima looks
    one cell further.
    """
    period = total_stride // stride
    first, last = reach((-extra_cells, period - 1 + extra_cells), ladder)
    return -(-max(-first, last - (total_stride - 1)) // total_stride) * total_stride


def finest_reach(cells: tuple[int, int], ladder: Ladder) -> tuple[int, int]:
    """The input rows (or columns) that cells `first..last` of the encoder's first level (stride 4) see, inclusive."""
    first, last = cells
    for kernel, stride in reversed([*ladder.stem, *ladder.levels[0]]):
        first, last = stride * first - kernel // 2, stride * last + kernel // 2
    return first, last


def level_reach(cells: tuple[int, int], ladder: Ladder, level: int) -> tuple[int, int]:
    """The rows (or columns) of the level before that cells `first..last` of a deeper level (1, 2, 3) see, inclusive."""
    first, last = cells
    for kernel, stride in reversed(ladder.levels[level]):
        first, last = stride * first - kernel // 2, stride * last + kernel // 2
    return first, last
