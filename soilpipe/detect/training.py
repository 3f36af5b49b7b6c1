"""Training a detector from labelled images: one function, from a COCO file to a folder with weights and a card."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soilpipe.detect.coco import (
    LabelError,
    LabelledImage,
    LabelSet,
    Where,
    is_background,
    only,
    read_labels,
    taxa_with_examples,
    with_taxa,
)
from soilpipe.detect.dataset import Sample, build_samples, um_per_px_of
from soilpipe.detect.fitting import Fitted, Recipe, TrainingError, fit
from soilpipe.detect.split import Split, split_labels
from soilpipe.detect.validation import Judged, judge
from soilpipe.detect.weights import read_card, save_detector
from soilpipe.taxonomy import ROOT, SOIL, Taxonomy

__all__ = ["Recipe", "TrainingError", "train_detector"]

BORDER_MM = 4.0  # animals this long or longer are found by the coarse pass
BORDER_TOLERANCE = 1.3  # within this factor of the border each pass may answer
UM_PER_PX = 21.17  # 1200 dpi
DEFAULT_THRESHOLD = 0.3  # where no validation image says better

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told: the stage, how much of it is done, of how much, and figures (losses)."""


def train_detector(
    labels: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    taxonomy: Taxonomy | None = None,
    taxa: Sequence[str] | None = None,
    single_class: bool = False,
    um_per_px: float | None = None,
    scale: float | None = None,
    dpi: float | None = None,
    difference: bool = True,
    where: Where | None = None,
    val_scanners: Sequence[str] | None = None,
    val_images: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    device: str | torch.device | None = None,
    warm_start: Path | str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train on a COCO file and its images, and write weights.safetensors, card.json and losses.png into `out`.

    Taxa: `taxa`; else one, Invertebrata (`single_class`); else all that the labels hold animals of, spelt as in
    `taxonomy` (None: as in the file). Scale: `um_per_px`; else that of the images over `scale` (0.5: half their
    resolution); else 21.17 um/px (1200 dpi). `dpi` is that of images whose entry says none (default 1200).
    `difference` False: earlier images are left out of account. Validation images (`val_scanners`, `val_images`; see
    `split.split_labels`) choose the working threshold and are not trained on. `warm_start`: the folder of a detector
    to begin from. `workers`: processes that prepare the samples.

    Returns the card. Raises LabelError, SplitError, TrainingError, WeightsError.
    """
    began = time.monotonic()
    recipe = recipe or Recipe()
    given = only(read_labels(labels, images), where)
    _check_labels(given)
    split, wanted = _in_taxa(
        split_labels(given, val_scanners=val_scanners, val_images=val_images), taxonomy, taxa, single_class
    )
    resolution = _resolution(given, um_per_px, scale, dpi)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def samples_of(part: LabelSet, stage: str) -> list[Sample]:
        return build_samples(
            part,
            resolution,
            dpi=dpi,
            difference=difference,
            workers=workers,
            progress=None if progress is None else lambda done, of: progress(stage, done, of, {}),
        )

    training = _with_difference(samples_of(split.training, "training samples"))
    validation = samples_of(split.validation, "validation samples")
    started = None if warm_start is None else read_card(warm_start)[0]["name"]
    fitted = fit(
        training,
        wanted,
        resolution,
        recipe,
        border_mm=BORDER_MM,
        tolerance=BORDER_TOLERANCE,
        device=target,
        warm_start=warm_start,
        progress=None if progress is None else lambda done, of, figures: progress("training", done, of, figures),
    )
    card: dict[str, Any] = {
        "name": name or Path(out).name,
        "taxa": list(wanted),
        "um_per_px": resolution,
        "threshold": DEFAULT_THRESHOLD,
        "validation": "none",
        "border_mm": BORDER_MM,
        "border_tolerance": BORDER_TOLERANCE,
        "heads": list(fitted.heads),
        "difference": any(sample.references > 0 for sample in training),
        "architecture": fitted.network.architecture,
        "parameters": fitted.network.parameter_count,
        "trained_on": _trained_on(split.training, training, wanted),
        "recipe": {**asdict(recipe), "ema": recipe.decay},
        "warm_start": started,
        "steps": recipe.steps,
        "seed": recipe.seed,
        "device": _device_name(target),
    }
    card = _judged(card, judge(fitted.network, card, validation, device=target), split, training)
    card["seconds"] = round(time.monotonic() - began, 1)
    save_detector(out, fitted.network, card)
    plot_losses(fitted, Path(out) / "losses.png")
    return card


def _with_difference(samples: list[Sample]) -> list[Sample]:
    """Where most samples have a difference, those alone: dropped differences stand for first scans, at a known rate.
    All of them where a taxon would be left without an animal to learn from.

    A quarter of the scans of short seasons are first ones. With them in, a third of all crops had no difference, and
    on those no network can tell an animal from a static look-alike.
    """
    having = [sample for sample in samples if sample.references >= 2]
    enough = 2 * len(having) >= len(samples) and _taxa_in(having) == _taxa_in(samples)
    return having if enough else samples


def _taxa_in(samples: Sequence[Sample]) -> set[int]:
    return {int(label) for sample in samples for label in sample.image.labels[~sample.image.crowd]}


def _check_labels(labels: LabelSet) -> None:
    if not labels.labelled:
        raise LabelError(f"{labels.source}: no labelled image is left to train on")
    if not any(len(image.boxes) for image in labels.labelled):
        raise LabelError(
            f"{labels.source}: {len(labels.labelled)} images and not one label. A detector learns from labelled "
            "animals; some dozens are a beginning, a few hundred are better"
        )


def _in_taxa(
    split: Split, taxonomy: Taxonomy | None, taxa: Sequence[str] | None, single_class: bool
) -> tuple[Split, tuple[str, ...]]:
    """Both parts with labels as indices into the detector's taxa, and those: of the ones asked for, all that the
    training part holds animals of. Animals of other taxa count neither way in validation."""
    if single_class and taxa is None:
        training, validation = (_animals_only(part, taxonomy or SOIL) for part in (split.training, split.validation))
        return Split(training, validation, split.told), (ROOT,)
    training = split.training
    if taxa is not None:
        training = with_taxa(training, tuple(taxa), taxonomy)
    wanted = taxa_with_examples(training, None if taxa is not None else taxonomy)
    _check_labels(training)
    if not wanted:
        raise LabelError(
            f"{training.source}: its labels are of background or of crowds alone; a detector learns from single animals"
        )
    return (
        Split(
            with_taxa(training, wanted, taxonomy),
            with_taxa(split.validation, wanted, taxonomy, strict=False),
            split.told,
        ),
        wanted,
    )


def _animals_only(labels: LabelSet, taxonomy: Taxonomy) -> LabelSet:
    """All categories but background as one, Invertebrata."""
    animal = np.array([not is_background(category, taxonomy) for category in labels.categories], bool)

    def merged(image: LabelledImage) -> LabelledImage:
        kept = image.select(animal[image.labels])
        return replace(kept, labels=np.zeros_like(kept.labels))

    return replace(labels, categories=(ROOT,), images=tuple(merged(image) for image in labels.images))


def _resolution(labels: LabelSet, um_per_px: float | None, scale: float | None, dpi: float | None) -> float:
    if um_per_px is not None and scale is not None:
        raise TrainingError("give um_per_px or scale, not both")
    if um_per_px is None and scale is None:
        return UM_PER_PX
    value = um_per_px if um_per_px is not None else scale
    assert value is not None
    if not 0 < value < float("inf"):
        raise TrainingError(f"um_per_px and scale are above 0, not {value}")
    if um_per_px is not None:
        return um_per_px
    middle = float(np.median([um_per_px_of(image, dpi) for image in labels.labelled]))
    return round(middle / value, 3)


def _trained_on(labels: LabelSet, samples: Sequence[Sample], taxa: Sequence[str]) -> dict[str, Any]:
    """File name and counts, no paths."""
    counts = np.zeros(len(taxa), np.int64)
    for sample in samples:
        counts += np.bincount(sample.image.labels[~sample.image.crowd], minlength=len(taxa))
    return {
        "labels": labels.source,
        "simulated": labels.simulated,
        "images": len(samples),
        "scanners": len({sample.image.scanner_id for sample in samples if sample.image.scanner_id is not None}),
        "animals": {taxon: int(count) for taxon, count in zip(taxa, counts, strict=True)},
        "images_with_difference": sum(sample.references > 0 for sample in samples),
    }


def _judged(card: dict[str, Any], judged: Judged | None, split: Split, training: Sequence[Sample]) -> dict[str, Any]:
    """The card with its threshold, its figures, and what it is good for in words."""
    simulated = bool(card["trained_on"]["simulated"])
    lengths = [
        float((box[2:] - box[:2]).max()) * sample.um_per_px / 1000
        for sample in training
        for box in sample.image.boxes[~sample.image.crowd]
    ]
    scenes = "simulated scenes of buried scanners" if simulated else f"images like those of {split.training.source}"
    shortest, longest = np.percentile(lengths, [1, 99])
    return {
        **card,
        "threshold": DEFAULT_THRESHOLD if judged is None else judged.threshold,
        "threshold_from": (
            f"default: {split.told}" if judged is None else f"best F1 on validation images ({split.told})"
        ),
        "validation": "simulated" if simulated and judged is not None else "none",
        "figures": None if judged is None else {"split": split.told, **judged.figures},
        "good_for": (
            f"{', '.join(card['taxa'])} of {shortest:.2g} to {longest:.2g} mm in {scenes}, read at "
            f"{card['um_per_px']:g} um per px"
        ),
        "not_good_for": (
            ("Real scans, before it has been judged on labelled scans of the same project: it has only ever seen "
             "simulated ones. " if simulated else "Other devices or ground than it was trained on. ")
            + "Animals outside that range of length, and taxa that it does not name"
            + ("" if card["trained_on"]["images_with_difference"] else ". It has never seen a difference image")
        ),
    }  # fmt: skip


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def plot_losses(fitted: Fitted, path: Path) -> None:
    """The losses by step as a PNG; left out where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for column, label in ((1, "heatmap"), (2, "boxes (1 - GIoU)"), (3, "taxa")):
        axes.plot(fitted.curve[:, 0], fitted.curve[:, column], label=label, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=120)
