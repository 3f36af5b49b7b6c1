"""The matches of an evaluation as its record keeps them, and back."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from soilpipe.detect.ancestry import seen
from soilpipe.detect.base import DetectorInfo
from soilpipe.detect.claims import ASIDE, RIGHT, WRONG, Claims
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.tally import IOUS, JudgedImage, Units, at_work_, claims_of, lengths_of
from soilpipe.evaluations import EvaluationError, EvaluationRecord, KeptImage, KeptMatches, Sample, Sampled, Series

FIGURES = (
    "precision",
    "recall",
    "f1",
    "centre_f1",
    "f1_with_taxon",
    "count_error",
    "count_error_relative",
    "false_alarms",
    "detections",
    "area_cm2",
)
POPULATION = ("precision", "recall", "f1", "count_bias", "effective")
_SIGNS = {RIGHT: "+", WRONG: "-", ASIDE: "."}
_OUTCOMES = {sign: outcome for outcome, sign in _SIGNS.items()}


@dataclass(frozen=True)
class Matched:
    """`KeptMatches` unpacked; claims have images as units. days: names of the scanner-days; day (images,) int64."""

    names: tuple[str, ...]
    days: tuple[str, ...]
    day: np.ndarray
    area_cm2: np.ndarray
    animals: Claims
    at_work: Claims
    taxa: Mapping[str, Claims]
    length_mm: np.ndarray
    label_image: np.ndarray
    label_found: np.ndarray


def record_of(
    evaluation: Evaluation,
    info: DetectorInfo,
    card: Mapping[str, Any],
    *,
    sample: Sample,
    now: datetime,
    hold_out_scanner: str | None = None,
    sampled: Sampled | None = None,
    whole: bool = True,
) -> EvaluationRecord:
    """The record of an evaluation. `info`, `card` ({} where there is none): of the detector; `whole` False: a part of
    the sample was left out by the user's wish, so that it is no random sample any more."""
    own = evaluation.threshold == info.threshold and evaluation.thresholds == dict(info.settings.get("thresholds", {}))
    figures = {name: getattr(evaluation, name) for name in FIGURES}
    figures |= {name: getattr(evaluation.any_taxon, name) for name in ("ap50", "ap75", "ap")}
    figures |= {"count_bias": evaluation.counts.bias, "count_r2": evaluation.counts.r2}
    figures |= {"calibration_error": evaluation.calibration.error}
    if evaluation.population is not None:
        figures |= {f"population_{name}": getattr(evaluation.population, name) for name in POPULATION}
    return EvaluationRecord(
        role=info.role,
        version=info.version,
        name=info.name,
        taxa=tuple(info.taxa),
        evaluated_at=now,
        sample=sample,
        hold_out_scanner=hold_out_scanner,
        sampled=sampled,
        labels=evaluation.labels,
        labels_sha256=evaluation.labels_sha256,
        simulated=evaluation.simulated,
        images=evaluation.images,
        animals=evaluation.any_taxon.animals,
        trained_on=seen(
            card, [image.name for image in evaluation.judged], evaluation.judged, held_out=sample == "hold-out"
        ),
        as_used=own and evaluation.difference == info.uses_difference and whole,
        threshold=evaluation.threshold,
        shortest_found_mm=evaluation.shortest_found_mm,
        figures=figures,
        intervals=evaluation.intervals,
        matches=pack_matches(evaluation.judged, evaluation.by_taxon),
    )


def of_images(matched: Matched, names: Collection[str]) -> Matched:
    """What of it lies in these images."""
    kept = np.array([name in names for name in matched.names], bool)
    place = np.cumsum(kept) - 1
    days = tuple(dict.fromkeys(matched.days[day] for day in matched.day[kept]))
    labels = kept[matched.label_image]

    def claims(of: Claims) -> Claims:
        inside = kept[of.unit]
        return Claims(of.scores[inside], of.outcome[inside], place[of.unit[inside]], of.truths[kept])

    return Matched(
        names=tuple(name for name in matched.names if name in names),
        days=days,
        day=np.array([days.index(matched.days[day]) for day in matched.day[kept]], np.int64),
        area_cm2=matched.area_cm2[kept],
        animals=claims(matched.animals),
        at_work=claims(matched.at_work),
        taxa={taxon: claims(series) for taxon, series in matched.taxa.items()},
        length_mm=matched.length_mm[labels],
        label_image=place[matched.label_image[labels]],
        label_found=matched.label_found[labels],
    )


def pack_matches(images: Sequence[JudgedImage], taxa: Iterable[str]) -> KeptMatches:
    """The matches of an evaluation, for its record."""
    units = Units.images(images)
    lengths = lengths_of(images, units, mm=True)
    counted = lengths.counted
    return KeptMatches(
        images=tuple(KeptImage(name=one.name, day=one.scanner_day, area_cm2=one.area_cm2) for one in images),
        animals=pack(claims_of(images, units, IOUS[0])),
        at_work=pack(claims_of(images, units, at_work_(IOUS[0]))),
        taxa={taxon: pack(claims_of(images, units, at_work_(taxon))) for taxon in taxa},
        length_mm=_text(lengths.of_labels[counted], "<f4"),
        label_images=_text(lengths.unit[counted], "<u4"),
        labels_found="".join("+" if found else "-" for found in lengths.found[counted]),
    )


def pack(claims: Claims) -> Series:
    """Claims whose units are images, for a record."""
    return Series(
        scores=_text(claims.scores, "<f4"),
        images=_text(claims.unit, "<u4"),
        outcomes="".join(_SIGNS[int(outcome)] for outcome in claims.outcome),
        truths=tuple(int(truths) for truths in claims.truths),
    )


def unpack(matches: KeptMatches) -> Matched:
    """The arrays of a record. EvaluationError when they do not belong together."""
    try:
        days = tuple(dict.fromkeys(image.day for image in matches.images))
        unpacked = Matched(
            names=tuple(image.name for image in matches.images),
            days=days,
            day=np.array([days.index(image.day) for image in matches.images], np.int64),
            area_cm2=np.array([image.area_cm2 for image in matches.images]),
            animals=_claims(matches.animals),
            at_work=_claims(matches.at_work),
            taxa={taxon: _claims(series) for taxon, series in matches.taxa.items()},
            length_mm=_array(matches.length_mm, "<f4"),
            label_image=_array(matches.label_images, "<u4").astype(np.int64),
            label_found=np.array([sign == "+" for sign in matches.labels_found], bool),
        )
    except (ValueError, KeyError) as error:
        raise EvaluationError(f"the matches of an evaluation cannot be read ({error}); was it edited?") from error
    lengths = {len(unpacked.length_mm), len(unpacked.label_found), len(unpacked.label_image)}
    truths = {len(claims.truths) for claims in (unpacked.animals, unpacked.at_work, *unpacked.taxa.values())}
    if len(lengths) != 1 or truths != {len(unpacked.names)}:
        raise EvaluationError("the matches of an evaluation do not belong together; was it edited?")
    return unpacked


def _claims(series: Series) -> Claims:
    outcome = np.array([_OUTCOMES[sign] for sign in series.outcomes], np.int8)
    scores, unit = _array(series.scores, "<f4"), _array(series.images, "<u4").astype(np.int64)
    if not len(outcome) == len(scores) == len(unit) or (unit >= len(series.truths)).any():
        raise ValueError(f"{len(scores)} scores, {len(unit)} images, {len(outcome)} outcomes")
    return Claims(scores, outcome, unit, np.array(series.truths, np.int64))


def _text(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode("ascii")


def _array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), kind)
