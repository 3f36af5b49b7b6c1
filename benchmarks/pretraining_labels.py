"""Scratch against pretrained at 10, 50 and 100 % of the labels, at equal total compute.

For each seed, and each share of the labelled images:

scratch                a detector trained from nothing, for as many steps as were asked for
pretrained             half of those seconds go into pretraining on all images without their labels, the other half into
                       the detector that begins from it
supervised             a detector that begins from the encoder of the one that comes with the package, which was trained
                       on simulated labels; what that cost is not counted
supervised+pretrained  what a project's refresh does: pretraining goes on from that encoder, for the same half of the
                       seconds, and the detector begins from what comes of it

With `--uncounted` also what these two are worth to a project, whose weekly refresh has been paid for when somebody
comes to label: pretrained-uncounted and supervised+pretrained-uncounted are trained for as many steps as scratch is,
from the same encoders. They have had half as many seconds again and compare with nothing at equal compute.

All of it at the µm/px of the detector that comes with the package: an encoder is worth little at a scale it never saw.
AP50 of any taxon. A classifier is fitted on the same labels, twice. Once with the encoder of each arm's detector as it
is trained, for which all arms have had the same seconds; and once with the encoder that the detector began from, as a
refresh does: the pretrained one, which has had half of them and no label, or the package's, which has had none here.
Macro-F1 over the classes that are there (of Sticky-Pi they are two: insects and what is none). Taxa with too few
examples count as those above them, so fewer labels make fewer and easier classes: arms compare, shares do not.

Seasons and scanners are others for each seed, so the spread over seeds is that of training and of what was drawn. Two
scanners test (of Sticky-Pi's seven devices too), two others (one of Sticky-Pi) validate, and nobody learns from either
kind, labels or not. Nothing is chosen within a run. What a person chooses (steps, batch, method) is to be chosen with
`--judge-on validation` (and whether `--posterise` helps, which makes flat colours of what is translucent, and is
off in a refresh); the test scanners are for once, in the end. Seconds a step are measured before anything is
compared, once for a folder. What is finished stays in the folder: a run that was stopped goes on, and two may share the
seeds.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretraining_data import UM_PER_PX, Data, ScanCrops, data_of
from pretraining_labels_report import ARMS, OF_DETECTOR, OF_START, UNCOUNTED, report

from soilpipe.classify.evaluation import evaluate
from soilpipe.classify.examples import ClassifierError
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.training import train_classifier
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.labelled import LabelError, Where
from soilpipe.detect.sizes import MEDIUM
from soilpipe.detect.starting import Start
from soilpipe.detect.training import Progress, train_detector
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import encoder_of_detector, load_encoder
from soilpipe.pretrain.learning import crops_per_second, pretrain
from soilpipe.pretrain.learning_recipe import PretrainRecipe
from soilpipe.taxonomy import SOIL

__all__ = ["labels", "report"]
PRETRAINED = ("pretrained", "supervised+pretrained")
SHARE = 0.5
"""Of the seconds, what goes into pretraining."""
SETTINGS = "settings.json"
THAT_MATTER = (
    *("size", "detector_steps", "batch", "seasons", "season_scans", "season_side", "crops_a_scan", "window"),
    "posterise",
)
"""What all rows of a folder must have in common."""
BEFORE: dict[str, Any] = {"posterise": 0.0, "clock": "wall"}
"""Settings that the folders of earlier releases do not tell."""


CLOCKS = {"wall": time.perf_counter, "cores": time.process_time}


@dataclass(frozen=True)
class Seconds:
    """What a step costs here: of the detector, and of pretraining."""

    detector: float
    pretraining: float


def measure(data: Data, crops: ScanCrops, folder: Path, arguments: Namespace) -> Seconds:
    """Time some steps of both; what an earlier run measured in this folder stands.

    On a CPU it is the cores' own seconds that count: other work on the machine must not decide who gets how many steps.
    """
    kept = folder / "seconds.json"
    if kept.exists():
        return Seconds(**json.loads(kept.read_text()))
    clock = CLOCKS[clock_of(arguments)]
    told: list[tuple[int, float]] = []

    def saw(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        if stage == "training":
            told.append((done, clock()))

    names, steps = frozenset(data.training_names()), 3 * arguments.timed
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        _train(data, names, Path(passing) / "timed", steps, 0, None, arguments, progress=saw)
    (first, began), (last, ended) = told[0], told[-1]
    recipe = PretrainRecipe(batch=arguments.batch, posterise=arguments.posterise)
    rate = crops_per_second(
        crops, size=arguments.size, recipe=recipe, device=arguments.device, steps=arguments.timed, clock=clock
    )
    seconds = Seconds((ended - began) / (last - first), arguments.batch / rate)
    with contextlib.suppress(FileExistsError), kept.open("x") as file:  # whoever shares the seeds may have been first
        file.write(json.dumps(asdict(seconds)) + "\n")
    return Seconds(**json.loads(kept.read_text()))


def clock_of(arguments: Namespace) -> str:
    """By which a step's seconds are measured."""
    return "wall" if arguments.device != "cpu" and torch.cuda.is_available() else "cores"


