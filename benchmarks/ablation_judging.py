"""What a detector of `ablation_runs` is worth, on test seasons or on validation seasons, kept as figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ablation_inputs import JUDGED, SEEDS, Plan, labels_of, samples_of
from ablation_runs import Run

from soilpipe.background import Registration, choose_references
from soilpipe.detect.base import Detections
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.evaluate import Evaluation, evaluate_detector
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.on_samples import of_sample
from soilpipe.detect.passes import PassName
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.tally import JudgedImage
from soilpipe.detect.validation import judge
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.tiles import ScanImage

SMALL_MM, LARGE_MM = (0.3, 0.45), (5.0, 30.0)
OFTEN = 3  # references with an animal at the same place, from which on their median shows it
ALARMS = 2.0  # false alarms a scan at which variants are compared, whatever their working thresholds allow


def judged_with(plan: Plan, judge_on: str) -> dict[str, Any]:
    """What figures depend on besides the weights: the seasons and scans that they and the working threshold are of."""
    return {
        "judge_on": judge_on,
        **{
            part: {"seed": SEEDS[part], "seasons": len(plan.specs(part)), "scans": len(plan.chosen(part))}
            for part in ("validation", *JUDGED[judge_on])
        },
    }


def figures_file(run: Run, plan: Plan, root: Path, judge_on: str) -> Path:
    """Where the figures go: those of validation seasons, on which settings are chosen, beside those of test seasons."""
    return run.folder(plan, root) / f"figures-{judge_on}.json"


def figures_of(run: Run, plan: Plan, root: Path, judge_on: str) -> dict[str, Any] | None:
    """What a finished run is worth; None before, and if it was judged on other scans or by fewer figures than now."""
    path = figures_file(run, plan, root, judge_on)
    figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    same = figures.get("judged_with") == judged_with(plan, judge_on)
    return figures if same and "recall_at_alarms" in figures else None


def validated(run: Run, plan: Plan, root: Path) -> CentrePointDetector:
    """The detector of a run at the working threshold that the plan's validation seasons choose; it is kept."""
    out = run.folder(plan, root)
    detector = _loaded(out)
    seasons = judged_with(plan, "validation")["validation"]
    if detector.card.get("validated_on") == seasons:
        return detector

    def detect(sample: Sample, threshold: float) -> Detections:
        return of_sample(detector, sample, threshold)

    judged = judge(detect, samples_of(plan, root, "validation", run.variant, half=run.half))
    card = {**detector.card, "validated_on": seasons}
    if judged is not None:
        card |= {"threshold": judged.threshold, "figures": judged.figures}
    save_detector(out, detector.network, card)
    return _loaded(out)


def _loaded(folder: Path) -> CentrePointDetector:
    detector = load_detector(folder)
    assert isinstance(detector, CentrePointDetector)
    return detector


