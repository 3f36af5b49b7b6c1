"""What a detector said about labelled images, image after image, gathered into claims.

Every image is matched once for each question (any animal at ten IoUs, centres, the right taxon, each taxon), and only
what the figures need is kept: a few numbers for each detection and label, no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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

    found (n, 4), scores (n,) by falling score; at_work (n,) bool: at or above the working threshold of its taxon.
    boxes (m, 4), counted (m,) bool: no crowd. matched (n,) int64: the label that each detection took at IoU 0.5, -1
    none; taken (n,) int64: the same when only those at work compete; aside (n,) bool: at work, and lies on what does
    not count. matched_at: `matched` at each of IOUS.
    """

    name: str
    scanner_id: str | None
    captured_at: datetime | None
    width: int
    height: int
    um_per_px: float
    found: np.ndarray
    scores: np.ndarray
    at_work: np.ndarray
    boxes: np.ndarray
    counted: np.ndarray
    matched: np.ndarray
    taken: np.ndarray
    aside: np.ndarray
    answers: Answers = field(repr=False)
    matched_at: tuple[np.ndarray, ...] = field(repr=False)

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

    def found_by(self) -> np.ndarray:
        """(m,) int64: the detection at work that took each label, -1 where none did."""
        detections = np.full(len(self.boxes), -1, np.int64)
        took = np.flatnonzero(self.taken >= 0)
        detections[self.taken[took]] = took
        return detections


def judge_image(
    meeting: Meeting, answer: ImageAnswer, image: LabelledImage, um_per_px: float, at_work: np.ndarray
) -> JudgedImage:
    """Match the detections of one image with its labels, for every question, and again those `at_work`, (n,) bool."""
    matcher = _Matcher(meeting, answer)
    at_work = at_work[matcher.order]
    working = np.flatnonzero(at_work)
    every = np.arange(len(at_work))
    at_ious = {iou: matcher.animals(every, iou) for iou in IOUS}
    those_working = matcher.animals(working, IOUS[0])
    answers = matcher.answers(every, at_ious)
    of_working = matcher.answers(working, {IOUS[0]: those_working})
    answers |= {at_work_(question): told for question, told in of_working.items()}
    taken, aside = np.full(len(every), -1, np.int64), np.zeros(len(every), bool)
    taken[working], aside[working] = those_working
    return JudgedImage(
        name=image.file_name,
        scanner_id=image.scanner_id,
        captured_at=image.captured_at,
        width=image.width,
        height=image.height,
        um_per_px=um_per_px,
        found=matcher.found,
        scores=matcher.scores,
        at_work=at_work,
        boxes=answer.boxes,
        counted=~answer.crowd,
        matched=at_ious[IOUS[0]][0],
        taken=taken,
        aside=aside,
        answers=answers,
        matched_at=tuple(matched for matched, _ in at_ious.values()),
    )


def at_work_(question: Hashable) -> Hashable:
    """The same question, asked of the detections at work alone. Only of IoU 0.5."""
    return ("at work", question)


Answers = dict[Hashable, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""For each question the detections that it is about, their outcomes (int8), and the labels that count."""


class _Matcher:
    """Asks every question about one image, of all its detections or of some."""

    def __init__(self, meeting: Meeting, answer: ImageAnswer) -> None:
        self._meeting, self._answer = meeting, answer
        self.order = np.argsort(-answer.scores, kind="stable")
        self.found = answer.found[self.order]
        self.scores = answer.scores[self.order].astype(np.float32)
        self._taxa = answer.found_taxa[self.order]
        self._touching = near(self.found, answer.boxes, least=IOUS[0])
        self._centres = near(self.found, answer.boxes, least=1e-9, centres=True)
        self._in_crowds = inside_any(self.found, answer.boxes[answer.crowd])

    def animals(
        self, rows: np.ndarray, iou: float, pairs: Near | None = None, agree: Agree | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which label each of these detections takes, and which lie on what does not count."""
        pairs = self._touching if pairs is None else pairs
        matched, aside = pair([pairs[row] for row in rows], self._answer.crowd, least=iou, agree=agree)
        return matched, (aside | self._in_crowds[rows]) & (matched < 0)

    def answers(self, rows: np.ndarray, at_ious: Mapping[float, tuple[np.ndarray, np.ndarray]]) -> Answers:
        """To every question but the IoUs, and to those from what `animals` says of these detections."""
        counted = np.flatnonzero(~self._answer.crowd)
        told: Answers = {iou: (rows, _outcome(*animals), counted) for iou, animals in at_ious.items()}
        told[CENTRE] = (rows, _outcome(*self.animals(rows, 1e-9, self._centres)), counted)
        taxa = self._taxa[rows]

        def agree(row: int, labels: np.ndarray) -> np.ndarray:
            return self._meeting.names_it(int(taxa[row]), self._answer.taxa[labels])

        told[NAMED] = (rows, _outcome(*self.animals(rows, IOUS[0], agree=agree)), counted)
        for index, taxon in enumerate(self._meeting.taxa):
            told[taxon] = self._of_taxon(rows, index)
        return told

    def _of_taxon(self, rows: np.ndarray, taxon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = self._meeting.of_taxon(self._answer, taxon)
        ignored = part.crowd | ~part.counted
        claimed = rows[self._meeting.belongs(self._taxa[rows], taxon)]
        boxes = self.found[claimed]
        matched, aside = pair(near(boxes, part.boxes, least=IOUS[0]), ignored, least=IOUS[0])
        aside = (aside | inside_any(boxes, part.boxes[ignored])) & (matched < 0)
        labels = np.flatnonzero(self._meeting.belongs(self._answer.taxa, taxon) & ~self._answer.crowd)
        return claimed, _outcome(matched, aside), labels


def _outcome(matched: np.ndarray, aside: np.ndarray) -> np.ndarray:
    """(n,) int8"""
    return np.where(matched >= 0, RIGHT, np.where(aside, ASIDE, WRONG)).astype(np.int8)


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
        return cls._blocks(images[0]) if len(images) == 1 else cls.images(images)

    @classmethod
    def images(cls, images: Sequence[JudgedImage]) -> Units:
        """Every image a unit."""
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
    """The claims of one question: an IoU, CENTRE, NAMED, or a taxon; `at_work_` one of them."""
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

    return Lengths(
        of_detections=_joined([sides(image.found, image) for image in images], float)[_order(images)],
        of_labels=_joined([sides(image.boxes, image) for image in images], float),
        found=_joined([image.found_by() >= 0 for image in images], bool),
        unit=_joined(list(units.of_labels), np.int64),
        counted=_joined([image.counted for image in images], bool),
        label=labels_taken(images, IOUS[0]),
    )


def labels_taken(images: Sequence[JudgedImage], iou: float) -> np.ndarray:
    """(n,) int64: the label that each detection took at one of IOUS, in the order of the claims; -1 for none."""
    first = np.cumsum([0, *(len(image.boxes) for image in images)])
    taken = [image.matched_at[IOUS.index(iou)] for image in images]
    told = [np.where(each >= 0, each + start, -1) for each, start in zip(taken, first, strict=False)]
    return np.asarray(_joined(told, np.int64)[_order(images)])


def _order(images: Sequence[JudgedImage]) -> np.ndarray:
    return np.argsort(-_joined([image.scores for image in images], np.float32), kind="stable")


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.asarray(part, kind) for part in parts]) if parts else np.zeros(0, kind)
