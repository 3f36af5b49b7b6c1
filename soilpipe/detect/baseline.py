"""Threshold-and-blob baselines: what a person would try first with OpenCV, and what a detector has to beat.

Two of them, on the picture alone and on the difference. The local mean is taken away, what stands out by a multiple of
the scan's own noise is closed a little, and connected pieces of a plausible size are animals, ranked by contrast and
size. All settings are tuned by a grid on training seasons, for average precision at IoU 0.5: the baselines are meant to
be as good as such a method gets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background import ModelInput, Registration
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.components import find_components
from soilpipe.detect.scoring import Matches, average_precision, best_threshold, match, pool
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import ScanImage

ALGORITHM = "blobs-1"
MOST = 1000  # blobs of a scan that are compared with its labels
Source = Literal["picture", "difference"]
Polarity = Literal["bright", "dark", "both"]


@dataclass(frozen=True)
class BlobSettings:
    """Lengths in mm; `contrast` in standard deviations of the scan's noise."""

    source: Source
    polarity: Polarity = "bright"
    contrast: float = 4.0
    ground_mm: float = 3.0
    smooth_mm: float = 0.04
    gap_mm: float = 0.1
    smallest_mm2: float = 0.03
    largest_mm2: float = 60.0
    um_per_px: float = 42.0


@dataclass(frozen=True)
class LabelledScan:
    """A scan with its true boxes, (n, 4) float32, px at full resolution, half-open."""

    scan: ScanImage
    references: Sequence[ScanImage]
    registrations: Sequence[Registration]
    boxes: npt.NDArray[np.float32]


class BlobDetector:
    """A `Detector` that thresholds. On the difference it finds nothing with fewer than two usable references."""

    def __init__(self, settings: BlobSettings, *, threshold: float = 0.5) -> None:
        self.settings = settings
        self.info = DetectorInfo(
            name=f"blobs-{settings.source}",
            version=f"blobs-{settings.source}",
            taxa=(SOIL.find("Invertebrata").name,),
            um_per_px=settings.um_per_px,
            threshold=threshold,
            validation="none",
            settings={"algorithm": ALGORITHM, **vars(settings)},
        )

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """Blobs of one scan, best first; boxes in px of the scan at full resolution, clipped to it."""
        settings = self.settings
        windows = ModelInput(scan, references, registrations, settings.um_per_px)
        um_per_px = scan.um_per_px * windows.factor
        evidence = _contrast(windows, um_per_px, settings)
        gap = max(1, round(settings.gap_mm * 1000 / um_per_px))
        found = find_components(evidence, settings.contrast, settings.contrast, gap)
        area_mm2 = found.area * (um_per_px / 1000) ** 2
        found = found.select((area_mm2 >= settings.smallest_mm2) & (area_mm2 <= settings.largest_mm2))
        strength = found.total / found.area - settings.contrast + 1
        evidence_of = strength * np.sqrt(found.area)
        scores = (evidence_of / (evidence_of + 60)).astype(np.float32)
        best = np.argsort(-scores, kind="stable")
        best = best[scores[best] >= (self.info.threshold if threshold is None else threshold)]
        boxes = (found.boxes[best] * windows.factor).astype(np.float32)
        np.clip(boxes, 0, np.tile([scan.levels[0].width, scan.levels[0].height], 2), out=boxes)
        return Detections(boxes, scores[best], np.zeros(len(best), np.int64), self.info.taxa)


def _contrast(windows: ModelInput, um_per_px: float, settings: BlobSettings) -> npt.NDArray[np.float32]:
    """How far each pixel stands out of its surroundings, (h, w) float32, standard deviations of the scan's noise.

    The whole scan at once: at 42 um/px A4 is 35 MPix.
    """
    height, width = windows.height, windows.width
    grey = np.empty((height, width), np.float32)
    valid = np.empty((height, width), bool)
    for y0 in range(0, height, 512):
        window = windows.read(y0, min(y0 + 512, height), 0, width)
        colours = window[:3] if settings.source == "picture" else window[3:6]
        grey[y0 : y0 + 512] = cv2.cvtColor(np.ascontiguousarray(np.moveaxis(colours, 0, -1)), cv2.COLOR_RGB2GRAY)
        valid[y0 : y0 + 512] = window[6] > 0
    side = 2 * round(settings.ground_mm * 500 / um_per_px) + 1
    grey = cv2.GaussianBlur(grey, (0, 0), max(settings.smooth_mm * 1000 / um_per_px, 0.3))
    grey -= cv2.blur(grey, (side, side))
    noise = 1.4826 * float(np.median(np.abs(grey[::4, ::4]))) + 0.5
    grey /= noise
    if settings.polarity == "dark":
        grey = -grey
    elif settings.polarity == "both":
        grey = np.abs(grey)
    if settings.source == "difference":
        grey[~valid] = 0
    return grey


def tune_blobs(source: Source, training: Iterable[LabelledScan]) -> BlobDetector:
    """The best settings of a grid for average precision at IoU 0.5 on labelled scans, and its best threshold.

    Polarity and contrast are tried together, then the other settings one after the other, then contrast once more.
    Of equally good ones the first is taken.
    """
    scans = list(training)
    best, quality = BlobSettings(source), -1.0

    def try_each(candidates: Iterable[BlobSettings]) -> None:
        nonlocal best, quality
        for settings in candidates:
            reached = average_precision(_matches(settings, scans))
            if reached > quality:
                best, quality = settings, reached

    polarities: tuple[Polarity, ...] = ("bright", "dark", "both")
    pairs = itertools.product(polarities, (2.5, 3.5, 5.0, 7.0, 10.0))
    try_each([replace(best, polarity=polarity, contrast=contrast) for polarity, contrast in pairs])
    try_each([replace(best, ground_mm=value) for value in (1.0, 2.0, 6.0)])
    try_each([replace(best, gap_mm=value) for value in (0.0, 0.2, 0.4)])
    try_each([replace(best, smallest_mm2=value) for value in (0.01, 0.08, 0.2)])
    try_each([replace(best, smooth_mm=value) for value in (0.02, 0.08)])
    try_each([replace(best, contrast=best.contrast * value) for value in (0.8, 0.9, 1.1, 1.25)])
    return BlobDetector(best, threshold=best_threshold(_matches(best, scans))[0])


def _matches(settings: BlobSettings, scans: Sequence[LabelledScan]) -> Matches:
    """All blobs of the scans beside their labels, whatever their score."""
    detector = BlobDetector(settings)
    parts = []
    for labelled in scans:
        found = detector.detect(labelled.scan, labelled.references, labelled.registrations, threshold=0.0)
        found = found.select(np.arange(min(len(found), MOST)))
        parts.append(match(found, labelled.boxes, None, np.zeros(len(labelled.boxes), bool)))
    return pool(parts)
