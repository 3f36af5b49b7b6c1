"""From a map of evidence to boxes: what is above a threshold and hangs together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Components:
    """What was found, one entry per component, in the order of their first pixel.

    boxes   (n, 4) int64, x_min y_min x_max y_max, px of the map, half-open, around the pixels above the low threshold
    area    (n,) int64, those pixels
    peak    (n,) float32, the strongest evidence
    total   (n,) float64, the evidence of all of them
    """

    boxes: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float32]
    total: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.area)

    def select(self, which: npt.NDArray) -> Components:
        return Components(self.boxes[which], self.area[which], self.peak[which], self.total[which])


def find_components(evidence: npt.NDArray, low: float, high: float, reach: int) -> Components:
    """Components of an (h, w) map by hysteresis: pixels above `low` that hang together with one above `high`.

    Pixels closer than `reach` px hang together too: thin and translucent bodies break up.
    """
    mask = (evidence >= low).astype(np.uint8)
    if reach > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        count, labels = cv2.connectedComponents(cv2.dilate(mask, kernel), connectivity=8, ltype=cv2.CV_32S)
    else:
        count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    y, x = np.nonzero(mask)
    which = labels[y, x]
    value = evidence[y, x].astype(np.float32)
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    peak = np.zeros(count, np.float32)
    np.minimum.at(boxes[:, 0], which, x)
    np.minimum.at(boxes[:, 1], which, y)
    np.maximum.at(boxes[:, 2], which, x + 1)
    np.maximum.at(boxes[:, 3], which, y + 1)
    np.maximum.at(peak, which, value)
    found = Components(
        boxes,
        np.bincount(which, minlength=count).astype(np.int64),
        peak,
        np.bincount(which, weights=value, minlength=count).astype(np.float64),
    )
    return found.select(np.flatnonzero(found.peak >= max(high, low)))
