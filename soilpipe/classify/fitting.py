"""Fitting a classifier to labelled crops: experts on some scanners, calibration on the others, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilpipe.classify.backoff import Chosen, choose_threshold, lineage_of, tree_of
from soilpipe.classify.calibrating import Calibrated, Held, calibrate_crossed, calibrate_split
from soilpipe.classify.calibration import Experts
from soilpipe.classify.classifier import Classifier, experts_of
from soilpipe.classify.clusters import scanner_days
from soilpipe.classify.conformal import fit_limit
from soilpipe.classify.evaluation import figures_of
from soilpipe.classify.examples import BACKGROUND, ClassifierError, Examples
from soilpipe.classify.field import Field
from soilpipe.classify.folds import Folds, halves, make_folds
from soilpipe.classify.head import DECAYS, Head, fit_head
from soilpipe.classify.left_out import LEAST_CROPS, Vectors, left_out_distances, place, seen_by
from soilpipe.classify.prototypes import References
from soilpipe.classify.space import Space
from soilpipe.classify.unknown import POOLED, fit_limits
from soilpipe.taxonomy import Taxonomy


@dataclass(frozen=True)
class Fitted:
    """A classifier and what was learned on the way, JSON-able, for its card."""

    classifier: Classifier
    told: Mapping[str, Any]


@dataclass(frozen=True)
class _Parts:
    """What is fitted to some crops, before calibration."""

    space: Space
    references: References
    heads: Mapping[float, Head]


def fit_classifier(
    examples: Examples,
    *,
    taxonomy: Taxonomy,
    alpha: float,
    calibrate: Sequence[str] | None = None,
    vectors: Vectors | None = None,
) -> Fitted:
    """Fit head, prototypes and limits, and calibrate them on held-out scanners.

    `alpha`: the error among answers that is allowed, and the share of sets that may miss the true class; `calibrating`
    says what is promised of both. `calibrate`: scanners that serve calibration alone; by default every scanner is held
    out once (`folds`). Only crops of scans drawn as they come enter calibration: where scans were detected, of those
    scans, else of labelled animals alone (`field`). A crop whose class no other scanner shows cannot, and is counted.
    `vectors`: where the encoder itself learns from the crops, those of one that has learned from some of them; by
    default they are the examples' own.

    ClassifierError with fewer than two classes, or none left to learn from.
    """
    if not 0 < alpha < 0.5:
        raise ClassifierError(f"alpha is between 0 and 0.5, not {alpha:g}")
    folds = make_folds(examples, calibrate)
    kept = examples.select(folds.kept)
    classes = _in_order(kept, taxonomy)
    lineages = {taxon: lineage_of(taxon, taxonomy) for taxon in classes}
    index = {taxon: label for label, taxon in enumerate(classes)}
    labels = np.array([index.get(taxon, -1) for taxon in examples.taxa], np.int64)
    drawn = np.array([source.as_it_comes for source in examples.sources], bool) & (labels >= 0)
    drawn &= np.any([fold.held for fold in folds.folds], axis=0) if folds.folds else False
    field = Field.of(examples, labels, np.flatnonzero(drawn), classes)
    asked = np.zeros(len(examples), bool)
    asked[np.flatnonzero(drawn)[field.usable]] = True
    held, lost = _held_out(examples, labels, folds, asked, len(classes), vectors)
    calibrated = calibrate_split(held, field) if calibrate else calibrate_crossed(held, field)
    decay, probabilities = calibrated.decay, calibrated.probabilities
    rows, held_labels = held.rows[calibrated.judged], held.labels[calibrated.judged]
    units = scanner_days([examples.sources[row] for row in rows.tolist()])
    chosen = choose_threshold(tree_of(lineages), probabilities, held_labels, alpha, units)
    left_out = left_out_distances(examples, labels, folds, len(classes), vectors)
    kept = seen_by(vectors, examples, folds.kept, labels).select(folds.kept)
    parts = _fit(kept, labels[folds.kept], len(classes), (decay,))
    classifier = Classifier(
        lineages=lineages,
        space=parts.space,
        head=parts.heads[decay],
        calibration=calibrated.calibration,
        threshold=chosen.threshold,
        limit=fit_limit(probabilities, held_labels, alpha, units),
        unknown_limits=fit_limits(left_out, labels),
        examples=kept,
        card={"alpha": alpha},
    )
    told = _told(classifier, examples, folds, lost, calibrated, chosen, held_labels)
    told |= {"sets_from": f"{calibrated.told}, {len(np.unique(units))} scanner-days", "background": field.told()}
    told["unknown_from"] = POOLED
    return Fitted(classifier, told)


def _in_order(examples: Examples, taxonomy: Taxonomy) -> tuple[str, ...]:
    """The classes that have a crop: animals in the taxonomy's order, then what is none."""
    there = set(examples.taxa)
    known = [name for name in taxonomy.names if name in there and name != BACKGROUND]
    animals = [name for name in known if not taxonomy.find(name).background]
    none = [name for name in known if taxonomy.find(name).background]
    classes = (*animals, *none, *((BACKGROUND,) if BACKGROUND in there else ()))
    if not animals:
        raise ClassifierError(
            "no animal is labelled on the scanners that are learned from; a classifier learns from labelled animals, "
            "five of a taxon are a beginning"
        )
    if len(classes) < 2 or len(examples) <= LEAST_CROPS:
        raise ClassifierError(
            f"the labels are of one class alone ({', '.join(classes)}, {len(examples)} crops), and there is no ground "
            "without animals to tell it from. Label a second taxon, or give whole images instead of crops"
        )
    return classes


