"""Training a detector from labelled images: one function, from a COCO file to a folder with weights and a card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soilpipe.detect.ancestry import begun, of_backbone
from soilpipe.detect.backbone_weights import backbone_name
from soilpipe.detect.balance import balance
from soilpipe.detect.base import CONTRAST, LOCAL, evens_contrast
from soilpipe.detect.checkpoint import Checkpoints, fingerprint, steps_kept
from soilpipe.detect.coco import LabelSet, Where, only, read_labels
from soilpipe.detect.curves import LOSSES, plot_curves
from soilpipe.detect.dataset import Progress as StageProgress
from soilpipe.detect.dataset import Sample, build_samples, bytes_of, workers_that_pay
from soilpipe.detect.energy import EnergyMeter
from soilpipe.detect.first_scans import without_first_scans
from soilpipe.detect.fitting import fit
from soilpipe.detect.learned_taxa import check_labels, learned_taxa
from soilpipe.detect.mixed import mix, read_simulated
from soilpipe.detect.on_samples import finest_that_pays, judge_of, look_of, margin, middle_that_pays
from soilpipe.detect.passes import FINEST, MIDDLE
from soilpipe.detect.pictures import um_per_px_of
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.scenes import make_scenes
from soilpipe.detect.scenes_grounds import grounds_of_labels
from soilpipe.detect.second_stage.making import second_that_pays
from soilpipe.detect.sizes import MEDIUM
from soilpipe.detect.spill import room_for
from soilpipe.detect.split import split_labels
from soilpipe.detect.starting import Start, make_learner
from soilpipe.detect.trained_card import (
    DEFAULT_THRESHOLD,
    device_name,
    in_words,
    licence_told,
    served,
    share_of_crops,
    trained_on,
)
from soilpipe.detect.validation import for_looks, judge, look
from soilpipe.detect.warm_start import known_before
from soilpipe.detect.weight_ensemble import SHARE, share_that_pays
from soilpipe.detect.weights import read_card, save_detector
from soilpipe.taxonomy import Taxonomy

__all__ = ["Recipe", "TrainingError", "train_detector"]

BORDER_PX = 72  # of the fine pass: longer animals are the coarse pass's. So small a trunk learns boxes of 94 to 190 px
# badly (recall 0 to .13 on what it was trained on; .36 in the coarse pass)
BORDER_TOLERANCE = 1.3  # within this factor of the border each pass may answer
UM_PER_PX = 21.17  # 1200 dpi

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told: the stage, how much of it is done, of how much, and figures (losses)."""
Grounds = Callable[[LabelSet, LabelSet, float, bool, StageProgress | None], list[Sample]]
"""Unlabelled ground to paste on: from all labels as read, those trained on, um/px, and whether its contrast is
evened; told how far it is."""


def border_mm(um_per_px: float) -> float:
    """Length from which on the coarse pass finds animals, for a fine pass at that scale."""
    return round(BORDER_PX * um_per_px / 1000, 2)


