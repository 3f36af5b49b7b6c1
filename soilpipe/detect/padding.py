"""What is read of an image where it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

OUTSIDE = np.array([0, 0, 0, 128, 128, 128, 0], np.uint8)
"""What stands in the seven channels where no image is."""


def padded(
    window: tuple[int, int, int, int], size: tuple[int, int], inside: Callable[[int, int, int, int], np.ndarray]
) -> np.ndarray:
    """(7, h, w) uint8 of a window y0, y1, x0, x1 on an image of size height, width, px: what `inside` reads where the
    window lies on it, and OUTSIDE elsewhere."""
    y0, y1, x0, x1 = window
    out = np.empty((7, y1 - y0, x1 - x0), np.uint8)
    top, bottom = max(y0, 0), min(y1, size[0])
    left, right = max(x0, 0), min(x1, size[1])
    if (top, bottom, left, right) != window:
        out[:] = OUTSIDE[:, None, None]
    if top < bottom and left < right:
        out[:, top - y0 : bottom - y0, left - x0 : right - x0] = inside(top, bottom, left, right)
    return out
