"""Figures on images that were held back from training, and the working thresholds that suit them best."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample
from soilpipe.detect.scoring import (
    Matches,
    average_precision,
    best_threshold,
    match,
    pool,
    precision_recall_f1,
    threshold_of_best_f1,
)
from soilpipe.detect.thresholds import at_work

LOWEST = 0.02  # score from which detections are judged
ENOUGH = 50  # animals of a taxon in validation from which it gets a threshold of its own
LOOK_PIXELS = 40_000_000  # of the fine pass: so much is looked at on the way; the final figures are of all images
LENGTHS_MM = (0.0, 0.3, 0.45, 0.7, 1.0, 2.0, 4.0, 8.0, 30.0)  # borders of the classes of size


Judge = Callable[[Sample, float], Detections]
"""What detects on a sample, from a score on, best first; boxes in px of full resolution."""


@dataclass(frozen=True)
class Judged:
    """The threshold that `best_threshold` chooses (any taxon counts as a hit), that of the best F1, those of taxa with
    enough animals, and figures.
    """

    threshold: float
    threshold_best_f1: float
    figures: dict[str, Any]
    thresholds: dict[str, float] = field(default_factory=dict)


def for_looks(samples: Sequence[Sample]) -> list[Sample]:
    """The validation samples that are looked at on the way: evenly chosen, about LOOK_PIXELS; none without animals."""
    total = sum(sample.passes["fine"].pixels[0].size for sample in samples)
    chosen = list(samples[:: max(1, -(-total // LOOK_PIXELS))])
    for some in (chosen, list(samples)):
        if _has_animals(some):
            return some
    return []


def look(detect: Judge, samples: Sequence[Sample]) -> dict[str, float]:
    """`score`, by which the best weights are kept: the mean of `AP50` (any taxon) and of AP50 with the right taxon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has learned little may answer everywhere
        animals, taxa = _matches(samples, [detect(sample, LOWEST) for sample in samples])
    ap50 = average_precision(pool(animals))
    return {"score": (ap50 + average_precision(pool(taxa))) / 2, "AP50": ap50}


def judge(detect: Judge, samples: Sequence[Sample]) -> Judged | None:
    """Detect on samples that were not trained on; None when there are none, or none with an animal."""
    if not _has_animals(samples):
        return None
    found = [detect(sample, LOWEST) for sample in samples]
    animals, _ = _matches(samples, found)
    pooled = pool(animals)
    threshold, _ = best_threshold(pooled)
    of_best_f1, _ = threshold_of_best_f1(pooled)
    thresholds = _thresholds(samples, found)
    kept = [at_work(some, threshold, thresholds) for some in found]
    animals, taxa = _matches(samples, kept)
    precision, recall, f1 = precision_recall_f1(pool(animals), 0.0)
    figures = {
        "images": len(samples),
        "animals": pooled.truths,
        "ap50_any_taxon": round(average_precision(pooled), 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(f1, 4),
        "f1_with_taxon": round(precision_recall_f1(pool(taxa), 0.0)[2], 4),
        "count_error_per_image": round(_count_error(animals), 3),
        "recall_by_mm": _recall_by_mm(samples, kept),
        **_false_alarms(samples, animals),
    }
    return Judged(threshold, of_best_f1, figures, thresholds)


def _has_animals(samples: Sequence[Sample]) -> bool:
    return any(bool((~sample.image.crowd).any()) for sample in samples)


def _matches(samples: Sequence[Sample], found: Sequence[Detections]) -> tuple[list[Matches], list[Matches]]:
    """Per image: matches where any taxon will do, and with the right one."""
    pairs = list(zip(samples, found, strict=True))
    return (
        [match(ours, sample.image.boxes, None, sample.image.crowd) for sample, ours in pairs],
        [match(ours, sample.image.boxes, sample.image.labels, sample.image.crowd) for sample, ours in pairs],
    )


def _count_error(parts: Sequence[Matches]) -> float:
    """Mean absolute difference between what was claimed and what is there, per image."""
    return float(np.mean([abs(int((~part.ignored).sum()) - part.truths) for part in parts]))


def _thresholds(samples: Sequence[Sample], found: Sequence[Detections]) -> dict[str, float]:
    """The threshold of each taxon that has ENOUGH animals, where there are several taxa."""
    taxa = found[0].taxa
    if len(taxa) < 2:
        return {}
    chosen = {}
    for label, taxon in enumerate(taxa):
        parts = []
        for sample, ours in zip(samples, found, strict=True):
            image = sample.image
            mine = (image.labels == label) | image.crowd
            parts.append(match(ours.select(ours.labels == label), image.boxes[mine], None, image.crowd[mine]))
        pooled = pool(parts)
        if pooled.truths >= ENOUGH:
            chosen[taxon] = best_threshold(pooled)[0]
    return chosen


def _recall_by_mm(samples: Sequence[Sample], kept: Sequence[Detections]) -> list[dict[str, Any]]:
    """For each class of length (longest side of the box, mm; from included, to left out) that has animals: recall."""
    classes = []
    for least, most in zip(LENGTHS_MM, (*LENGTHS_MM[1:-1], float("inf")), strict=False):
        truths = right = 0
        for sample, ours in zip(samples, kept, strict=True):
            image = sample.image
            length = (image.boxes[:, 2:] - image.boxes[:, :2]).max(axis=1, initial=0) * sample.um_per_px / 1000
            here = (length >= least) & (length < most) & ~image.crowd
            matched = match(ours, image.boxes, None, ~here)
            truths += matched.truths
            right += int(matched.correct.sum())
        if truths:
            upper = None if most == float("inf") else most
            classes.append({"from_mm": least, "to_mm": upper, "animals": truths, "recall": round(right / truths, 4)})
    return classes


def _false_alarms(samples: Sequence[Sample], animals: Sequence[Matches]) -> dict[str, Any]:
    """False alarms at the thresholds, per 100 cm2: of images with nothing in them, and of all; areas in cm2."""
    wrong = [int((~part.correct & ~part.ignored).sum()) for part in animals]
    areas = [sample.image.width * sample.image.height * (sample.um_per_px / 1e4) ** 2 for sample in samples]
    empty = [not len(sample.image.boxes) for sample in samples]
    empty_cm2 = sum(area for area, nothing in zip(areas, empty, strict=True) if nothing)
    of_empty = sum(count for count, nothing in zip(wrong, empty, strict=True) if nothing)
    return {
        "empty_cm2": round(empty_cm2, 2),
        "false_alarms_per_100cm2_empty": round(100 * of_empty / empty_cm2, 3) if empty_cm2 else None,
        "false_alarms_per_100cm2": round(100 * sum(wrong) / sum(areas), 3),
    }