class OnSamples:
    """A detector that is asked about scans and looks at their samples instead, which hold what its variant sees."""

    def __init__(self, detector: CentrePointDetector, samples: Sequence[Sample]) -> None:
        self._detector, self.info = detector, detector.info
        self._samples = {sample.image.file_name: sample for sample in samples}

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As a `Detector`; references are in the sample already."""
        return of_sample(self._detector, self._samples[str(scan.scan_id)], threshold)


class WithoutReferences:
    """A pass as it would be in a scan without references: no difference, and nothing that moved."""

    def __init__(self, whole: SamplePass, variant: str) -> None:
        self._whole, self._variant = whole, variant
        self.height, self.width, self.factor = whole.height, whole.width, whole.factor

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """As `SamplePass.read`."""
        window = self._whole.read(y0, y1, x0, x1)
        window[3:6], window[6] = 128, 0
        if self._variant == "mie":
            window[0] = 0
        return window


def without_references(sample: Sample, variant: str) -> Sample:
    """The sample of a scan that has no other of its scanner beside it."""
    passes: dict[PassName, Any] = {name: WithoutReferences(whole, variant) for name, whole in sample.passes.items()}
    return Sample(sample.image, passes, sample.um_per_px, 0)


def judge_run(run: Run, plan: Plan, root: Path, judge_on: str) -> dict[str, Any]:
    """Judge on test or validation seasons, with and without references, at the threshold of the validation seasons."""
    detector = validated(run, plan, root)
    field, rich = (_Judged.of(detector, run, plan, root, part) for part in JUDGED[judge_on])
    judged, alone = field.judged, field.alone
    figures = {
        "judged_with": judged_with(plan, judge_on),
        "ground": plan.generator(JUDGED[judge_on][0]),
        "variant": run.variant,
        "seed": run.seed,
        "version": detector.info.version,
        "threshold": detector.info.threshold,
        "train_seconds": detector.card["seconds"],
        "scans": judged.images,
        "animals": judged.any_taxon.animals,
        "ap50": judged.any_taxon.ap50,
        "ap": judged.any_taxon.ap,
        "ap50_moved_in": judged.moving.ap50,
        "ap50_resting": judged.resting.ap50,
        "precision": judged.precision,
        "recall": judged.recall,
        "f1": judged.f1,
        "count_error_relative": judged.count_error_relative,
        "ap50_without": alone.any_taxon.ap50,
        "recall_without": alone.recall,
        "f1_without": alone.f1,
        "rich_scans": rich.judged.images,
        "rich_animals": rich.judged.any_taxon.animals,
        "rich_ap50": rich.judged.any_taxon.ap50,
        "rich_ap50_without": rich.alone.any_taxon.ap50,
    }
    least = threshold_at(judged.judged, ALARMS)
    (there, found), (there_rich, found_rich) = field.recall_above(least, None), rich.recall_above(least, "often")
    there_often, found_often = field.recall_above(least, "often")
    there_often, found_often = there_often + there_rich, found_often + found_rich
    figures |= {
        "recall_at_alarms": found / there if there else None,
        "recall_often_at_alarms": found_often / there_often if there_often else None,
    }
    for name in ("often", "small", "large"):
        there, found, found_alone = (sum(values) for values in zip(field.recall(name), rich.recall(name), strict=True))
        figures |= {
            f"animals_{name}": there,
            f"recall_{name}": found / there if there else None,
            f"recall_{name}_without": found_alone / there if there else None,
        }
    figures_file(run, plan, root, judge_on).write_text(json.dumps(figures, indent=1) + "\n")
    return figures


@dataclass(frozen=True)
class _Judged:
    """One part as a detector sees it, with its references and without; `wanted`: by name, for each scan which of its
    animals are meant, (n,) bool."""

    judged: Evaluation
    alone: Evaluation
    wanted: dict[str, list[np.ndarray]]

    @classmethod
    def of(cls, detector: CentrePointDetector, run: Run, plan: Plan, root: Path, part: str) -> _Judged:
        """Judge on one part's seasons, on the scans of it that are samples."""
        samples = samples_of(plan, root, part, run.variant, half=run.half)
        labels, images = labels_of(plan, root, part)
        judged, alone = (
            evaluate_detector(
                OnSamples(detector, seen), labels, images, where=plan.is_sample_of(part), difference=False
            )
            for seen in (samples, [without_references(sample, run.variant) for sample in samples])
        )
        wanted = {
            "often": [there >= OFTEN for there in references_showing(samples, read_labels(labels, images).images)],
            "small": [_long(image.boxes, image.um_per_px, SMALL_MM) for image in judged.judged],
            "large": [_long(image.boxes, image.um_per_px, LARGE_MM) for image in judged.judged],
        }
        return cls(judged, alone, wanted)

    def recall(self, name: str) -> tuple[int, int, int]:
        """How many such animals there are, how many are found at work, and how many without references."""
        masks = self.wanted[name]
        found, found_alone = (
            sum(int(((image.found_by() >= 0) & mask).sum()) for image, mask in zip(one.judged, masks, strict=True))
            for one in (self.judged, self.alone)
        )
        return sum(int(mask.sum()) for mask in masks), found, found_alone

    def recall_above(self, least: float, name: str | None) -> tuple[int, int]:
        """How many such animals there are (all for None), and how many have a detection of `least` or more."""
        masks = self.wanted[name] if name else [np.ones(len(image.boxes), bool) for image in self.judged.judged]
        found = 0
        for image, mask in zip(self.judged.judged, masks, strict=True):
            took = image.matched[(image.matched >= 0) & (image.scores >= least)]
            found += int(mask[took].sum())
        return sum(int(mask.sum()) for mask in masks), found


def threshold_at(images: Sequence[JudgedImage], alarms: float) -> float:
    """The lowest score down to which there are no more than so many false alarms an image, on average: the other way to
    compare detectors, since one whose threshold lets more pass finds more of anything."""
    wrong = np.sort(np.concatenate([image.scores[image.matched < 0] for image in images]))[::-1]
    allowed = int(alarms * len(images))
    return float(np.nextafter(wrong[allowed], np.float32(1))) if len(wrong) > allowed else 0.0


def references_showing(samples: Sequence[Sample], images: Sequence[LabelledImage]) -> list[np.ndarray]:
    """For each scan, in the order of judging, in how many of its references (6, 24, 48, 72 hours) each animal sits at
    this very place, (n,) int64. The same for all variants, so that they are compared on the same animals. images: all
    scans, since a reference need not be a sample."""
    counts = []
    for sample in samples:
        mine = [image for image in images if image.scanner_id == sample.image.scanner_id]
        times = {image.file_name: image.captured_at for image in mine if image.captured_at is not None}
        order = sorted(times, key=lambda name: times[name])
        here = order.index(sample.image.file_name)
        chosen = choose_references(times[sample.image.file_name], list(times.items()))
        back = np.array([here - order.index(name) for name in chosen], np.int64)
        counts.append((back[None, :] <= sample.image.scans_present[:, None]).sum(axis=1))
    return counts


def _long(boxes: np.ndarray, um_per_px: float, limits: tuple[float, float]) -> np.ndarray:
    """(n,) bool: animals whose longer side of the box, mm, is at least the one limit and below the other."""
    length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) * um_per_px / 1000
    return np.asarray((length >= limits[0]) & (length < limits[1]))