def _fit(examples: Examples, labels: np.ndarray, classes: int, decays: Sequence[float]) -> _Parts:
    space, references = place(examples, labels, classes)
    coordinates = space.coordinates(examples.embeddings, examples.sizes_mm)
    heads = {decay: fit_head(coordinates, labels, classes, decay=decay) for decay in decays}
    return _Parts(space, references, heads)


def _held_out(
    examples: Examples, labels: np.ndarray, folds: Folds, drawn: np.ndarray, classes: int, vectors: Vectors | None
) -> tuple[Held, int]:
    """What experts that did not see a crop's scanner say of it; and how many crops were left out because none of their
    class was left to learn from."""
    found: dict[float, list[Experts]] = {decay: [] for decay in DECAYS}
    rows: list[np.ndarray] = [np.zeros(0, np.int64)]
    groups: list[np.ndarray] = [np.zeros(0, np.int64)]
    lost = 0
    for number, fold in enumerate(folds.folds):
        fitted = np.flatnonzero(fold.fitted & (labels >= 0))
        if len(fitted) <= LEAST_CROPS or len(np.unique(labels[fitted])) < 2:
            continue
        there = np.bincount(labels[fitted], minlength=classes) > 0
        asked = np.flatnonzero(fold.held & drawn)
        lost += int((~there[labels[asked]]).sum())
        asked = asked[there[labels[asked]]]
        if not len(asked):
            continue
        seen = seen_by(vectors, examples, fold.fitted & (labels >= 0), labels)
        parts = _fit(seen.select(fitted), labels[fitted], classes, DECAYS)
        coordinates = parts.space.coordinates(seen.embeddings[asked], seen.sizes_mm[asked])
        directions = parts.space.directions(seen.embeddings[asked], seen.sizes_mm[asked])
        for decay in DECAYS:
            found[decay].append(experts_of(parts.heads[decay], parts.references, coordinates, directions))
        rows.append(asked)
        kept_for_this = len(folds.folds) == 1 and not folds.kept.all()
        groups.append(halves(examples.select(asked)) if kept_for_this else np.full(len(asked), number))
    empty = Experts(*(np.zeros((0, classes)) for _ in range(3)))
    pooled = {
        decay: Experts(*(np.concatenate(part) for part in zip(*each, strict=True))) if each else empty
        for decay, each in found.items()
    }
    every = np.concatenate(rows)
    scanners = np.array(examples.scanners, object)[every]
    return Held(pooled, every, labels[every], scanners, np.concatenate(groups)), lost


def _told(
    classifier: Classifier,
    examples: Examples,
    folds: Folds,
    lost: int,
    calibrated: Calibrated,
    chosen: Chosen,
    labels: np.ndarray,
) -> dict[str, Any]:
    """For the card: how it was calibrated, and what it was worth on the held-out scanners."""
    calibration, rows = classifier.calibration, len(labels)
    figures = None
    if rows:
        judged = figures_of(classifier, classifier.answers(calibrated.probabilities, np.zeros(rows)), labels)
        figures = {
            "crops": judged.crops,
            "macro_f1": _rounded(judged.macro_f1),
            "accuracy": _rounded(judged.accuracy),
            "answered": _rounded(judged.answered),
            "error_among_answers": _rounded(judged.error_among_answers),
            "full_depth": _rounded(judged.full_depth),
            "by_class": {taxon: [_rounded(f1), crops] for taxon, (f1, crops) in judged.by_class.items()},
            "split": folds.told,
        }
    return {
        "decay": calibrated.decay,
        "held_out": folds.told,
        "calibrated_on": f"{calibration.crops} crops of held-out scanners, drawn as they come"
        if calibration.crops
        else f"nothing: {rows} crops of held-out scanners drawn as they come are too few; temperature 1",
        "held_out_without_class": lost,
        "threshold_from": chosen.told,
        "figures": figures,
        "frequencies": {
            taxon: _rounded(share)
            for taxon, share in zip(classifier.classes, calibration.frequencies.tolist(), strict=True)
        },
        "scanners": len(set(examples.scanners)),
    }


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
