"""A classifier of detected animals: from embeddings and sizes to taxa, with what it doesn't know told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from soilpipe.classify.backoff import Paths, Tree, tree_of
from soilpipe.classify.calibration import Calibration, Experts
from soilpipe.classify.conformal import sets
from soilpipe.classify.examples import BACKGROUND, ClassifierError, Examples, Source
from soilpipe.classify.head import Head
from soilpipe.classify.learned_from import knows
from soilpipe.classify.prototypes import References, cosines, nearest, votes
from soilpipe.classify.space import Space
from soilpipe.classify.unknown import distances, farness

EXPLAINED_BY = 5  # labelled crops


class Embeds(Protocol):
    """What a classifier needs to know of an encoder."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dim(self) -> int: ...


class Neighbour(NamedTuple):
    """A labelled crop near to another: distance is 1 minus the cosine, 0 (the same) to 2."""

    taxon: str
    distance: float
    source: Source
    thumbnail: bytes


@dataclass(frozen=True)
class Answers:
    """What a classifier says of n crops.

    classes        names of the c classes
    probabilities  (n, c) float64, calibrated, adding to 1
    best           (n,) int64, the likeliest class, before back-off
    taxon          n names: the answer after back-off; None where nothing can be said
    probability    (n,) float64 of that answer; NaN without one
    sets           (n, c) bool: the classes that it may be, the true one among them with probability 1 - alpha
    alternatives   n lists of (class, probability): the set without the answer itself, likeliest first
    farness        (n,) float64: distance to the nearest class, in units of that class's limit
    is_unknown     (n,) bool: farness above 1
    is_background  (n,) bool: the answer is no animal
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    best: np.ndarray
    taxon: tuple[str | None, ...]
    probability: np.ndarray
    sets: np.ndarray
    alternatives: tuple[tuple[tuple[str, float], ...], ...]
    farness: np.ndarray
    is_unknown: np.ndarray
    is_background: np.ndarray

    def __len__(self) -> int:
        return len(self.taxon)

    @property
    def best_taxon(self) -> tuple[str, ...]:
        """The name of the likeliest class of each crop, before back-off."""
        return tuple(self.classes[index] for index in self.best.tolist())


@dataclass(frozen=True)
class Classifier:
    """Everything that decides an answer; `card` says where it comes from. Same crops, same answers.

    lineages: for each class, in their order, the names above it, nearest first.
    threshold: of back-off. limit: the least probability in a set. unknown_limits (classes,): distances.
    """

    lineages: Mapping[str, tuple[str, ...]]
    space: Space
    head: Head
    calibration: Calibration
    threshold: float
    limit: float
    unknown_limits: np.ndarray
    examples: Examples
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.lineages)

    @cached_property
    def tree(self) -> Tree:
        """The classes with all that is above them."""
        return tree_of(self.lineages)

    @cached_property
    def references(self) -> References:
        """The labelled crops in the space."""
        index = {taxon: label for label, taxon in enumerate(self.lineages)}
        labels = np.array([index[taxon] for taxon in self.examples.taxa], np.int64)
        directions = self.space.directions(self.examples.embeddings, self.examples.sizes_mm)
        return References(directions, labels, len(self.lineages))

    @property
    def version(self) -> str:
        """12 hex digits over weights and card; `unsaved` before it was written."""
        return str(self.card.get("version", "unsaved"))

    @property
    def encoder(self) -> str:
        """The version of the only encoder whose embeddings it takes."""
        return str(self.card["encoder"])

    @property
    def alpha(self) -> float:
        """The error among answers that it was calibrated for, and the share of sets that may miss the true class."""
        return float(self.card["alpha"])

    def check_encoder(self, encoder: Embeds) -> None:
        """ClassifierError unless the embeddings are of the encoder that this was fitted on."""
        if encoder.version != self.encoder:
            raise ClassifierError(
                f"the classifier {self.card.get('name', self.version)} was fitted on embeddings of the encoder "
                f"{self.encoder} and cannot read those of {encoder.version}: vectors of two encoders have nothing to "
                "say to each other. Use that encoder, or train a classifier on this one (`soilpipe train classifier "
                f"--encoder {encoder.version}`)"
            )
        if encoder.dim != self.space.dim:
            raise ClassifierError(
                f"the classifier {self.card.get('name', self.version)} was fitted on embeddings of {self.space.dim} "
                f"numbers, and those of its encoder {encoder.version} have {encoder.dim}: it is of an earlier release, "
                "which did not look at animals closely. Fit it again with `soilpipe train classifier`"
            )

    def knows(self, sources: Sequence[Source]) -> np.ndarray:
        """(n,) bool: which crops are of a scan that it learned from or was calibrated on, so that they cannot judge
        it."""
        return knows(self.card, self.examples.sources, sources)

    def experts(self, embeddings: np.ndarray, sizes_mm: np.ndarray) -> Experts:
        """What head, prototypes and neighbours say, before calibration."""
        coordinates, directions = self._placed(embeddings, sizes_mm)
        return experts_of(self.head, self.references, coordinates, directions)

    def classify(self, embeddings: np.ndarray, sizes_mm: np.ndarray) -> Answers:
        """(n, d) float32 of `encoder`, (n,) the longer sides of the boxes in mm. ClassifierError on another length."""
        coordinates, directions = self._placed(embeddings, sizes_mm)
        found = self.calibration.probabilities(experts_of(self.head, self.references, coordinates, directions))
        far = farness(distances(directions, self.references), self.unknown_limits)
        return self.answers(found, far)

    def answers(self, probabilities: np.ndarray, far: np.ndarray) -> Answers:
        """The answers to probabilities (n, classes) and farness (n,)."""
        paths: Paths = self.tree.paths(probabilities)
        nodes, passed = self.tree.answers(paths, self.threshold)
        taxa = tuple(self.tree.nodes[node] if node >= 0 else None for node in nodes.tolist())
        may_be = sets(probabilities, self.limit)
        others = tuple(
            _alternatives(self.classes, row, members, taxon)
            for row, members, taxon in zip(probabilities, may_be, taxa, strict=True)
        )
        return Answers(
            classes=self.classes,
            probabilities=probabilities,
            best=probabilities.argmax(axis=1) if len(probabilities) else np.zeros(0, np.int64),
            taxon=taxa,
            probability=passed,
            sets=may_be,
            alternatives=others,
            farness=far,
            is_unknown=far > 1.0,
            is_background=np.array([self.is_background(taxon) for taxon in taxa], bool),
        )

    def is_background(self, taxon: str | None) -> bool:
        """Whether an answer is no animal."""
        if taxon is None:
            return False
        node = self.tree.nodes.index(taxon)
        return any(self.tree.nodes[above] == BACKGROUND for above in (node, *self.tree.above(node)))

    def nearest(self, embedding: np.ndarray, size_mm: float, count: int = EXPLAINED_BY) -> list[Neighbour]:
        """The nearest labelled crops of one crop, (d,) float32, nearest first."""
        _, directions = self._placed(np.asarray(embedding)[None], np.array([size_mm]))
        order, similar = nearest(directions, self.references, count)
        own = self.examples
        return [
            Neighbour(own.taxa[row], float(1.0 - cosine), own.sources[row], own.thumbnails[row])
            for row, cosine in zip(order[0].tolist(), similar[0].tolist(), strict=True)
        ]

    def _placed(self, embeddings: np.ndarray, sizes_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embeddings = np.asarray(embeddings)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.space.dim or len(sizes_mm) != len(embeddings):
            raise ClassifierError(
                f"expected embeddings of {self.space.dim} numbers with a size each, not {embeddings.shape} and "
                f"{np.shape(sizes_mm)}: they are of another encoder than {self.card.get('encoder')}"
            )
        coordinates = self.space.coordinates(embeddings, sizes_mm)
        return coordinates, self.space.directions(embeddings, sizes_mm)


def experts_of(head: Head, references: References, coordinates: np.ndarray, directions: np.ndarray) -> Experts:
    """The three experts' words on some crops."""
    return Experts(head.logits(coordinates), cosines(directions, references), votes(directions, references))


def _alternatives(
    classes: Sequence[str], probabilities: np.ndarray, members: np.ndarray, answer: str | None
) -> tuple[tuple[str, float], ...]:
    rows = sorted(np.flatnonzero(members).tolist(), key=lambda label: (-probabilities[label], label))
    return tuple((classes[label], float(probabilities[label])) for label in rows if classes[label] != answer)
