"""One detector of `ablation.py`: trained on one variant with one seed, judged on the test seasons, kept as figures."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_crops import drawn_alike, lighting_of
from ablation_inputs import Plan, labels_of, samples_of

from soilpipe.background import Registration, choose_references
from soilpipe.detect.base import Detections
from soilpipe.detect.checkpoint import Checkpoints, forget
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.evaluate import Evaluation, evaluate_detector
from soilpipe.detect.fitting import fit
from soilpipe.detect.network import Head
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.starting import Start, make_learner
from soilpipe.detect.tally import JudgedImage
from soilpipe.detect.training import BORDER_TOLERANCE, DEFAULT_THRESHOLD, UM_PER_PX, border_mm
from soilpipe.detect.validation import judge
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.taxonomy import ROOT
from soilpipe.tiles import ScanImage

SMALL_MM, LARGE_MM = (0.3, 0.45), (5.0, 30.0)
COARSE_SHARE = 0.35  # of the crops: from 3 mm on (half scale) animals are of that pass
OFTEN = 3  # references with an animal at the same place, from which on their median shows it
ALARMS = 2.0  # false alarms a test scan at which variants are compared, whatever their working thresholds allow


@dataclass(frozen=True)
class Run:
    """One training. `light`: how far the light of crops is changed (`Recipe.light`), the same for all variants. `half`:
    at half the scale."""

    variant: str
    seed: int
    steps: int
    batch: int
    light: float
    half: bool = False

    @property
    def um_per_px(self) -> float:
        """Of the fine pass."""
        return UM_PER_PX * (2 if self.half else 1)

    def folder(self, plan: Plan, root: Path) -> Path:
        """Where its weights and figures go."""
        told = f"{plan.train_on}-{plan.seasons}-seasons-{self.steps}x{self.batch}{'-half' if self.half else ''}"
        return root / "runs" / told / f"{self.variant}-{self.seed}"


def figures_of(run: Run, plan: Plan, root: Path) -> dict[str, Any] | None:
    """What a finished run is worth; None before, and where it was judged by fewer figures than now."""
    path = run.folder(plan, root) / "figures.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    return figures if "recall_at_alarms" in figures else None


def train(run: Run, plan: Plan, root: Path) -> None:
    """Train unless its weights are there; a training that was interrupted goes on where it was."""
    out = run.folder(plan, root)
    if (out / "card.json").exists():
        return
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples, differences = (
        samples_of(plan, root, "train", variant, half=run.half) for variant in (run.variant, "difference")
    )
    samples = drawn_alike(samples, differences)
    del differences
    animals = sum(len(sample.image.boxes) for sample in samples)
    print(f"{run.variant}, seed {run.seed}: {len(samples)} scans, {animals} animals to learn from", flush=True)
    recipe = Start().recipe(steps=run.steps, batch=run.batch, light=run.light, seed=run.seed, coarse_share=COARSE_SHARE)
    learner = make_learner(Start(), (ROOT,), device, run.seed)

    def told(done: int, of: int, losses: Any) -> None:
        if (done - 1) % 250 == 0 or done == of:
            values = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{time.monotonic() - began:6.0f} s  step {done} of {of}  {values}", flush=True)

    fitted = fit(
        samples,
        learner,
        run.um_per_px,
        recipe,
        border_mm=border_mm(run.um_per_px),
        tolerance=BORDER_TOLERANCE,
        device=device,
        lighting=lighting_of(run.variant),
        checkpoints=Checkpoints(out / "work", {"run": asdict(run), "on": [plan.train_on, plan.seasons]}),
        resume=True,
        progress=told,
    )
    card: dict[str, Any] = {
        "name": f"{run.variant}-{run.seed}",
        "taxa": [ROOT],
        "um_per_px": run.um_per_px,
        "threshold": DEFAULT_THRESHOLD,
        "validation": "none",
        "heads": list(fitted.heads),
        "border_mm": border_mm(run.um_per_px),
        "border_tolerance": BORDER_TOLERANCE,
        "difference": run.variant in ("difference", "nearest"),
        "architecture": fitted.network.architecture,
        "recipe": {**asdict(recipe), "ema": recipe.decay},
    }
    detector = CentrePointDetector(fitted.network, card, device=device)

    def detect(sample: Sample, threshold: float) -> Detections:
        return of_sample(detector, sample, threshold)

    judged = judge(detect, samples_of(plan, root, "validation", run.variant, half=run.half))
    if judged is not None:
        card |= {"threshold": judged.threshold, "figures": judged.figures}
    card["seconds"] = round(time.monotonic() - began, 1)
    save_detector(out, fitted.network, card)
    forget(out / "work")


def of_sample(detector: CentrePointDetector, sample: Sample, threshold: float | None) -> Detections:
    """What a detector finds in a sample, boxes in px of full resolution."""
    passes = {head: sample.passes[head] for head in detector.scales()}
    image = sample.image
    return detector.detect_windows(passes, image.height, image.width, sample.um_per_px, threshold=threshold)


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
    passes: dict[Head, Any] = {head: WithoutReferences(whole, variant) for head, whole in sample.passes.items()}
    return Sample(sample.image, passes, sample.um_per_px, 0)


def judge_run(run: Run, plan: Plan, root: Path) -> dict[str, Any]:
    """Judge on the test seasons, with and without references, at the threshold that validation seasons chose."""
    out = run.folder(plan, root)
    detector = load_detector(out)
    assert isinstance(detector, CentrePointDetector)
    field, rich = (_Judged.of(detector, run, plan, root, part) for part in ("test", "rich"))
    judged, alone = field.judged, field.alone
    figures = {
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
    figures |= {
        "recall_at_alarms": found / there,
        "recall_often_at_alarms": (found_often + found_rich) / (there_often + there_rich),
    }
    for name in ("often", "small", "large"):
        there, found, found_alone = (sum(values) for values in zip(field.recall(name), rich.recall(name), strict=True))
        figures |= {
            f"animals_{name}": there,
            f"recall_{name}": found / there if there else None,
            f"recall_{name}_without": found_alone / there if there else None,
        }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
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
        """Judge on the test or the rich seasons."""
        samples = samples_of(plan, root, part, run.variant, half=run.half)
        labels, images = labels_of(plan, root, part)
        judged, alone = (
            evaluate_detector(OnSamples(detector, seen), labels, images, difference=False)
            for seen in (samples, [without_references(sample, run.variant) for sample in samples])
        )
        wanted = {
            "often": [there >= OFTEN for there in references_showing(samples)],
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


def references_showing(samples: Sequence[Sample]) -> list[np.ndarray]:
    """For each scan, in the order of judging, in how many of its references (6, 24, 48, 72 hours) each animal sits at
    this very place, (n,) int64. The same for all variants, so that they are compared on the same animals."""
    counts = []
    for sample in samples:
        mine = [other.image for other in samples if other.image.scanner_id == sample.image.scanner_id]
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
