"""Judging a detector on labelled images: what it finds, what it invents, how well it counts, and how sure that is.

Any `Detector` can be judged, so that figures of different kinds of detector stand beside each other. `meeting` says in
which taxa they are compared with the labels, `claims` where the intervals come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect import claims as told
from soilpipe.detect.base import Detector
from soilpipe.detect.claims import Claims, Interval, interval, interval_of, value_of
from soilpipe.detect.coco import LabelError, LabelSet, Where, only, read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.evaluation import Evaluation, TaxonFigures
from soilpipe.detect.figures import (
    EDGES_MM,
    EDGES_PX,
    SizeFigures,
    by_size,
    calibration,
    count_figures,
    froc,
    precision_recall_curve,
    shortest_found,
)
from soilpipe.detect.meeting import Meeting
from soilpipe.detect.pictures import MM_PER_INCH, Scene, um_per_px_of
from soilpipe.detect.population import population_figures
from soilpipe.detect.precision import MOST, ImageAnswer, Precisions, coco_precisions, mean_precisions
from soilpipe.detect.tally import (
    CENTRE,
    IOUS,
    NAMED,
    JudgedImage,
    Units,
    at_work_,
    claims_of,
    judge_image,
    labels_taken,
    lengths_of,
)
from soilpipe.detect.thresholds import least_scores, thresholds_used
from soilpipe.taxonomy import SOIL, Taxonomy

__all__ = ["Evaluation", "JudgedScene", "Meeting", "Precisions", "evaluate_detector"]

LOWEST = 0.01  # score from which detections enter the precision-recall curve
RESTING, MOVING = 3, 0  # scans before this one with the animal at this place: at least, at most
SEED = 20_240_306


@dataclass(frozen=True)
class JudgedScene:
    """A scene while its pixels are at hand: what was found there, and how it was judged. found_names (n,), label_names
    (m,): taxa as each side calls them, in the order of `judged`."""

    scene: Scene
    judged: JudgedImage
    found_names: tuple[str, ...]
    label_names: tuple[str, ...]


def evaluate_detector(
    detector: Detector,
    labels: Path | str,
    images: Path | str,
    *,
    where: Where | None = None,
    difference: bool = True,
    dpi: float | None = None,
    threshold: float | None = None,
    taxonomy: Taxonomy = SOIL,
    watch: Callable[[JudgedScene], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge on the images of a COCO file that `where` keeps; the others serve as references only.

    References come from `scanner_id` and `date_captured` as in training; `difference` False does without. `dpi` is
    that of images whose entry says none (1200 by default). `threshold` replaces the detector's own, and those that
    single taxa have (`settings["thresholds"]`). Of an image the best 1000 detections are looked at, and all at work.
    `watch` is shown every scene, for pictures. LabelError when no labelled image is left.
    """
    given = only(read_labels(labels, images), where)
    if not given.labelled:
        raise LabelError(f"{given.source}: no labelled image is left to judge on")
    least = least_scores(detector.info, threshold)
    threshold, thresholds = thresholds_used(detector.info, threshold)
    difference = difference and detector.info.uses_difference
    meeting = Meeting.of(given.categories, detector.info.taxa, taxonomy)
    answers: list[ImageAnswer] = []
    judged: list[JudgedImage] = []
    presence: list[np.ndarray] = []
    chances: list[float | None] = []
    with_difference = 0
    for scene in open_scenes(given, dpi=dpi, difference=difference):
        found = detector.detect(scene.scan, scene.references, scene.registrations, threshold=LOWEST)
        found = found.select(np.argsort(-found.scores, kind="stable"))
        found = found.select((np.arange(len(found)) < MOST) | (found.scores >= least[found.labels]))
        answer, kept = meeting.answer(scene.image, found)
        at_work = found.scores >= least[found.labels]
        answers.append(answer)
        judged.append(judge_image(meeting, answer, scene.image, um_per_px_of(scene.image, dpi), at_work))
        presence.append(scene.image.scans_present[kept])
        chances.append(scene.image.inclusion_probability)
        with_difference += sum(registration.ok for registration in scene.registrations) >= 2
        if watch:
            names = tuple(given.categories[label] for label in scene.image.labels[kept])
            called = tuple(found.taxon(index) for index in range(len(answer.scores)))
            watch(JudgedScene(scene, judged[-1], called, names))
        if progress:
            progress(len(answers), len(given.labelled))
    return Evaluation(
        detector=detector.info.name,
        version=detector.info.version,
        labels=given.source,
        labels_sha256=labels_digest(given),
        simulated=given.simulated,
        images=len(answers),
        images_with_difference=with_difference,
        difference=difference,
        threshold=threshold,
        thresholds=thresholds,
        moving=coco_precisions(_counting(answers, [(at >= 0) & (at <= MOVING) for at in presence])),
        resting=coco_precisions(_counting(answers, [at >= RESTING for at in presence])),
        um_per_px_assumed=any(image.dpi is None for image in given.labelled),
        judged=tuple(judged),
        population=population_figures(judged, chances, seed=SEED),
        **_figures(meeting, answers, judged),
    )


