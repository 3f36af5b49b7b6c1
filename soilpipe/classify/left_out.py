"""How far the labelled crops lie from the classes when space and references are fitted without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from soilpipe.classify.examples import Examples
from soilpipe.classify.folds import FOLDS, Fold, Folds, make_folds
from soilpipe.classify.prototypes import References
from soilpipe.classify.space import Space, fit_space
from soilpipe.classify.unknown import distances

AT_ONCE = 2000  # crops: their cosines to 50,000 others are 0.8 GB
LEAST_CROPS = 2  # of all: fewer make no space

Vectors = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Which crops may be learned from (n,) bool, and labels (n,) -> vectors of all crops (n, d) float32, by an encoder that
has learned from those and from no other."""


def place(examples: Examples, labels: np.ndarray, classes: int) -> tuple[Space, References]:
    """The space of labelled crops, `labels` (n,) int64, and they themselves in it."""
    space = fit_space(examples.embeddings, examples.sizes_mm, labels, classes)
    return space, References(space.directions(examples.embeddings, examples.sizes_mm), labels, classes)


def seen_by(vectors: Vectors | None, examples: Examples, learned: np.ndarray, labels: np.ndarray) -> Examples:
    """The examples with the vectors of an encoder that has learned from some of them alone."""
    return examples if vectors is None else replace(examples, embeddings=vectors(learned, labels))


def left_out_distances(
    examples: Examples, labels: np.ndarray, folds: Folds, classes: int, vectors: Vectors | None = None
) -> np.ndarray:
    """(n, classes) float64: the distance of each crop to every class, told without its fold. NaN in the row of a crop
    that has no class (label -1), whose class no other fold shows, or that is in no fold.

    Also crops that were not drawn as they come count: how far a mite lies from mites depends on no frequency.
    """
    found = np.full((len(examples), classes), np.nan)
    for fold in folds_of_all(examples, folds):
        fitted = np.flatnonzero(fold.fitted & (labels >= 0))
        asked = np.flatnonzero(fold.held & (labels >= 0))
        if len(fitted) <= LEAST_CROPS or not len(asked):
            continue
        seen = seen_by(vectors, examples, fold.fitted & (labels >= 0), labels)
        space, references = place(seen.select(fitted), labels[fitted], classes)
        asked = asked[references.present[labels[asked]]]
        for part in np.split(asked, range(AT_ONCE, len(asked), AT_ONCE)):
            directions = space.directions(seen.embeddings[part], seen.sizes_mm[part])
            found[part] = distances(directions, references)
    return found


def folds_of_all(examples: Examples, folds: Folds) -> list[Fold]:
    """Folds that leave out as many crops as can be once: those of calibration; where some scanners serve calibration
    alone, also those of the rest; where nothing else can be held out, every fifth crop of a class."""
    if not folds.folds:
        return _by_crop(examples)
    if folds.kept.all():
        return list(folds.folds)
    kept = np.flatnonzero(folds.kept)
    inner = make_folds(examples.select(kept)).folds or _by_crop(examples.select(kept))
    return [*folds.folds, *(Fold(_lifted(one.fitted, kept, folds), _lifted(one.held, kept, folds)) for one in inner)]


def _lifted(mask: np.ndarray, kept: np.ndarray, folds: Folds) -> np.ndarray:
    whole = np.zeros(len(folds.kept), bool)
    whole[kept] = mask
    return whole


def _by_crop(examples: Examples) -> list[Fold]:
    taxa: Sequence[str] = examples.taxa
    met: dict[str, int] = {}
    turn = np.empty(len(taxa), np.int64)
    for row, taxon in enumerate(taxa):
        turn[row] = met.setdefault(taxon, 0) % FOLDS
        met[taxon] += 1
    return [Fold(turn != number, turn == number) for number in range(FOLDS) if (turn == number).any()]
