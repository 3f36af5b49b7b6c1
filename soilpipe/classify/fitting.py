"""Fitting a classifier to labelled crops: experts on some scanners, calibration on the others, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilpipe.classify.backoff import Chosen, choose_threshold, lineage_of, tree_of
from soilpipe.classify.calibration import (
    Calibration,
    Experts,
    field_frequencies,
    fit_calibration,
    frequencies_elsewhere,
    softmax,
)
from soilpipe.classify.classifier import Classifier, experts_of
from soilpipe.classify.conformal import fit_limit
from soilpipe.classify.evaluation import figures_of
from soilpipe.classify.examples import BACKGROUND, ClassifierError, Examples
from soilpipe.classify.folds import Folds, make_folds
from soilpipe.classify.head import DECAYS, Head, fit_head
from soilpipe.classify.left_out import LEAST_CROPS, left_out_distances, place
from soilpipe.classify.prototypes import References
from soilpipe.classify.space import Space
from soilpipe.classify.unknown import fit_limits
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
) -> Fitted:
    """Fit head, prototypes and limits, and calibrate them on held-out scanners.

    `alpha`: the error among answers that is allowed, and the share of sets that may miss the true class. `calibrate`:
    scanners that serve calibration alone; by default every scanner is held out once (`folds`). Only crops of scans
    drawn as they come enter calibration; a crop whose class no other scanner shows cannot, and is counted.

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
    by_decay, rows, lost = _held_out(examples, labels, folds, drawn, len(classes))
    held_labels = labels[rows]
    decay = _best_decay(by_decay, held_labels)
    elsewhere = frequencies_elsewhere(held_labels, np.array(examples.scanners, object)[rows], len(classes))
    frequencies = field_frequencies(held_labels, len(classes))
    calibration = fit_calibration(by_decay[decay], held_labels, elsewhere, frequencies)
    probabilities = calibration.probabilities(by_decay[decay], elsewhere)
    chosen = choose_threshold(tree_of(lineages), probabilities, held_labels, alpha)
    parts = _fit(kept, labels[folds.kept], len(classes), (decay,))
    left_out = left_out_distances(examples, labels, folds, len(classes))
    classifier = Classifier(
        lineages=lineages,
        space=parts.space,
        head=parts.heads[decay],
        calibration=calibration,
        threshold=chosen.threshold,
        limit=fit_limit(probabilities, held_labels, alpha),
        unknown_limits=fit_limits(left_out, labels),
        examples=kept,
        card={"alpha": alpha},
    )
    told = _told(classifier, examples, folds, rows, lost, decay, chosen, probabilities, held_labels)
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
    examples: Examples, labels: np.ndarray, folds: Folds, drawn: np.ndarray, classes: int
) -> tuple[dict[float, Experts], np.ndarray, int]:
    """What experts that did not see a crop's scanner say of it, for each decay; which crops, (m,) int64; and how many
    were left out because no crop of their class was left to learn from."""
    found: dict[float, list[Experts]] = {decay: [] for decay in DECAYS}
    rows: list[np.ndarray] = []
    lost = 0
    for fold in folds.folds:
        fitted = np.flatnonzero(fold.fitted & (labels >= 0))
        if len(fitted) <= LEAST_CROPS or len(np.unique(labels[fitted])) < 2:
            continue
        there = np.bincount(labels[fitted], minlength=classes) > 0
        asked = np.flatnonzero(fold.held & drawn)
        lost += int((~there[labels[asked]]).sum())
        asked = asked[there[labels[asked]]]
        if not len(asked):
            continue
        parts = _fit(examples.select(fitted), labels[fitted], classes, DECAYS)
        coordinates = parts.space.coordinates(examples.embeddings[asked], examples.sizes_mm[asked])
        directions = parts.space.directions(examples.embeddings[asked], examples.sizes_mm[asked])
        for decay in DECAYS:
            found[decay].append(experts_of(parts.heads[decay], parts.references, coordinates, directions))
        rows.append(asked)
    empty = Experts(*(np.zeros((0, classes)) for _ in range(3)))
    pooled = {
        decay: Experts(*(np.concatenate(part) for part in zip(*each, strict=True))) if each else empty
        for decay, each in found.items()
    }
    return pooled, np.concatenate(rows) if rows else np.zeros(0, np.int64), lost


def _best_decay(by_decay: Mapping[float, Experts], labels: np.ndarray) -> float:
    """The one with which the head alone tells held-out crops best, each class counting alike; 0.01 without any."""
    if not len(labels):
        return DECAYS[1]
    weight = 1.0 / np.bincount(labels)[labels]

    def loss(decay: float) -> float:
        shares = softmax(np.where(np.isfinite(by_decay[decay].logits), by_decay[decay].logits, -1e4))
        of_true = np.maximum(shares[np.arange(len(labels)), labels], 1e-12)
        return float(-(weight * np.log(of_true)).sum() / weight.sum())

    return min(DECAYS, key=loss)


def _told(
    classifier: Classifier,
    examples: Examples,
    folds: Folds,
    rows: np.ndarray,
    lost: int,
    decay: float,
    chosen: Chosen,
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """For the card: how it was calibrated, and what it was worth on the held-out scanners."""
    calibration: Calibration = classifier.calibration
    figures = None
    if len(rows):
        judged = figures_of(classifier, classifier.answers(probabilities, np.zeros(len(rows))), labels)
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
        "decay": decay,
        "held_out": folds.told,
        "calibrated_on": f"{calibration.crops} crops of held-out scanners, drawn as they come"
        if calibration.crops
        else f"nothing: {len(rows)} crops of held-out scanners drawn as they come are too few; temperature 1",
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
