"""What a second stage learns from: the candidates of the first stage on labelled samples, and what each should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from soilpipe.background import rgb_only
from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.decode import overlaps
from soilpipe.detect.scoring import inside_any
from soilpipe.detect.second_stage.crops import crop, cuts_around
from soilpipe.detect.second_stage.network import SIDE, TOLD

Progress = Callable[[int, int], None]
Candidates = Callable[[Sample], Detections]
"""The first stage's candidates in a sample, best first."""

MOST = 40  # candidates of a sample beside those on animals, the best
MOST_IN_ALL = 60_000  # such candidates; of many samples each gives fewer
ALONE_EVERY = 6  # samples, of which one is also shown without its difference
NEAR = 0.3  # IoU with a label from which a candidate is on it: it learns that box and that taxon
NONE, WHOLE = 0.35, 0.65  # IoU up to which it is no animal, and from which it is one; a ramp between


@dataclass(frozen=True)
class Examples:
    """n crops and what they should be.

    pixels  (n, 7, SIDE, SIDE) uint8
    told    (n, TOLD) float32, see `crops.Cut.told`
    animal  (n,) float32: 0 no animal, 1 one whose box fits, between by the IoU
    near    (n,) bool: on a label; for the others box and taxon are not asked
    sides   (n, 4) float32: by how much the box's sides should move, in sides of the crop
    boxes   (n, 4) float32: the box, in sides of the crop from its corner
    taxon   (n,) int64
    scores  (n,) float32: of the first stage
    """

    pixels: np.ndarray
    told: np.ndarray
    animal: np.ndarray
    near: np.ndarray
    sides: np.ndarray
    boxes: np.ndarray
    taxon: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def examples_of(samples: Sequence[Sample], candidates: Candidates, progress: Progress | None = None) -> Examples:
    """The candidates of labelled samples. Left out is what lies on labels that do not count (crowds).

    Some samples give those that the first stage has without their difference too: a scanner's first scans have none,
    and what is taken for an animal there is something else. Memory: 29 kB a candidate, of which a sample has, each time
    it is shown, at most MOST and those on its animals.
    """
    most = max(1, min(MOST, MOST_IN_ALL // max(1, len(samples))))
    parts = []
    for done, sample in enumerate(samples, start=1):
        parts.append(_of_sample(sample, candidates(sample), most))
        if sample.references and done % ALONE_EVERY == 0:
            shown = alone(sample)
            parts.append(_of_sample(shown, candidates(shown), most))
        if progress is not None:
            progress(done, len(samples))
    return joined(parts)


def alone(sample: Sample) -> Sample:
    """The same without its difference."""
    passes = {
        name: SamplePass(rgb_only(each).read(0, each.height, 0, each.width), each.factor)
        for name, each in sample.passes.items()
    }
    return replace(sample, passes=passes, references=0)


def joined(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, in their order."""
    if not parts:
        return _nothing()
    fields = Examples.__dataclass_fields__
    return Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def _nothing() -> Examples:
    return Examples(
        np.zeros((0, 7, SIDE, SIDE), np.uint8),
        np.zeros((0, TOLD), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, bool),
        np.zeros((0, 4), np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, np.float32),
    )


def _of_sample(sample: Sample, found: Detections, most: int) -> Examples:
    image = sample.image
    counts = ~image.crowd
    boxes, labels = image.boxes[counts].astype(np.float64), image.labels[counts]
    likeness = overlaps(found.boxes, boxes) if len(boxes) else np.zeros((len(found), 1))
    best, whose = likeness.max(axis=1), likeness.argmax(axis=1)
    aside = (best < NEAR) & (
        inside_any(found.boxes, image.boxes[image.crowd]) | _on(found.boxes, image.boxes[image.crowd])
    )
    order = np.argsort(-found.scores, kind="stable")
    others = order[(best < NEAR)[order] & ~aside[order]][:most]
    taken = np.sort(np.concatenate([np.flatnonzero(best >= NEAR), others]))
    if not len(taken):
        return _nothing()
    found, best, whose = found.select(taken), best[taken], whose[taken]
    cuts = cuts_around(found, sample.passes, sample.um_per_px)
    own = np.stack([cut.inside(box) for cut, box in zip(cuts, found.boxes.astype(np.float64), strict=True)])
    near = best >= NEAR
    sides = np.zeros((len(cuts), 4))
    for one in np.flatnonzero(near):
        sides[one] = cuts[one].inside(boxes[whose[one]]) - own[one]
    return Examples(
        np.stack([crop(cut, sample.passes) for cut in cuts]),
        np.array([cut.told for cut in cuts], np.float32),
        np.clip((best - NONE) / (WHOLE - NONE), 0, 1).astype(np.float32),
        near,
        sides.astype(np.float32),
        own.astype(np.float32),
        np.where(near, labels[whose] if len(labels) else 0, 0).astype(np.int64),
        found.scores.astype(np.float32),
    )


def _on(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) bool: which boxes overlap one of the others by NEAR or more."""
    if not len(others):
        return np.zeros(len(boxes), bool)
    on: np.ndarray = overlaps(boxes, others).max(axis=1) >= NEAR
    return on