def labels(arguments: Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """One row a seed, share of the labels and arm."""
    check_settings(folder, arguments)
    arms = arms_of(arguments)
    for seed in arguments.only_seeds or range(arguments.seeds):
        data = data_of(seed, folder, arguments)
        crops = ScanCrops(data, arguments.window, arguments.crops_a_scan, seed)
        seconds = measure(data, crops, folder, arguments)
        pre_steps = max(1, round(SHARE * arguments.detector_steps * seconds.detector / seconds.pretraining))
        print(
            f"seed {seed}: {len(crops)} crops without labels; a step costs {seconds.detector:.3f} s of the detector, "
            f"{seconds.pretraining:.3f} s of pretraining: {arguments.detector_steps} steps, or "
            f"{detector_steps('pretrained', arguments)} after {pre_steps} of pretraining; test "
            f"{', '.join(sorted(data.test))}, validation {', '.join(sorted(data.validation))}",
            flush=True,
        )
        for arm in arms:
            if arm in PRETRAINED:
                _pretrain(arm, seed, crops, pre_steps, folder, arguments)
        names = data.training_names()
        order = np.random.default_rng([seed, 11]).permutation(len(names))
        for share in arguments.shares:
            count = max(2, round(share * len(names)))
            chosen = frozenset(names[row] for row in order[:count])
            for arm in arms:
                row = folder / f"{arm}-{seed}-{share:g}-{arguments.judge_on}.json"
                if not row.exists() or OF_DETECTOR not in json.loads(row.read_text()):  # figures of an earlier release
                    figures = worth(arm, seed, share, data, chosen, folder, arguments) | {
                        "pretraining_steps": pre_steps
                    }
                    row.write_text(json.dumps(figures) + "\n")
                yield json.loads(row.read_text())


def check_settings(folder: Path, arguments: Namespace) -> None:
    """Rows made with other settings, or at another scale, are not mixed with these."""
    settings = {name: getattr(arguments, name) for name in THAT_MATTER}
    settings |= {"um_per_px": UM_PER_PX, "stickypi": arguments.stickypi is not None, "clock": clock_of(arguments)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    if not path.exists():
        if any(folder.glob("*.json")):
            raise SystemExit(f"{folder} holds figures of an earlier release, at another scale. Take another --folder")
        path.write_text(json.dumps(settings, indent=1) + "\n")
    kept = BEFORE | json.loads(path.read_text())
    if kept != settings:
        others = ", ".join(
            f"{name} {kept.get(name)} (now {value})" for name, value in settings.items() if kept.get(name) != value
        )
        raise SystemExit(f"{folder} was begun with {others}. Go on with the same, or take another --folder")


def arms_of(arguments: Namespace) -> tuple[str, ...]:
    """Those that are asked for. The detector of the package is of one size, and so is what begins from it."""
    arms = ARMS if arguments.size == MEDIUM else ARMS[:2]
    return (*arms, *(f"{arm}{UNCOUNTED}" for arm in arms if arm in PRETRAINED and arguments.uncounted))


def detector_steps(arm: str, arguments: Namespace) -> int:
    """Steps of the detector of an arm: what pretraining took is taken off."""
    return max(1, round((1 - SHARE if arm in PRETRAINED else 1) * arguments.detector_steps))


def backbone_of(arm: str, seed: int, folder: Path) -> Path | None:
    """What the detector of an arm begins from."""
    arm = arm.removesuffix(UNCOUNTED)
    return None if arm == "scratch" else SHIPPED if arm == "supervised" else folder / f"{arm}-{seed}"


def _pretrain(arm: str, seed: int, crops: ScanCrops, steps: int, folder: Path, arguments: Namespace) -> None:
    out = backbone_of(arm, seed, folder)
    assert out is not None
    if (out / "card.json").exists():
        return
    start = encoder_of_detector(SHIPPED, arguments.device) if arm == "supervised+pretrained" else None
    recipe = PretrainRecipe(steps=steps, batch=arguments.batch, posterise=arguments.posterise, seed=seed)
    size, device = arguments.size, arguments.device
    pretrain(crops, out, size=size, start=start, recipe=recipe, um_per_px=UM_PER_PX, device=device)


def worth(
    arm: str, seed: int, share: float, data: Data, chosen: frozenset[str], folder: Path, arguments: Namespace
) -> dict[str, Any]:
    """One detector and one classifier, trained on the chosen images and judged on the scanners that were asked for."""
    out = folder / f"{arm}-{seed}-{share:g}"
    if not (out / "card.json").exists():
        _train(data, chosen, out, detector_steps(arm, arguments), seed, backbone_of(arm, seed, folder), arguments)
    where = data.judges(arguments.judge_on)
    found = evaluate_detector(load_detector(out, device=arguments.device), data.labels, data.images, where=where)
    trained = encoder_of_detector(out, arguments.device)
    of_start = _classifiers_worth(data, chosen, where, _start_of(arm, seed, folder, arguments), folder)
    of_detector = _classifiers_worth(data, chosen, where, trained, folder)
    return {
        "seed": seed,
        "share": share,
        "images": len(chosen),
        "arm": arm,
        "judged_on": arguments.judge_on,
        "posterise": arguments.posterise,
        "detector_steps": detector_steps(arm, arguments),
        "ap50": found.any_taxon.ap50,
        OF_DETECTOR: of_detector.macro_f1,
        OF_START: of_start.macro_f1,
        "classes": of_detector.classes,
        "crops_judged": of_detector.crops,
        "crops_left_out": of_detector.left_out,
    }


def _train(
    data: Data,
    names: frozenset[str],
    out: Path,
    steps: int,
    seed: int,
    backbone: Path | None,
    arguments: Namespace,
    progress: Progress | None = None,
) -> None:
    start = Start(arguments.size, None, backbone)
    train_detector(
        data.labels,
        data.images,
        out,
        taxonomy=SOIL,
        single_class=True,
        where=lambda image: image.file_name in names,
        val_scanners=(),
        um_per_px=UM_PER_PX,
        recipe=start.recipe(steps=steps, seed=seed),
        size=arguments.size,
        backbone=backbone,
        device=arguments.device,
        progress=progress,
    )


def _start_of(arm: str, seed: int, folder: Path, arguments: Namespace) -> Encoder | None:
    """The encoder that the detector of an arm began from, before it saw a label here. Where pretraining is not counted
    it is that of the arm where it is, and is judged there."""
    backbone = None if arm.endswith(UNCOUNTED) else backbone_of(arm, seed, folder)
    if backbone is None:
        return None
    load = load_encoder if arm in PRETRAINED else encoder_of_detector
    return load(backbone, arguments.device)


@dataclass(frozen=True)
class Worth:
    """Of a classifier on `crops` of its `classes`; `left_out`: crops of other taxa. macro_f1: None without one."""

    macro_f1: float | None = None
    classes: int = 0
    crops: int = 0
    left_out: int = 0


def _classifiers_worth(data: Data, names: frozenset[str], where: Where, encoder: Encoder | None, folder: Path) -> Worth:
    """On the judging scanners; nothing without an encoder, and where the labels are too few, or of no known taxon."""
    if encoder is None:
        return Worth()
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        out = Path(passing) / "classifier"
        try:
            train_classifier(
                data.labels,
                data.images,
                out,
                encoder=encoder,
                taxonomy=SOIL,
                where=lambda image: image.file_name in names,
            )
            judging = only(read_labels(data.labels, data.images), where)
            classifier = load_classifier(out)
            figures = evaluate(classifier, labelled_crops(judging, encoder, taxonomy=SOIL), SOIL)
        except (ClassifierError, LabelError) as error:
            print(f"no classifier: {error}", flush=True)
            return Worth()
    return Worth(figures.macro_f1, len(classifier.classes), figures.crops, figures.left_out)
