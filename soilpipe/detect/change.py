"""The `change` detector: what differs from the earlier scans, ranked. No training; the day-one tool without labels.

It sees nothing that rests, and everything that changes: fallen crumbs and new drops of condensation rank with the
animals. The difference is divided by the noise of its surroundings, thresholded with hysteresis, and pieces that lie
close together are one animal. All of it is computed on one map of the whole scan at 42 um/px (35 MPix for A4, one
byte each), so there are no tiles to depend on.

What is left behind by an animal that rested in most of the references changes as much as one that came. The two are
told apart by where the contrast is: against its rim, in the scan or in the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background import ModelInput, Registration
from soilpipe.background.warp import bilinear, lattice_positions
from soilpipe.detect.base import Detections, DetectorInfo, no_detections
from soilpipe.detect.components import Components, find_components
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import ScanImage

ALGORITHM = "change-1"
_STRIP = 512  # rows read at a time
_STEPS = 4.0  # per grey level, of the map of strength
_VEIL = 6.0  # grey levels: what a veil may leave in the difference
_QUANTUM = 8.0  # steps of the evidence map per median of the noise: bytes hold up to 31.9


@dataclass(frozen=True)
class ChangeSettings:
    """What decides about a change; the defaults were tuned on simulated seasons (generator loam).

    Lengths in mm, thresholds in medians of the surrounding noise.
    """

    um_per_px: float = 42.0
    low: float = 10.0
    high: float = 14.0
    gap_mm: float = 0.4
    smallest_mm2: float = 0.01
    largest_mm: float = 60.0
    noise_mm: float = 3.0
    veil_mm: float = 6.0
    least_noise: float = 1.5
    half: float = 60.0  # evidence that scores one half


class ChangeDetector:
    """A `Detector` that needs no training. With fewer than two usable references it finds nothing."""

    def __init__(self, settings: ChangeSettings | None = None, *, threshold: float = 0.6) -> None:
        self.settings = settings or ChangeSettings()
        self.info = DetectorInfo(
            name="change",
            version="change",
            taxa=(SOIL.find("Invertebrata").name,),
            um_per_px=self.settings.um_per_px,
            threshold=threshold,
            validation="none",
            settings={"algorithm": ALGORITHM, **vars(self.settings)},
        )

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """Changes of one scan, best first; boxes in px of the scan at full resolution, clipped to it."""
        windows = ModelInput(scan, references, registrations, self.settings.um_per_px)
        if windows.usable < 2:
            return no_detections(self.info.taxa)
        um_per_px = scan.um_per_px * windows.factor
        found = self._components(change_map(windows, um_per_px, self.settings), um_per_px)
        scores = np.array([self._score(windows, found, i) for i in range(len(found))], np.float32)
        best = np.argsort(-scores, kind="stable")
        best = best[scores[best] >= (self.info.threshold if threshold is None else threshold)]
        boxes = (found.boxes[best] * windows.factor).astype(np.float32)
        np.clip(boxes, 0, np.tile([scan.levels[0].width, scan.levels[0].height], 2), out=boxes)
        return Detections(boxes, scores[best], np.zeros(len(best), np.int64), self.info.taxa)

    def _components(self, evidence: npt.NDArray[np.uint8], um_per_px: float) -> Components:
        settings = self.settings
        reach = max(1, round(settings.gap_mm * 1000 / um_per_px))
        found = find_components(evidence, settings.low * _QUANTUM, settings.high * _QUANTUM, reach)
        longest = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
        large = found.area * (um_per_px / 1000) ** 2 >= settings.smallest_mm2
        return found.select(large & (longest * um_per_px / 1000 <= settings.largest_mm))

    def _score(self, windows: ModelInput, found: Components, i: int) -> float:
        """0..1, rising with the evidence and with the share of the contrast that is in the scan."""
        evidence = float(found.total[i]) / _QUANTUM / float(np.sqrt(found.area[i]))
        return evidence / (evidence + self.settings.half) * _presence(windows, found.boxes[i])


class Readable(Protocol):
    """What a map of change is made from: the seven channels of a scan by windows, as `ModelInput` reads them."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def read(self, y0: int, y1: int, x0: int, x1: int) -> npt.NDArray[np.uint8]: ...


