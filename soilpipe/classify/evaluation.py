"""What a classifier is worth on labelled crops that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from soilpipe.classify.backoff import lineage_of
from soilpipe.classify.classifier import Answers, Classifier
from soilpipe.classify.examples import Examples
from soilpipe.taxonomy import Taxonomy

BINS = 15  # of expected calibration error, equally wide


@dataclass(frozen=True)
class ClassifierFigures:
    """Figures on n crops whose taxon is one of the classes; `left_out`: crops of other taxa; `seen`: of scans that it
    learned from, which judge nothing.

    macro_f1: mean over the classes that have a crop, background among them, of the likeliest class. by_class: F1 and
    crops. expected_calibration_error: of the likeliest class's probability. coverage: share of sets that hold the true
    class; set_size: their mean size. answered: share with an answer after back-off, error_among_answers: share of those
    that is wrong, full_depth: share answered with a class, not with what is above one. unknown_among_known: share of
    crops of known classes that it calls unknown. NaN where there is nothing to tell it from.
    """

    crops: int
    left_out: int
    macro_f1: float
    accuracy: float
    by_class: Mapping[str, tuple[float, int]]
    expected_calibration_error: float
    coverage: float
    set_size: float
    answered: float
    error_among_answers: float
    full_depth: float
    unknown_among_known: float
    seen: int = 0


def evaluate(classifier: Classifier, examples: Examples, taxonomy: Taxonomy) -> ClassifierFigures:
    """Judge on labelled crops of the classifier's encoder. A crop of a taxon that is no class counts as the nearest
    class above it, else it is left out; so is one of a scan that it learned from: its nearest neighbour is itself."""
    familiar = classifier.knows(examples.sources)
    examples = examples.select(~familiar)
    true = true_classes(examples.taxa, classifier.classes, taxonomy)
    kept = examples.select(true >= 0)
    answers = classifier.classify(kept.embeddings, kept.sizes_mm)
    figures = figures_of(classifier, answers, true[true >= 0], int((true < 0).sum()))
    return replace(figures, seen=int(familiar.sum()))


def true_classes(taxa: Sequence[str], classes: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """For each taxon the class that it counts as: its own, else the nearest above it; -1 for none. (n,) int64."""
    index = {taxon: label for label, taxon in enumerate(classes)}
    found = {
        taxon: next((index[name] for name in (taxon, *lineage_of(taxon, taxonomy)) if name in index), -1)
        for taxon in set(taxa)
    }
    return np.array([found[taxon] for taxon in taxa], np.int64)


def figures_of(classifier: Classifier, answers: Answers, true: np.ndarray, left_out: int = 0) -> ClassifierFigures:
    """The figures of answers to crops whose classes, (n,) int64, are known."""
    n = len(true)
    by_class = f1_by_class(true, answers.best, len(answers.classes))
    counts = np.bincount(true, minlength=len(answers.classes))
    answered = np.array([taxon is not None for taxon in answers.taxon], bool)
    right = right_answers(classifier, answers, true)
    nodes = [taxon in classifier.lineages for taxon in answers.taxon]
    return ClassifierFigures(
        crops=n,
        left_out=left_out,
        macro_f1=macro_f1(true, answers.best, len(answers.classes)),
        accuracy=_share(answers.best == true),
        by_class={
            taxon: (float(by_class[label]), int(counts[label]))
            for label, taxon in enumerate(answers.classes)
            if counts[label]
        },
        expected_calibration_error=expected_calibration_error(
            answers.probabilities[np.arange(n), answers.best], answers.best == true
        ),
        coverage=_share(answers.sets[np.arange(n), true]),
        set_size=float(answers.sets.sum(axis=1).mean()) if n else math.nan,
        answered=_share(answered),
        error_among_answers=_share(~right[answered]),
        full_depth=_share(np.array(nodes, bool)),
        unknown_among_known=_share(answers.is_unknown),
    )


def right_answers(classifier: Classifier, answers: Answers, true: np.ndarray) -> np.ndarray:
    """(n,) bool: the answer is the true class or above it. No answer is not right."""
    tree = classifier.tree
    index = {name: number for number, name in enumerate(tree.nodes)}
    return np.array(
        [
            taxon is not None and tree.is_right(index[taxon], label)
            for taxon, label in zip(answers.taxon, true.tolist(), strict=True)
        ],
        bool,
    )


def f1_by_class(true: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) F1 of each class; NaN for one that has neither a crop nor an answer."""
    hits = np.bincount(true[true == found], minlength=classes)
    of = np.bincount(true, minlength=classes) + np.bincount(found, minlength=classes)
    return np.where(of > 0, 2 * hits / np.maximum(of, 1), np.nan)


def macro_f1(true: np.ndarray, found: np.ndarray, classes: int) -> float:
    """Mean F1 of the classes that have a crop; NaN without any."""
    present = np.bincount(true, minlength=classes) > 0
    return float(f1_by_class(true, found, classes)[present].mean()) if present.any() else math.nan


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over equally wide bins (Naeini et al. 2015; Guo et al. 2017)."""
    if not len(confidence):
        return math.nan
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(float(confidence[place == k].sum() - right[place == k].sum())) for k in range(bins)]
    return math.fsum(gaps) / len(confidence)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties half; NaN where one kind is absent."""
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * few))


def _share(flags: Sequence[bool] | np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else math.nan
