"""The taxa in which labels and a detector can be compared.

Where one side tells more than the other, they meet in the taxon that both know: labels of Poduromorpha and a detector
of Collembola in Collembola. Where both know parent and child, an animal of the child counts for the parent too; an
animal that the labels only know as the parent may be of the child, and counts neither way there. Where they share no
taxon, only whether there is an animal is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soilpipe.detect.base import Detections
from soilpipe.detect.coco import LabelledImage, is_background
from soilpipe.detect.precision import ImageAnswer
from soilpipe.taxonomy import Taxonomy


@dataclass(frozen=True)
class Meeting:
    """The taxa that both sides know, and what each side's own taxa are among them.

    of_labels, of_detector: for each category or taxon the index of the finest of `taxa` that it belongs to, -1 where
    the other side has nothing like it; within (k, k) bool: taxon i is taxon j or lies below it; animals: which
    categories are animals at all.
    """

    taxa: tuple[str, ...]
    of_labels: np.ndarray
    of_detector: np.ndarray
    within: np.ndarray
    animals: np.ndarray

    @classmethod
    def of(cls, categories: Sequence[str], taxa: Sequence[str], taxonomy: Taxonomy) -> Meeting:
        """A taxon is common when one side names it and the other side names it or something below it."""

        def line(name: str) -> tuple[str, ...]:
            if name not in taxonomy:
                return (name,)
            known = taxonomy.find(name).name
            return (known, *taxonomy.ancestors(known))

        animals = np.array([not is_background(category, taxonomy) for category in categories], bool)
        lines = [line(category) for category, animal in zip(categories, animals, strict=True) if animal]
        found_lines = [line(taxon) for taxon in taxa]
        above = {name for one in lines for name in one} & {one[0] for one in found_lines}
        above |= {name for one in found_lines for name in one} & {one[0] for one in lines}
        common = tuple(dict.fromkeys(one[0] for one in (*lines, *found_lines) if one[0] in above))

        def index(name: str) -> int:
            return next((common.index(known) for known in line(name) if known in common), -1)

        return cls(
            common,
            np.array([index(category) for category in categories], np.int64),
            np.array([index(taxon) for taxon in taxa], np.int64),
            np.array([[upper in line(lower) for upper in common] for lower in common], bool).reshape(
                len(common), len(common)
            ),
            animals,
        )

    def answer(self, image: LabelledImage, found: Detections) -> tuple[ImageAnswer, np.ndarray]:
        """Labels and detections of one image in common taxa, and which labels those are (a mask).

        What the labels call background is no animal and is left out.
        """
        kept = self.animals[image.labels]
        answer = ImageAnswer(
            boxes=image.boxes[kept],
            taxa=self.of_labels[image.labels[kept]],
            crowd=image.crowd[kept],
            counted=np.ones(int(kept.sum()), bool),
            found=found.boxes,
            found_taxa=self.of_detector[found.labels],
            scores=found.scores,
        )
        return answer, kept

    def belongs(self, taxa: np.ndarray, wanted: int) -> np.ndarray:
        """(n,) bool: which of (n,) taxa are taxon `wanted` or lie below it; -1 never does."""
        return (taxa >= 0) & self.within[taxa, wanted]

    def of_taxon(self, answer: ImageAnswer, taxon: int) -> ImageAnswer:
        """The part of an answer that concerns one taxon with all below it. Labels that name only something above it
        are there too, not counted: such an animal may or may not be of the taxon."""
        inside = self.belongs(answer.taxa, taxon)
        above = (answer.taxa >= 0) & self.within[taxon, answer.taxa] & (answer.taxa != taxon)
        wanted = inside | above
        claimed = self.belongs(answer.found_taxa, taxon)
        return ImageAnswer(
            boxes=answer.boxes[wanted],
            taxa=answer.taxa[wanted],
            crowd=answer.crowd[wanted],
            counted=(answer.counted & inside)[wanted],
            found=answer.found[claimed],
            found_taxa=answer.found_taxa[claimed],
            scores=answer.scores[claimed],
        )

    def names_it(self, found: int, labels: np.ndarray) -> np.ndarray:
        """Whether a detection of a taxon tells an animal of each of (n,) label taxa as finely as the labels do."""
        return np.zeros(len(labels), bool) if found < 0 else (labels >= 0) & self.within[found, labels]
