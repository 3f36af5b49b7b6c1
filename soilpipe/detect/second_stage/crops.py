"""How candidates are cut out of a scan: squares around them, from the pass that shows them well, made one size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from soilpipe.detect.base import Detections
from soilpipe.detect.decode import longest_side
from soilpipe.detect.passes import PassName
from soilpipe.detect.second_stage.network import SIDE
from soilpipe.detect.tiled import InputWindows

CUT_FROM: tuple[PassName, ...] = ("fine", "coarse")
CONTEXT = 1.6  # sides of the crop over the longest of the box
LEAST_PX = 20  # px of the fine pass: no crop shows less
CERTAIN = 1e-4  # scores are told as no nearer to 0 or 1 than that


@dataclass(frozen=True)
class Cut:
    """A square around a candidate, px of the pass that it is read from.

    y0, x0: its corner, which may lie outside the scan. side: px. factor: full-resolution px per px of the pass.
    told: float32, what the network is told beside the pixels: the first stage's logit (halved), the log of the longest
    side of the box in mm, and width and height of the box in sides of the crop.
    """

    name: PassName
    y0: int
    x0: int
    side: int
    factor: float
    told: tuple[float, float, float, float]

    def inside(self, boxes: np.ndarray) -> np.ndarray:
        """(..., 4) boxes, px at full resolution, in sides of the crop from its corner."""
        corner = np.array([self.x0, self.y0, self.x0, self.y0], np.float64)
        inside: np.ndarray = (boxes / self.factor - corner) / self.side
        return inside


def lying(told: np.ndarray) -> np.ndarray:
    """(..., TOLD): what is told of crops that are turned by a quarter, as `Cut.told`."""
    return told[..., [0, 1, 3, 2]]


def cuts_around(candidates: Detections, windows: Mapping[PassName, InputWindows], um_per_px: float) -> list[Cut]:
    """The cut of each candidate, whose boxes are px of a scan of `um_per_px`.

    From the fine pass, or from the coarse one, where that has as many pixels as a crop takes: so much less is read.
    """
    scores = candidates.scores.astype(np.float64).clip(CERTAIN, 1 - CERTAIN)
    return cuts_of(candidates.boxes, np.log(scores) - np.log1p(-scores), windows, um_per_px)


def cuts_of(
    boxes: np.ndarray, logits: np.ndarray, windows: Mapping[PassName, InputWindows], um_per_px: float
) -> list[Cut]:
    """As `cuts_around`, of boxes (n, 4) and the logits of their scores (n,)."""
    boxes = boxes.astype(np.float64)
    longest = longest_side(boxes)
    cuts = []
    for box, length, logit in zip(boxes, longest, logits, strict=True):
        wanted = max(CONTEXT * length, LEAST_PX * windows["fine"].factor)  # full px
        coarse = windows.get("coarse")
        name: PassName = "coarse" if coarse is not None and wanted >= SIDE * coarse.factor else "fine"
        factor = windows[name].factor
        side = math.ceil(wanted / factor)
        x0, y0 = (math.floor((box[axis] + box[axis + 2]) / 2 / factor - side / 2 + 0.5) for axis in (0, 1))
        told = (
            logit / 2,
            math.log(max(length, 1.0) * um_per_px / 1000),
            (box[2] - box[0]) / factor / side,
            (box[3] - box[1]) / factor / side,
        )
        cuts.append(Cut(name, y0, x0, side, factor, told))
    return cuts


def crop(cut: Cut, windows: Mapping[PassName, InputWindows]) -> np.ndarray:
    """(7, SIDE, SIDE) uint8; what lies outside the scan as `InputWindows.read` has it."""
    return resized(windows[cut.name].read(cut.y0, cut.y0 + cut.side, cut.x0, cut.x0 + cut.side))


def resized(window: np.ndarray) -> np.ndarray:
    """(7, n, n) uint8 of a pass to (7, SIDE, SIDE): means where it is larger, else interpolated. The difference is
    valid where it is for all that a pixel is made of."""
    if window.shape[1] == SIDE:
        return window
    how = cv2.INTER_AREA if window.shape[1] > SIDE else cv2.INTER_LINEAR
    crop = np.stack([cv2.resize(plane, (SIDE, SIDE), interpolation=how) for plane in window])
    crop[6] = np.where(crop[6] == 255, np.uint8(255), np.uint8(0))
    crop[3:6, crop[6] == 0] = 128
    return crop
