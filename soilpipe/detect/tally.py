"""What a detector said about labelled images, image after image, gathered into claims.

Every image is matched once for each question (any animal at ten IoUs, centres, the right taxon, each taxon), and only
what the figures need is kept: a few numbers for each detection and label, no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from soilpipe.detect.claims import ASIDE, RIGHT, WRONG, Claims, pooled
from soilpipe.detect.figures import Lengths
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.meeting import Meeting
from soilpipe.detect.precision import ImageAnswer
from soilpipe.detect.scoring import Agree, Near, inside_any, near, pair

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
CENTRE, NAMED = ("centre",), ("named",)
"""Questions besides the IoUs (any animal) and the names of taxa."""
BLOCKS_ACROSS = 8  # a single image is cut into about 8 x 8 blocks


@dataclass(frozen=True)
class JudgedImage:
    """One image: its facts, and where its detections (n) and labels (m) lie. Boxes in px, x_min y_min x_max y_max.

    found (n, 4), scores (n,) by falling score; boxes (m, 4), counted (m,) bool: no crowd; matched (n,) int64: the label
    that each detection took at IoU 0.5, -1 none; aside (n,) bool: lies on what does not count.
    """

    name: str
    scanner_id: str | None
    captured_at: datetime | None
    width: int
    height: int
    um_per_px: float
    found: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    counted: np.ndarray
    matched: np.ndarray
    aside: np.ndarray
    answers: dict[Hashable, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(repr=False)

    @property
    def area_cm2(self) -> float:
        """By its µm/px."""
        return self.width * self.height * (self.um_per_px / 10_000) ** 2

    @property
    def scanner_day(self) -> str:
        """Scanner and UTC day; the image's own name where it has no scanner or time."""
        if self.scanner_id is None or self.captured_at is None:
            return self.name
        return f"{self.scanner_id} {self.captured_at:%Y-%m-%d}"

    def found_at(self) -> np.ndarray:
        """(m,) float32: the score of the detection that took each label, -1 where none did."""
        scores = np.full(len(self.boxes), -1.0, np.float32)
        took = self.matched >= 0
        scores[self.matched[took]] = self.scores[took]
        return scores