def train_detector(
    labels: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    taxonomy: Taxonomy | None = None,
    taxa: Sequence[str] | None = None,
    single_class: bool = False,
    least_examples: int = 1,
    um_per_px: float | None = None,
    scale: float | None = None,
    dpi: float | None = None,
    difference: bool = True,
    even: bool | None = None,
    where: Where | None = None,
    where_told: str | None = None,
    val_scanners: Sequence[str] | None = None,
    val_images: Sequence[str] | None = None,
    val_from: datetime | None = None,
    val_until: datetime | None = None,
    simulated: Sequence[Path | str] = (),
    grounds: Grounds | None = None,
    recipe: Recipe | None = None,
    device: str | torch.device | None = None,
    size: str = MEDIUM,
    family: str | None = None,
    backbone: Path | str | None = None,
    warm_start: Path | str | None = None,
    precision: str | None = None,
    licence: str | None = None,
    workers: int | None = 1,
    work: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train on a COCO file and its images, and write weights.safetensors, card.json and losses.png into `out`.

    Taxa: `taxa`; else one, Invertebrata (`single_class`); else all that the labels hold animals of, spelt as in
    `taxonomy` (None: as in the file), those with fewer than `least_examples` rolled up.
    Scale: `um_per_px`; else that of the images over `scale` (0.5: half their resolution); else that of the detector
    begun from; else 21.17 um/px (1200 dpi). `dpi` is that of images whose entry says none (default 1200).
    Images: `where` says which are taken, told on the card as `where_told`; the others serve as references, unless
    `difference` is False: then earlier images are left out of account. Validation images (`val_*`; see
    `split.split_labels`) choose the weights and the working threshold: of all thresholds with nearly the best F1 the
    one whose count is nearest to that of the labels (`scoring.best_threshold`); the one of the best F1 stands on the
    card as `threshold_best_f1`. They are not trained on. `simulated`: folders of simulated seasons that are mixed into
    the training part. `grounds`: what artificial scenes are made on, where the recipe wants any (`scenes`); None:
    images of the label file that nobody labelled.
    Begun from: `size`, `family`, `backbone`, `warm_start`, see `starting.Start`; `recipe` None: the one that suits.
    From `warm_start` as much of what was learned is taken as pays on validation images (`weight_ensemble`).
    `even`: light and contrast of all images are evened before the network sees them (`background.contrast`), here and
    wherever it detects; None: as for the detector begun from, else not.
    `precision`: float32 or bf16, in which it detects everywhere (`predict.CentrePointDetector`); None: as that one.
    `licence`: for the card, in words; None: that of the images by the label file, where it tells one.
    `workers`: processes that prepare the samples; they are spawned, so a script that asks for several needs a main
    guard; None: as many as there are cores, where that pays. `work`: a folder where the training is kept every minute
    until it is done; `resume`: go on from there.

    Returns the card. Raises LabelError, SplitError, TrainingError, WeightsError.
    """
    began = time.monotonic()
    start = Start(size, family, backbone, warm_start)
    recipe = recipe or start.recipe()
    difference = difference and family is None  # torchvision's see R, G and B alone
    everything = read_labels(labels, images)
    given = only(everything, where)
    check_labels(given)
    split = split_labels(
        given,
        val_scanners=val_scanners,
        val_images=val_images,
        val_from=val_from,
        val_until=val_until,
        taxonomy=taxonomy,
    )
    split = mix(split, [read_simulated(folder) for folder in simulated])
    learned = learned_taxa(split, taxonomy, taxa, single_class, least_examples)
    begun_from, ancestors = (None, of_backbone(backbone)) if warm_start is None else begun(warm_start)
    if um_per_px is None and scale is None and begun_from is not None:
        um_per_px = float(begun_from["um_per_px"])
    resolution = _resolution(given, um_per_px, scale, dpi)
    even = evens_contrast(begun_from or {}) if even is None else even
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    handed_on = FINEST in (begun_from or {})
    finest = recipe.finest_share > 0 or handed_on
    if finest and family is not None:
        raise TrainingError("finest_share is for networks of our own: torchvision's detectors have one pass")
    if recipe.second_steps and family is not None:
        raise TrainingError("second_steps is for networks of our own: torchvision's detectors have stages of their own")

    # Training shows what a finest pass sees where it learns from it, validation wherever there may be one.
    shows = {"training samples": recipe.finest_share > 0, "validation samples": finest}
    needed = sum(
        bytes_of(part.labelled, resolution, dpi, finest=show)
        for part, show in zip((learned.split.training, learned.split.validation), shows.values(), strict=True)
    )

    with room_for(needed, work) as spilled, EnergyMeter(target) as meter:

        def samples_of(part: LabelSet, stage: str) -> list[Sample]:
            return build_samples(
                part,
                resolution,
                dpi=dpi,
                difference=difference,
                even=even,
                workers=workers_that_pay(part, difference) if workers is None else workers,
                finest=shows[stage],
                spilled=spilled,
                progress=_stage(progress, stage),
            )

        training, aside = without_first_scans(samples_of(learned.split.training, "training samples"))
        validation = samples_of(learned.split.validation, "validation samples")
        scenes, unlabelled = None, []
        if recipe.scenes:
            ground = _grounds_of_labels(dpi, difference, recipe.seed) if grounds is None else grounds
            unlabelled = ground(
                everything, learned.split.training, resolution, even, _stage(progress, "ground for scenes")
            )
            scenes = make_scenes(
                training, unlabelled, learned.taxa, taxonomy=taxonomy, share=recipe.scenes, seed=recipe.seed
            )
        learner = make_learner(start, learned.taxa, target, recipe.seed)
        network: Any = learner.network
        card: dict[str, Any] = {
            "name": name or Path(out).name,
            "taxa": list(learned.taxa),
            "um_per_px": resolution,
            "threshold": DEFAULT_THRESHOLD,
            "validation": "none",
            "border_mm": border_mm(resolution),
            "border_tolerance": BORDER_TOLERANCE,
            "difference": any(sample.references > 0 for sample in training),
            "architecture": network.architecture,
            "parameters": network.parameter_count,
            "trained_on": trained_on(learned.split.training, training, learned.taxa),
            "served": served(validation, unlabelled),
            "recipe": {**asdict(recipe), "ema": recipe.decay},
            "backbone": None if backbone is None else backbone_name(backbone),
            "warm_start": None if begun_from is None else begun_from["name"],
            "ancestors": ancestors,
            "seed": recipe.seed,
            "device": device_name(target),
            "seconds_from_step": (steps_kept(work) or 0) if resume and work is not None else 0,
        }
        precision = precision or (begun_from or {}).get("precision")
        card |= {} if precision is None else {"precision": precision}
        card |= {CONTRAST: LOCAL} if even else {}
        fitted = fit(
            training,
            learner,
            resolution,
            recipe,
            border_mm=card["border_mm"],
            tolerance=BORDER_TOLERANCE,
            device=target,
            passes=start.passes,
            scenes=scenes,
            look=look_of(card, for_looks(validation), target),
            checkpoints=Checkpoints(work, _fits(card, training, validation)),
            resume=resume,
            progress=None if progress is None else lambda done, of, figures: progress("training", done, of, figures),
        )
        network = fitted.network
        card |= {"heads": list(fitted.heads), "steps": fitted.steps, "kept": fitted.kept}
        card["scenes"] = None if scenes is None else scenes.told()
        card["share_of_crops"] = share_of_crops(fitted.crops)
        notes = [*given.notes, *split.notes, *([aside] if aside else [])]
        card |= {"labels_taken": where_told or "all", "label_notes": notes, "licence": licence_told(given, licence)}
        if warm_start is not None and (looks := for_looks(validation)):
            known = known_before(network, learned.taxa, warm_start)

            def score() -> float:
                return look(judge_of(network, card, target), looks)["score"]

            card[SHARE] = share_that_pays(network, known, score, margin(looks))
        card["coarse_raised"] = round(balance(network, card, for_looks(validation), target), 4)
        # At another scale a head that is handed on knows nothing of what it would see, unless it was shown that.
        shown = any("finest" in sample.passes for sample in (*training, *validation))
        if shown or (handed_on and begun_from is not None and begun_from["um_per_px"] == resolution):
            card |= finest_that_pays(network, card, for_looks(validation), target)
        if recipe.second_steps:
            looks = for_looks(validation)
            card |= second_that_pays(network, card, training, looks, target, recipe, warm_start, progress)
            card["parameters"] = network.parameter_count
        before = MIDDLE in (begun_from or {})
        card |= middle_that_pays(network, card, for_looks(validation), target, before=before)
        judged = judge(judge_of(network, card, target), validation)
        card |= in_words(learned, judged, card, training, validation)
        card["good_for"] += f", read at {resolution:g} um per px"
        card |= {"seconds": round(time.monotonic() - began, 1), **meter.stop()}
        save_detector(out, network, card)
        plot_curves(fitted.curves, fitted.parts, Path(out) / LOSSES)
        return read_card(out)[0]


def _stage(progress: Progress | None, stage: str) -> StageProgress | None:
    return None if progress is None else lambda done, of: progress(stage, done, of, {})


def _grounds_of_labels(dpi: float | None, difference: bool, seed: int) -> Grounds:
    """Ground from the images of the label file that nobody labelled."""

    def grounds(
        labels: LabelSet, trained_on: LabelSet, um_per_px: float, even: bool, progress: StageProgress | None
    ) -> list[Sample]:
        return grounds_of_labels(
            labels,
            um_per_px,
            trained_on=trained_on,
            dpi=dpi,
            difference=difference,
            even=even,
            seed=seed,
            progress=progress,
        )

    return grounds


def _fits(card: Mapping[str, Any], training: Sequence[Sample], validation: Sequence[Sample]) -> dict[str, Any]:
    """What a checkpoint must have in common with the training that takes it up."""
    keys = ("taxa", "um_per_px", "architecture", "recipe", "backbone", "warm_start")
    return {
        **{key: card[key] for key in keys},
        CONTRAST: card.get(CONTRAST),
        "training_samples": fingerprint(training),
        "validation_samples": fingerprint(validation),
    }


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