def _figures(meeting: Meeting, answers: Sequence[ImageAnswer], judged: Sequence[JudgedImage]) -> dict[str, Any]:
    """All that follows from the matches alone."""
    units = Units.of(judged)
    drawn = told.draws(units.count, seed=SEED)
    animals = claims_of(judged, units, IOUS[0])
    working, centres, named = (claims_of(judged, units, at_work_(question)) for question in (IOUS[0], CENTRE, NAMED))
    right, claimed = working.tally()
    per_image = count_figures(claims_of(judged, Units.images(judged), at_work_(IOUS[0])), drawn[:0, : len(judged)])
    scores, recalls, precisions = precision_recall_curve(animals)
    taxa = {taxon: _taxon(meeting, taxon, answers, judged, units, drawn) for taxon in meeting.taxa}
    taxa = {taxon: figures for taxon, figures in taxa.items() if figures.precisions.animals}
    area = float(units.area_cm2.sum())
    stricter = [(claims_of(judged, units, iou), labels_taken(judged, iou)) for iou in IOUS[1:]]
    by_length_mm = by_size(animals, lengths_of(judged, units, mm=True), EDGES_MM, drawn, stricter)
    return {
        "any_taxon": coco_precisions(answers),
        "mean_of_taxa": mean_precisions([figures.precisions for figures in taxa.values()]),
        "taxa": {taxon: figures.precisions for taxon, figures in taxa.items()},
        "by_taxon": taxa,
        "precision": value_of(working, told.precision) or 0.0,
        "recall": value_of(working, told.recall) or 0.0,
        "f1": value_of(working, told.f1) or 0.0,
        "centre_f1": value_of(centres, told.f1) or 0.0,
        "f1_with_taxon": value_of(named, told.f1) or 0.0,
        "detections": sum(int(image.at_work.sum()) for image in judged),
        "false_alarms": int((claimed - right).sum()),
        "area_cm2": area,
        "count_error": per_image.error,
        "count_error_relative": per_image.error_relative,
        "counts": count_figures(working, drawn),
        "by_length_px": by_size(animals, lengths_of(judged, units, mm=False), EDGES_PX, drawn, stricter),
        "by_length_mm": by_length_mm,
        "shortest_found_mm": shortest_found(by_length_mm),
        "by_dpi": _by_dpi(judged),
        "froc": froc(animals, len(judged), area),
        "curve": {"threshold": scores, "recall": recalls, "precision": precisions},
        "calibration": calibration(animals, working, drawn),
        "units": units.kind,
        "unit_count": units.count,
        "unit_names": units.names,
        "blocks_px": units.side_px,
        "seed": SEED,
        "intervals": _intervals(judged, units, (working, centres, named), drawn),
    }