def judge_image(meeting: Meeting, answer: ImageAnswer, image: LabelledImage, um_per_px: float) -> JudgedImage:
    """Match the detections of one image with its labels, for every question."""
    order = np.argsort(-answer.scores, kind="stable")
    found, scores, found_taxa = answer.found[order], answer.scores[order], answer.found_taxa[order]
    touching = near(found, answer.boxes, least=IOUS[0])
    crowds = inside_any(found, answer.boxes[answer.crowd])

    def told(pairs: Near, ignored: np.ndarray, inside: np.ndarray, least: float, agree: Agree | None = None) -> _Told:
        matched, aside = pair(pairs, ignored, least=least, agree=agree)
        return _Told(matched, (aside | inside) & (matched < 0))

    counted = np.flatnonzero(~answer.crowd)
    every = np.arange(len(found))
    answers: dict[Hashable, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for iou in IOUS:
        answers[iou] = (every, told(touching, answer.crowd, crowds, iou).outcome, counted)
    by_centre = near(found, answer.boxes, least=1e-9, centres=True)
    answers[CENTRE] = (every, told(by_centre, answer.crowd, crowds, 1e-9).outcome, counted)
    named = told(
        touching,
        answer.crowd,
        crowds,
        IOUS[0],
        lambda row, labels: meeting.names_it(int(found_taxa[row]), answer.taxa[labels]),
    )
    answers[NAMED] = (every, named.outcome, counted)
    for taxon in range(len(meeting.taxa)):
        part = meeting.of_taxon(answer, taxon)
        ignored = part.crowd | ~part.counted
        claimed = np.flatnonzero(meeting.belongs(found_taxa, taxon))
        boxes = found[claimed]
        of_taxon = told(
            near(boxes, part.boxes, least=IOUS[0]), ignored, inside_any(boxes, part.boxes[ignored]), IOUS[0]
        )
        answers[meeting.taxa[taxon]] = (
            claimed,
            of_taxon.outcome,
            np.flatnonzero(meeting.belongs(answer.taxa, taxon) & ~answer.crowd),
        )
    any_animal = told(touching, answer.crowd, crowds, IOUS[0])
    return JudgedImage(
        name=image.file_name,
        scanner_id=image.scanner_id,
        captured_at=image.captured_at,
        width=image.width,
        height=image.height,
        um_per_px=um_per_px,
        found=found,
        scores=scores.astype(np.float32),
        boxes=answer.boxes,
        counted=~answer.crowd,
        matched=any_animal.matched,
        aside=any_animal.aside,
        answers=answers,
    )


@dataclass(frozen=True)
class _Told:
    matched: np.ndarray
    aside: np.ndarray

    @property
    def outcome(self) -> np.ndarray:
        """(n,) int8"""
        return np.where(self.matched >= 0, RIGHT, np.where(self.aside, ASIDE, WRONG)).astype(np.int8)


@dataclass(frozen=True)
class Units:
    """What is drawn again for the intervals. kind: image, or block of a single image; side_px: of a block."""

    kind: str
    count: int
    side_px: int | None
    of_detections: tuple[np.ndarray, ...]
    of_labels: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    area_cm2: np.ndarray

    @classmethod
    def of(cls, images: Sequence[JudgedImage]) -> Units:
        """Images where there are several; else the blocks of the only one, to which boxes belong by their centre."""
        if len(images) == 1:
            return cls._blocks(images[0])
        return cls(
            "image",
            len(images),
            None,
            tuple(np.full(len(one.found), number) for number, one in enumerate(images)),
            tuple(np.full(len(one.boxes), number) for number, one in enumerate(images)),
            tuple(one.name for one in images),
            np.array([one.area_cm2 for one in images]),
        )

    @classmethod
    def _blocks(cls, image: JudgedImage) -> Units:
        side = max(1, math.ceil(math.sqrt(image.width * image.height) / BLOCKS_ACROSS))
        rows, columns = -(-image.height // side), -(-image.width // side)

        def block(boxes: np.ndarray) -> np.ndarray:
            middle = (boxes[:, :2] + boxes[:, 2:]) / 2
            column = np.clip(middle[:, 0] // side, 0, columns - 1).astype(np.int64)
            return np.asarray(np.clip(middle[:, 1] // side, 0, rows - 1).astype(np.int64) * columns + column)

        sizes = [
            (min(side, image.height - row * side), min(side, image.width - column * side))
            for row in range(rows)
            for column in range(columns)
        ]
        return cls(
            "block",
            rows * columns,
            side,
            (block(image.found),),
            (block(image.boxes),),
            tuple(f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns)),
            np.array([height * width * (image.um_per_px / 10_000) ** 2 for height, width in sizes]),
        )


def claims_of(images: Sequence[JudgedImage], units: Units, question: Hashable) -> Claims:
    """The claims of one question: an IoU, CENTRE, NAMED, or a taxon."""
    parts, truths = [], np.zeros(units.count, np.int64)
    for number, image in enumerate(images):
        which, outcome, labels = image.answers[question]
        parts.append((image.scores[which], outcome, units.of_detections[number][which]))
        truths += np.bincount(units.of_labels[number][labels], minlength=units.count)
    return pooled(parts, truths)


def lengths_of(images: Sequence[JudgedImage], units: Units, *, mm: bool) -> Lengths:
    """The longer sides, in mm or px, of detections in the order of the claims of any animal, and of labels."""

    def sides(boxes: np.ndarray, image: JudgedImage) -> np.ndarray:
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0).astype(float)
        return longer * image.um_per_px / 1000 if mm else longer

    order = np.argsort(-_joined([image.scores for image in images], np.float32), kind="stable")
    first = np.cumsum([0, *(len(image.boxes) for image in images)])
    label = [
        np.where(image.matched >= 0, image.matched + start, -1) for image, start in zip(images, first, strict=False)
    ]
    return Lengths(
        of_detections=_joined([sides(image.found, image) for image in images], float)[order],
        of_labels=_joined([sides(image.boxes, image) for image in images], float),
        found_at=_joined([image.found_at() for image in images], np.float32),
        unit=_joined(list(units.of_labels), np.int64),
        counted=_joined([image.counted for image in images], bool),
        label=_joined(label, np.int64)[order],
    )


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.asarray(part, kind) for part in parts]) if parts else np.zeros(0, kind)
