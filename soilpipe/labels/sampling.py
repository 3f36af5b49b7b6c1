"""The random half of a draw: a stratified sample of places, each with its inclusion probability.

The population is every tile of every scan of which half or more can be used. Scans are listed by scanner and time; the
list is cut into runs of equal length, the strata, of about two draws each. Within a stratum scans are drawn at random
without replacement, and in a scan one of its tiles, all with the same chance. So every scanner and season is
represented in proportion, every tile has a known chance to be drawn, and two draws a stratum let the variance be
estimated from the sample itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from soilpipe.labels.records import Stratum

DRAWS_A_STRATUM = 2

DESIGN = (
    "Population: all tiles of all scans of which half or more can be used (not masked). Scans listed by scanner and "
    "time, cut into strata of equal length with about two draws each; in each stratum scans drawn at random without "
    "replacement (where it has fewer scans than draws, each of them in turn), in each drawn scan one tile at random, "
    "all alike. Probability of a tile: draws / scans of its stratum / usable tiles of its scan."
)
ESTIMATOR = (
    "The total of a quantity over the population is estimated without bias by the sum of its values in the "
    "random tiles, each divided by its inclusion_probability (Horvitz and Thompson 1952); its variance from the "
    "differences within strata. Ratios such as recall and precision are ratios of two such sums. Suggested tiles have "
    "no probability and stay out of all of it. An animal cut by the edge of a tile is in two tiles: to count each "
    "once, leave out those that touch the left or the top edge of their tile, unless that is the edge of the scan "
    "(Gundersen 1977)."
)

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1, px of the scan, half-open."""


@dataclass(frozen=True)
class DrawnScan:
    """A scan by its place in the list. `tiles`: how many are to be drawn in it."""

    index: int
    stratum: int
    tiles: int


def grid_edges(side: int, tile_px: int) -> list[int]:
    """Where a side of a scan is cut into the fewest equal parts of at most `tile_px`: n + 1 places, px.

    >>> grid_edges(2500, 1024)
    [0, 833, 1667, 2500]
    """
    parts = max(1, -(-side // tile_px))
    return [(2 * side * part + parts) // (2 * parts) for part in range(parts + 1)]


def tile_windows(width: int, height: int, tile_px: int) -> list[Window]:
    """The tiles of a scan, row by row; they cover it without overlap."""
    across, down = grid_edges(width, tile_px), grid_edges(height, tile_px)
    return [(x0, y0, x1, y1) for y0, y1 in pairwise(down) for x0, x1 in pairwise(across)]


def make_strata(scans: int, wanted: int) -> list[Stratum]:
    """Cut a list of `scans` into strata for `wanted` draws; [] when there is nothing to draw, or from."""
    count = min(max(1, wanted // DRAWS_A_STRATUM), scans)
    if wanted < 1 or scans < 1:
        return []
    ends = [scans * part // count for part in range(count + 1)]
    draws = [wanted * part // count for part in range(count + 1)]
    return [Stratum(scans=ends[part + 1] - ends[part], draws=draws[part + 1] - draws[part]) for part in range(count)]


def draw_scans(strata: list[Stratum], rng: np.random.Generator) -> list[DrawnScan]:
    """The scans that are drawn, in the order of the list."""
    drawn, first = [], 0
    for number, stratum in enumerate(strata):
        each, extra = divmod(stratum.draws, stratum.scans)
        lucky = set(rng.choice(stratum.scans, extra, replace=False).tolist())
        for place in range(stratum.scans):
            if tiles := each + (place in lucky):
                drawn.append(DrawnScan(first + place, number, tiles))
        first += stratum.scans
    return drawn


def draw_windows(windows: list[Window], tiles: int, rng: np.random.Generator) -> list[Window]:
    """`tiles` of a scan's windows (all of them when it has no more), without replacement, in their order."""
    chosen = rng.choice(len(windows), min(tiles, len(windows)), replace=False)
    return [windows[place] for place in sorted(chosen.tolist())]


def inclusion_probability(stratum: Stratum, windows: int) -> float:
    """The chance of each tile of a scan of this stratum, the scan having `windows` tiles."""
    each, extra = divmod(stratum.draws, stratum.scans)
    more = extra / stratum.scans
    expected = (1 - more) * min(each, windows) + more * min(each + 1, windows)
    return expected / windows
