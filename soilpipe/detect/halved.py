"""A pass at half the scale of one whose pixels are at hand: the middle pass of a sample that was read for training."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from soilpipe.detect.dataset import Sample
from soilpipe.detect.padding import padded
from soilpipe.detect.passes import PassName
from soilpipe.detect.tiled import InputWindows
from soilpipe.tiles import factor_at


class Halved:
    """Means of 2 x 2 px of another pass, read by windows.

    For the colours that is what the pyramid holds, but for rounding where contrast was evened; a difference of means of
    medians stands in for that of the median of means. The difference is valid where it is for all four px.
    """

    def __init__(self, whole: InputWindows) -> None:
        self._whole = whole
        self.height, self.width = (whole.height + 1) // 2, (whole.width + 1) // 2
        self.factor = 2 * whole.factor

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """As `soilpipe.background.ModelInput.read`."""
        return padded((y0, y1, x0, x1), (self.height, self.width), self._inside)

    def _inside(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        rows, columns = min(2 * bottom, self._whole.height), min(2 * right, self._whole.width)
        whole = self._whole.read(2 * top, rows, 2 * left, columns)
        odd = (0, 0), (0, 2 * bottom - rows), (0, 2 * right - columns)
        whole = np.pad(whole, odd, mode="edge") if odd[1][1] or odd[2][1] else whole
        size = (right - left, bottom - top)
        halved = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in whole])
        halved[6] = np.where(halved[6] == 255, np.uint8(255), np.uint8(0))
        halved[3:6, halved[6] == 0] = 128
        return halved


def seen_by(scales: Mapping[PassName, float], sample: Sample) -> dict[PassName, InputWindows]:
    """What each pass reads of a sample, for the um/px at which it wants to see it."""
    return {name: _seen(name, scale, sample) for name, scale in scales.items()}


def _seen(name: PassName, um_per_px: float, sample: Sample) -> InputWindows:
    if name != "middle":
        return sample.passes[name]
    fine = sample.passes["fine"]  # of a scan that is coarser still it is as fine as can be, and the middle pass too
    return fine if factor_at(sample.um_per_px, um_per_px) == fine.factor else Halved(fine)