def change_map(windows: Readable, um_per_px: float, settings: ChangeSettings) -> npt.NDArray[np.uint8]:
    """Evidence of change of a whole scan, (height, width) uint8: the strength in medians of its surroundings, times 8.

    What is left of veils (the mean over `veil_mm`) is taken away and the rest smoothed by one pixel; its root mean
    square over the colours is divided by a robust spread of the surroundings (median over blocks of `noise_mm`, then
    of 3 x 3 blocks). 0 where the difference is not valid.
    """
    height, width = windows.height, windows.width
    strength = np.empty((height, width), np.uint8)
    veil = 2 * round(settings.veil_mm * 500 / um_per_px) + 1
    for y0 in range(0, height, _STRIP):
        y1 = min(y0 + _STRIP, height)
        top, bottom = max(y0 - veil, 0), min(y1 + veil, height)
        window = windows.read(top, bottom, 0, width)
        difference = np.moveaxis(window[3:6], 0, -1).astype(np.float32) - 128
        limited = np.clip(difference, -_VEIL, _VEIL)  # an animal must not pull the veil's mean along
        difference -= cv2.blur(limited, (veil, veil), borderType=cv2.BORDER_REFLECT_101)
        smooth = cv2.GaussianBlur(difference, (7, 7), 1.0, borderType=cv2.BORDER_REFLECT_101)
        rms = np.sqrt((smooth * smooth).mean(axis=2))
        rms[window[6] == 0] = 0
        strength[y0:y1] = np.clip(np.rint(rms[y0 - top : y1 - top] * _STEPS), 0, 255)
    side = max(8, round(settings.noise_mm * 1000 / um_per_px))
    noise = _local_noise(strength, side) / _STEPS
    evidence = np.empty_like(strength)
    rows = lattice_positions(0, height, 1, 1.0, height, noise.shape[0])
    columns = lattice_positions(0, width, 1, 1.0, width, noise.shape[1])
    for y0 in range(0, height, _STRIP):
        strip = slice(y0, y0 + _STRIP)
        spread = np.maximum(bilinear(noise, rows[strip], columns), settings.least_noise / 2)
        evidence[strip] = np.clip(strength[strip] * (_QUANTUM / _STEPS) / spread, 0, 255)
    return evidence


def _local_noise(strength: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float32]:
    """Median of the strength over blocks of `side` px, then over 3 x 3 blocks; (gy, gx) float32."""
    height, width = strength.shape
    gy, gx = max(1, height // side), max(1, width // side)
    noise = np.empty((gy, gx), np.float32)
    edges_y, edges_x = np.linspace(0, height, gy + 1).astype(int), np.linspace(0, width, gx + 1).astype(int)
    for i in range(gy):
        for j in range(gx):
            block = strength[edges_y[i] : edges_y[i + 1] : 2, edges_x[j] : edges_x[j + 1] : 2]
            noise[i, j] = np.median(block[block > 0]) if block.any() else 0
    return cv2.medianBlur(noise, 3) if min(gy, gx) >= 3 else np.full_like(noise, np.median(noise))


def _presence(windows: ModelInput, box: npt.NDArray[np.int64]) -> float:
    """Where the contrast of a change is: 1 in the scan (something came), 0 in the background (something left).

    What changed, against the unchanged pixels around it, in the scan and in the scan without its difference.
    """
    x0, y0, x1, y1 = (int(v) for v in box)
    rim = 3 + max(x1 - x0, y1 - y0) // 8
    window = windows.read(y0 - rim, y1 + rim, x0 - rim, x1 + rim)
    inside = window[6] > 0
    difference = np.moveaxis(window[3:6], 0, -1).astype(np.float32) - 128
    size = np.abs(difference).max(axis=2)
    changed = inside & (size > 0.4 * float(np.percentile(size[inside], 98)))
    still = inside & ~cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if changed.sum() < 3 or still.sum() < 3:
        return 0.5
    scan = np.moveaxis(window[:3], 0, -1).astype(np.float32)
    background = scan - difference

    def contrast(picture: npt.NDArray[np.float32]) -> float:
        around = np.median(picture[still], axis=0)
        return float(np.abs(picture[changed] - around).mean()) + 1.0

    now, before = contrast(scan), contrast(background)
    return (now**2 / (now**2 + before**2)) ** 2
