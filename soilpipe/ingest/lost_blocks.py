"""Lost blocks: stretches of zero bytes in the midst of a picture, as a file holds them whose upload lost a part.

An uncompressed TIFF has nothing by which a reader could tell such a hole from black ground, but black ground goes on
in the rows above and below. So a run of at least LEAST_PX black pixels, in the order of the rows and on from the end
of one to the beginning of the next, is told where neither the row above its beginning nor the row below its end is
black there. Ground that is black all over hides such a hole.
"""

from __future__ import annotations

import numpy as np

LEAST_PX = 1366
"""4 KiB of 8-bit RGB, the smallest block of common disks."""
BLACK = 8
"""Grey levels up to which ground counts as black."""
_BLOCK = 512  # px: every run of LEAST_PX holds a whole aligned block
_PROBES = np.arange(0, _BLOCK, 128)


def lost_runs(band: np.ndarray) -> list[tuple[int, int]]:
    """The runs in a band (h, W, 3) uint8, half-open, in pixels counted from its first one, row after row.

    At the first and the last row of the band only the other side counts. Looks at every 128th pixel, and closer only
    at what is black there: about a hundredth of the time that decoding takes.
    """
    pixels = np.ascontiguousarray(band).reshape(-1, 3)
    width = band.shape[1]
    n = len(pixels) // _BLOCK
    blocks = pixels[: n * _BLOCK].reshape(n, _BLOCK, 3)
    likely = np.flatnonzero((blocks[:, _PROBES, 1] == 0).all(axis=1))
    black = likely[~blocks[likely].any(axis=(1, 2))]
    if not len(black):
        return []
    breaks = np.flatnonzero(np.diff(black) > 1)
    first = black[np.concatenate(([0], breaks + 1))] * _BLOCK
    last = (black[np.concatenate((breaks, [len(black) - 1]))] + 1) * _BLOCK
    green = pixels[:, 1]
    stands_out = np.ones(len(first), bool)
    if width >= 2 * _BLOCK:  # else the probes would lie in the run itself
        stands_out = _bright(green, first[:, None] - width + _PROBES)
        stands_out &= _bright(green, last[:, None] - 1 + width - _PROBES)
    runs = [_exact(pixels, int(a), int(b)) for a, b in zip(first[stands_out], last[stands_out], strict=True)]
    return [run for run in runs if run[1] - run[0] >= LEAST_PX and _between_bright_rows(green, *run, width)]


def _bright(green: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n,) bool: whether at least half of the probes (n, k) are not black; where they lie outside, yes."""
    inside = (places >= 0) & (places < len(green))
    bright = ~inside | (green[np.clip(places, 0, len(green) - 1)] > BLACK)
    return np.asarray(bright.mean(axis=1) >= 0.5)


def _exact(pixels: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """A run of whole blocks, and what of it lies in the blocks beside it."""
    before = np.flatnonzero(pixels[max(0, first - _BLOCK) : first].any(axis=1))
    after = np.flatnonzero(pixels[last : last + _BLOCK].any(axis=1))
    begin = max(0, first - _BLOCK) + int(before[-1]) + 1 if len(before) else max(0, first - _BLOCK)
    return begin, last + int(after[0]) if len(after) else min(len(pixels), last + _BLOCK)


def _between_bright_rows(green: np.ndarray, first: int, last: int, width: int) -> bool:
    length = min(last - first, width)
    above = green[max(0, first - width) : max(0, first - width + length)]
    below = green[last - length + width : last + width]
    sides = [side for side in (above, below) if len(side)]
    return bool(sides) and all(np.median(side) > BLACK for side in sides)