def _by_dpi(judged: Sequence[JudgedImage]) -> dict[str, tuple[SizeFigures, ...]]:
    """By length, for each dpi by itself: the same animal is another thing to see at 600 and at 2400 dpi."""
    images: dict[int, list[JudgedImage]] = {}
    for image in judged:
        images.setdefault(round(1000 * MM_PER_INCH / image.um_per_px), []).append(image)
    figures = {}
    for dpi, some in sorted(images.items()) if len(images) > 1 else ():
        units = Units.of(some)
        drawn = told.draws(units.count, seed=SEED)
        lengths = lengths_of(some, units, mm=True)
        figures[str(dpi)] = by_size(claims_of(some, units, IOUS[0]), lengths, EDGES_MM, drawn)
    return figures


def _intervals(
    judged: Sequence[JudgedImage], units: Units, at_work: tuple[Claims, Claims, Claims], drawn: np.ndarray
) -> dict[str, Interval | None]:
    if units.count < 2:
        return {}
    at_iou = {iou: told.average_precision(claims_of(judged, units, iou), drawn) for iou in IOUS}
    images = np.ones(units.count) if units.kind == "image" else np.full(units.count, 1 / units.count)
    working, centres, named = at_work
    return {
        "ap50": interval(at_iou[0.5]),
        "ap75": interval(at_iou[0.75]),
        "ap": interval(np.mean(list(at_iou.values()), axis=0)),
        "precision": interval_of(working, told.precision, drawn),
        "recall": interval_of(working, told.recall, drawn),
        "f1": interval_of(working, told.f1, drawn),
        "centre_f1": interval_of(centres, told.f1, drawn),
        "f1_with_taxon": interval_of(named, told.f1, drawn),
        "count_bias": interval_of(working, told.bias, drawn),
        "false_alarms_per_image": interval_of(working, told.false_alarms(images), drawn),
        "false_alarms_per_100cm2": interval_of(working, told.false_alarms(units.area_cm2 / 100), drawn),
    }


def _taxon(
    meeting: Meeting,
    taxon: str,
    answers: Sequence[ImageAnswer],
    judged: Sequence[JudgedImage],
    units: Units,
    drawn: np.ndarray,
) -> TaxonFigures:
    claims, working = (claims_of(judged, units, question) for question in (taxon, at_work_(taxon)))
    right, claimed = working.tally()
    wrong = int((claimed - right).sum())
    index = meeting.taxa.index(taxon)
    return TaxonFigures(
        animals=int(claims.truths.sum()),
        precisions=coco_precisions([meeting.of_taxon(answer, index) for answer in answers]),
        ap50_interval=interval_of(claims, told.average_precision, drawn),
        precision=value_of(working, told.precision),
        recall=value_of(working, told.recall),
        recall_interval=interval_of(working, told.recall, drawn),
        f1=value_of(working, told.f1),
        false_alarms=wrong,
        false_alarms_per_image=wrong / len(judged),
        false_alarms_per_100cm2=wrong / float(units.area_cm2.sum()) * 100,
        counts=count_figures(working, drawn),
    )


def labels_digest(labels: LabelSet) -> str:
    """sha256 over the labelled images and what is marked in them, whatever their order and the file's name."""
    told_images = sorted(
        json.dumps(
            [
                image.file_name,
                image.width,
                image.height,
                image.dpi,
                image.scanner_id,
                image.captured_at.isoformat() if image.captured_at else None,
                sorted(
                    [labels.categories[label], *(round(float(side), 2) for side in box), bool(crowd)]
                    for label, box, crowd in zip(image.labels, image.boxes, image.crowd, strict=True)
                ),
            ]
        )
        for image in labels.labelled
    )
    return hashlib.sha256("\n".join(told_images).encode()).hexdigest()


def _counting(answers: Sequence[ImageAnswer], counted: Sequence[np.ndarray]) -> list[ImageAnswer]:
    return [replace(answer, counted=mask) for answer, mask in zip(answers, counted, strict=True)]
