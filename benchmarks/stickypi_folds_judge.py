"""What the folds' detectors found, judged: a table a seed, and over the seeds means, spread and targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.background import Registration
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.coco import LabelledImage, LabelSet
from soilpipe.detect.evaluate import LOWEST, evaluate_detector
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.scoring import Matches, best_threshold, match, pool
from soilpipe.tiles import ScanImage

AP50_TARGET, CENTRE_F1_TARGET, COUNT_TARGET = 0.78, 0.85, 0.15
MINUTES_TARGET, SEEDS_TARGET = 60, 3
NEED_THRESHOLDS = ("precision", "recall", "f1", "centre_f1", "count_error", "count_bias")
"""Figures of claims, which a single device cannot give: nothing but its own labels could choose its threshold."""
TOLD = ("ap50", "ap75", "ap", *NEED_THRESHOLDS)


class Answered:
    """Detections that are known already, as a detector: those of each image at or above its own threshold."""

    def __init__(self, info: DetectorInfo, found: dict[str, Detections], least: dict[str, float]) -> None:
        self.info = replace(info, threshold=LOWEST)
        self._found, self._least = found, least

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As `soilpipe.detect.base.Detector`."""
        name = scan.scan_id or ""
        found = self._found[name]
        return found.select(found.scores >= self._least.get(name, 0.0))


def matches_of(given: LabelSet, found: dict[str, Detections]) -> dict[str, Matches]:
    """Each image's detections beside its labels, at IoU 0.5."""
    return {image.file_name: match(found[image.file_name], image.boxes, None, image.crowd) for image in given.labelled}


def thresholds_of(matches: dict[str, Matches], device_of: dict[str, str]) -> dict[str, float]:
    """The threshold of each device, by the photographs of the others; empty where there are no others."""
    devices = sorted({device_of[name] for name in matches})
    if len(devices) < 2:
        return {}
    return {
        device: best_threshold(pool([matches[name] for name in matches if device_of[name] != device]))[0]
        for device in devices
    }


def is_of(devices: Sequence[str], image: LabelledImage) -> bool:
    """Whether an image is labelled, and of one of the devices."""
    return image.labelled and image.scanner_id in devices


def judged(
    given: LabelSet, found: dict[str, Detections], info: DetectorInfo, labels: Path, images: Path
) -> dict[str, Any]:
    """The figures of one seed, its table printed. given: the labels judged on; found: all detections, by image.

    Figures that need thresholds are None where there is a single device.
    """
    device_of = {image.file_name: image.scanner_id or "" for image in given.labelled}
    devices = sorted(set(device_of.values()))
    matches = matches_of(given, found)
    thresholds = thresholds_of(matches, device_of)

    def evaluated(devices: Sequence[str], least: dict[str, float]) -> Evaluation:
        answered = Answered(info, found, least)
        return evaluate_detector(answered, labels, images, where=partial(is_of, devices), difference=False)

    ranked = evaluated(devices, {})
    print(f"\n{'device':10s} {'images':>6s} {'labels':>6s} {'AP50':>6s} {'found':>6s} {'thr.':>5s}")
    for device in devices:
        names = [name for name in found if device_of[name] == device]
        count = sum(len(image.boxes) for image in given.labelled if image.file_name in names)
        ap50 = evaluated([device], {}).any_taxon.ap50 or 0.0
        claims = f"{'-':>6s} {'-':>5s}"
        if thresholds:
            claimed = sum(int((found[name].scores >= thresholds[device]).sum()) for name in names)
            claims = f"{claimed:6d} {thresholds[device]:5.2f}"
        print(f"{device:10s} {len(names):6d} {count:6d} {ap50:6.3f} {claims}")
    figures: dict[str, Any] = {
        "ap50": ranked.any_taxon.ap50,
        "ap75": ranked.any_taxon.ap75,
        "ap": ranked.any_taxon.ap,
        "intervals": {key: ranked.intervals.get(key) for key in ("ap50", "ap75", "ap")},
        "thresholds": thresholds,
        **dict.fromkeys(NEED_THRESHOLDS),
    }
    if thresholds:
        least = {name: thresholds[device_of[name]] for name in found}
        at_work = evaluated(devices, least)
        truths = np.array([len(image.boxes) for image in given.labelled])
        claims_of = [int((found[name].scores >= least[name]).sum()) for name in device_of]
        best, best_f1 = best_threshold(pool([*matches.values()]))
        figures |= {
            "precision": at_work.precision,
            "recall": at_work.recall,
            "f1": at_work.f1,
            "centre_f1": at_work.centre_f1,
            "count_error": float(np.abs(np.array(claims_of) - truths).sum() / truths.sum()),
            "count_bias": float(sum(claims_of) / truths.sum() - 1),
            "f1_of_one_threshold": best_f1,
            "best_threshold": best,
        }
        print(f"F1 of the best one threshold {best_f1:.3f} at {best:.2f}")
    print(f"95 % of AP50: {figures['intervals']['ap50']}")
    return figures


def report(rows: list[dict[str, Any]], devices: int, of: int) -> None:
    """Means over the seeds with their standard deviation, and whether they are what is asked for."""
    few = f" (asked of {SEEDS_TARGET} seeds or more)" if len(rows) < SEEDS_TARGET else ""
    print(f"\n{devices} of {of} devices, seeds {', '.join(str(row['seed']) for row in rows)}{few}")
    for key in TOLD:
        print(f"{key:14s} {_mean_and_spread([row[key] for row in rows])}")
    for key, what, target, most in (
        ("ap50", "AP50", AP50_TARGET, False),
        ("centre_f1", "centre F1", CENTRE_F1_TARGET, False),
        ("count_error", "count error", COUNT_TARGET, True),
    ):
        values = [row[key] for row in rows]
        if None in values:
            print(f"{what}: not judged, it takes two devices or more: a threshold is chosen by the others' photographs")
            continue
        mean = statistics.mean(values)
        met = mean <= target if most else mean >= target
        print(f"{what}: {_mean_and_spread(values)}, {'met' if met else 'MISSED'}")
    minutes = [seconds / 60 for row in rows for seconds in row["seconds"].values()]
    over = sum(one > MINUTES_TARGET for one in minutes)
    print(
        f"longest of {len(minutes)} trainings: {max(minutes):.1f} min, at most {MINUTES_TARGET}: "
        f"{'met' if not over else f'MISSED by {over}'}"
    )


def _mean_and_spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.3f}" + (f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else "")
