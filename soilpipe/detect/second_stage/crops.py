"""How candidates are cut out of a scan: squares around them, from the pass that shows them well, made one size."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from soilpipe.detect.base import Detections
from soilpipe.detect.decode import longest_side
from soilpipe.detect.network import CHANNELS
from soilpipe.detect.passes import PassName
from soilpipe.detect.second_stage.network import SIDE
from soilpipe.detect.tiled import InputWindows

CONTEXT = 1.6  # sides of the crop over the longest of the box
LEAST_PX = 20  # px of the fine pass: no crop shows less
CERTAIN = 1e-4  # scores are told as no nearer to 0 or 1 than that
BLOCK = 512  # px: a scan is read in blocks, each once for all candidates in it
BLOCKS = 48  # held at once, 1.8 MB each


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


def cuts_around(candidates: Detections, windows: Mapping[PassName, InputWindows], um_per_px: float) -> list[Cut]:
    """The cut of each candidate, whose boxes are px of a scan of `um_per_px`.

    From the fine pass, or from the coarse one, where that has as many pixels as a crop takes: so much less is read.
    """
    boxes = candidates.boxes.astype(np.float64)
    longest = longest_side(boxes)
    scores = candidates.scores.astype(np.float64).clip(CERTAIN, 1 - CERTAIN)
    logits = np.log(scores) - np.log1p(-scores)
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


def in_reading_order(cuts: Sequence[Cut]) -> list[int]:
    """Indices of cuts, those of one block one after the other."""
    return sorted(range(len(cuts)), key=lambda one: (cuts[one].name, *_block(cuts[one]), one))


def _block(cut: Cut) -> tuple[int, int]:
    return (cut.y0 + cut.side // 2) // BLOCK, (cut.x0 + cut.side // 2) // BLOCK


class CropReader:
    """Cuts crops out of the passes of a scan. Memory: BLOCKS blocks a pass and what the largest crop covers."""

    def __init__(self, windows: Mapping[PassName, InputWindows]) -> None:
        self._windows = windows
        self._blocks: OrderedDict[tuple[PassName, int, int], np.ndarray] = OrderedDict()

    def crop(self, cut: Cut) -> np.ndarray:
        """(7, SIDE, SIDE) uint8; what lies outside the scan as `InputWindows.read` has it."""
        return resized(self._read(cut.name, cut.y0, cut.y0 + cut.side, cut.x0, cut.x0 + cut.side))

    def _read(self, name: PassName, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        out = np.empty((CHANNELS, y1 - y0, x1 - x0), np.uint8)
        for row in range(y0 // BLOCK, (y1 - 1) // BLOCK + 1):
            for column in range(x0 // BLOCK, (x1 - 1) // BLOCK + 1):
                top, left = row * BLOCK, column * BLOCK
                a, b = max(top, y0), min(top + BLOCK, y1)
                c, d = max(left, x0), min(left + BLOCK, x1)
                block = self._block(name, row, column)
                out[:, a - y0 : b - y0, c - x0 : d - x0] = block[:, a - top : b - top, c - left : d - left]
        return out

    def _block(self, name: PassName, row: int, column: int) -> np.ndarray:
        key = name, row, column
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        top, left = row * BLOCK, column * BLOCK
        block = self._windows[name].read(top, top + BLOCK, left, left + BLOCK)
        self._blocks[key] = block
        if len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)
        return block


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
