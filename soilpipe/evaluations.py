"""Evaluations that the store keeps: which version was judged on which labels, with what result. Append-only.

A version's card never changes, so what is learned about it later stands here. Each record also keeps, image by image,
which detections were right and which animals were found, so that two versions can be compared on equal draws of the
same images long after.

`validation` becomes `local` by an evaluation on a random sample of the project's scans, 30 tiles or more that the
version is not familiar with (`detect.ancestry`), used as runs use it: with its own threshold, and its difference. That
holds from the evaluation on: detections made before belong to an analysis that says what was known then, and stay as
they are; those made after it belong to an analysis of their own, which says `local`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from soilpipe import __version__
from soilpipe.analyses import ALGORITHM_VERSION
from soilpipe.config import FrozenModel
from soilpipe.config.frozen import UtcTime
from soilpipe.detect.base import Validation
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.errors import SoilpipeError
from soilpipe.records import Records
from soilpipe.store import Store

ENOUGH_TILES = 30
NEIGHBOURING_HOURS = round(NEIGHBOURING.total_seconds() / 3600)
Sample = Literal["hold-out", "random", "file"]
"""Of whose images: the random tiles of the project's hold-out; all its random tiles; or a label file that was given. Of
the project's own those are left out that the version is familiar with, unless that is all of them."""


class EvaluationError(SoilpipeError):
    """An evaluation in the store cannot be used."""


class Series(FrozenModel):
    """Detections of one question by falling score: scores (float32) and images (uint32, index) as base64 of their
    little-endian bytes, outcomes a character each: + right, - wrong, . lies on what does not count. truths: labels of
    each image."""

    scores: str
    images: str
    outcomes: str
    truths: tuple[int, ...]


class KeptImage(FrozenModel):
    """An image that was judged on. day: scanner and UTC day, or its name where it has none."""

    name: str
    day: str
    area_cm2: float


class KeptMatches(FrozenModel):
    """What is needed to compare two versions on the same images. animals: any taxon, all scores; at_work: any taxon,
    at or above the working threshold; taxa: each with all below it, at work.

    Of each label: length_mm, the longer side (float32, base64); label_images, its image (uint32, base64); labels_found,
    + or - a character: whether a detection at work took it.
    """

    images: tuple[KeptImage, ...]
    animals: Series
    at_work: Series
    taxa: Mapping[str, Series]
    length_mm: str
    label_images: str
    labels_found: str


class Sampled(FrozenModel):
    """How the tiles of an evaluation were taken from the project's random tiles that somebody has looked at.

    tiles: of the sample; left_out: of them, those that the version is familiar with. hold_out: random tiles of the
    hold-out, whatever the sample; hold_out_fit: of them, those that it is not familiar with. unfamiliar_from: of the
    scanners that it was trained on, later scans are no neighbours of what it saw; None where it saw none of them.
    sha256: of the whole sample with its labels, so that two versions can be known to be judged on the same, also where
    they are familiar with different tiles of it.
    """

    tiles: int
    left_out: int
    hold_out: int
    hold_out_fit: int
    unfamiliar_from: UtcTime | None
    sha256: str

    def missing_in_words(self) -> str:
        """What the hold-out lacks to decide on a promotion of the version; "" where it lacks nothing."""
        lacking = ENOUGH_TILES - self.hold_out_fit
        if lacking <= 0:
            return ""
        familiar = self.hold_out - self.hold_out_fit
        words = f"the hold-out has {self.hold_out} random tiles that somebody has looked at"
        if familiar:
            words += (
                f", {familiar} of them of no use: it, or one that it began from, was trained on them or on scans "
                f"within {NEIGHBOURING_HOURS} h of them"
            )
        where = "of a scanner that it was not trained on"
        if self.unfamiliar_from is not None:
            where = f"of scans taken after {self.unfamiliar_from:%Y-%m-%d}, or {where}"
        count = f"{lacking} more" if self.hold_out_fit else f"{lacking}"
        return f"{words}; to decide on a promotion {count} are needed" + (f" ({where})" if familiar else "")


class EvaluationRecord(FrozenModel):
    """One evaluation of one version.

    version: as its content says, also for the one that comes with the package. as_used: with the threshold and the
    difference that runs use. trained_on: how many of the images the version is familiar with, as far as its card tells.
    sampled: None of a label file that was given, and in records of releases that did not look for neighbours of what
    was trained on; those make nothing `local`.
    figures: for people, JSON; the intervals beside them. shortest_found_mm: from which length on recall is 0.5.
    """

    schema_version: Literal[1] = 1
    role: str
    version: str
    name: str
    taxa: tuple[str, ...]
    evaluated_at: UtcTime
    release: str = __version__
    algorithm_version: str = ALGORITHM_VERSION
    sample: Sample
    hold_out_scanner: str | None = None
    sampled: Sampled | None = None
    labels: str
    labels_sha256: str
    simulated: bool
    images: int
    animals: int
    trained_on: int
    as_used: bool
    threshold: float
    shortest_found_mm: float | None
    figures: Mapping[str, Any]
    intervals: Mapping[str, tuple[float, float] | None]
    matches: KeptMatches

    @property
    def validation(self) -> Validation:
        """What this evaluation makes of the version: `local`, or nothing more than its card says."""
        enough = self.sample != "file" and self.sampled is not None and self.images >= ENOUGH_TILES
        current = self.algorithm_version == ALGORITHM_VERSION
        return "local" if enough and current and self.as_used and not self.simulated and not self.trained_on else "none"


EVALUATIONS = Records("evaluations", EvaluationRecord, "an evaluation", EvaluationError)


def keep(store: Store, record: EvaluationRecord) -> str:
    """Add a record; its key."""
    name = f"{record.evaluated_at:%Y%m%dT%H%M%S%fZ}-{record.labels_sha256[:8]}"
    return EVALUATIONS.add(store, f"{record.role}/{record.version}/{name}", record)


def evaluations(store: Store, role: str, version: str) -> list[EvaluationRecord]:
    """Every evaluation of a version (by its content), oldest first."""
    return sorted(EVALUATIONS.all(store, f"{role}/{version}"), key=lambda record: record.evaluated_at)


def newest_local(records: Iterable[EvaluationRecord], threshold: float) -> EvaluationRecord | None:
    """The last evaluation that makes a version with this working threshold `local`."""
    holding = [record for record in records if record.validation == "local" and record.threshold == threshold]
    return holding[-1] if holding else None


def validation_now(store: Store, role: str, version: str, threshold: float, card: Validation) -> Validation:
    """What stands behind a version's detections from now on: its card's word, or `local` by an evaluation."""
    return "local" if newest_local(evaluations(store, role, version), threshold) else card


@dataclass(frozen=True)
class LastEvaluation:
    """The evaluation that speaks for a version: the last that made it `local`, else the last of all. Lengths in mm."""

    evaluated_at: datetime
    validation: str
    sample: str
    labels: str
    images: int
    animals: int
    threshold: float
    shortest_found_mm: float | None
    figures: Mapping[str, Any]
    intervals: Mapping[str, tuple[float, float] | None]


def summary(record: EvaluationRecord | None) -> LastEvaluation | None:
    """A record without its matches."""
    if record is None:
        return None
    return LastEvaluation(
        evaluated_at=record.evaluated_at,
        validation=record.validation,
        sample=record.sample,
        labels=record.labels,
        images=record.images,
        animals=record.animals,
        threshold=record.threshold,
        shortest_found_mm=record.shortest_found_mm,
        figures=record.figures,
        intervals=record.intervals,
    )
