"""Judging a detector on the project's own labels, and keeping what came of it.

Only the random half of the tiles speaks for the project; the suggested ones are the difficult and the rare. Of the
random tiles those of the hold-out are taken, where they are enough; else all of them, which the gate does not accept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from soilpipe import models
from soilpipe.config import Project
from soilpipe.detect.base import Detector
from soilpipe.detect.coco import read_labels
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.holdout import LAST_SHARE
from soilpipe.detect.kept_matches import record_of
from soilpipe.detect.labelled import LabelledImage, Where
from soilpipe.errors import SoilpipeError
from soilpipe.evaluations import ENOUGH_TILES, EvaluationRecord, Sample, keep
from soilpipe.held_out import held_out
from soilpipe.labels.taken import write_coco
from soilpipe.store import Store


class NoLabelsError(SoilpipeError):
    """The project has no labels that a detector could be judged on."""


@dataclass(frozen=True)
class JudgedOn:
    """The images to judge on: a COCO file with its folder, and which of its images count (None: all that are
    labelled). `told`: in words what they are, and what follows from that."""

    labels: Path
    images: Path
    names: frozenset[str] | None
    sample: Sample
    hold_out_scanner: str | None
    told: str

    def where(self, scanners: frozenset[str] = frozenset()) -> Where:
        """Of these images those of the `scanners`; of all when none is named."""

        def wanted(image: LabelledImage) -> bool:
            of_sample = self.names is None or image.file_name in self.names
            return of_sample and (not scanners or image.scanner_id in scanners)

        return wanted


def own_labels(project: Project, store: Store, folder: Path) -> JudgedOn:
    """The project's own labels, written into `folder`, with the tiles to judge on.

    NoLabelsError when nobody has looked at a random tile yet.
    """
    path = write_coco(project, store, folder, which="all")
    if path is None:
        raise NoLabelsError(
            "nobody has looked at a tile of this project yet. Draw some with `soilpipe label draw`, mark the animals "
            "in them and bring them back with `soilpipe label import`; or name labels of your own with --labels and "
            "--images"
        )
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    at_random = {entry["file_name"] for entry in data["images"] if entry.get("how") == "random"}
    if not at_random:
        raise NoLabelsError(
            "only suggested tiles have been looked at. They are the difficult ones and say nothing of the rest: look "
            "at some of the random half of a draw as well"
        )
    images = read_labels(path, path.parent).labelled
    hold_out = held_out(project, store)
    held = {image.file_name for image in images if image.file_name in at_random and hold_out.holds(image)}
    enough = len(held) >= ENOUGH_TILES
    left_out = data.get("info", {}).get("left_out") or ()
    lost = f" {len(left_out)} labelled tiles have lost their pixels and are left out." if left_out else ""
    return JudgedOn(
        labels=path,
        images=path.parent,
        names=frozenset(held if enough else at_random),
        sample="hold-out" if enough else "random",
        hold_out_scanner=hold_out.scanner,
        told=(_held_words(len(held), hold_out.scanner) if enough else _random_words(len(at_random), len(held))) + lost,
    )


def _held_words(count: int, scanner: str | None) -> str:
    whole = f"scanner {scanner} whole, and " if scanner else ""
    return (
        f"{count} random tiles of this project's hold-out ({whole}the last {LAST_SHARE}th part in time of every "
        "scanner), which training leaves out"
    )


def _random_words(count: int, held: int) -> str:
    words = f"all {count} random tiles of this project that somebody has looked at"
    if count < ENOUGH_TILES:
        return f"{words}; from {ENOUGH_TILES} on the figures stand behind the counts"
    return f"{words}; its hold-out has {held}, too few to decide on a promotion ({ENOUGH_TILES} are needed)"


def given_labels(labels: Path, images: Path) -> JudgedOn:
    """A label file of the user's."""
    told = f"the labels of {labels.name}, which stand for this project only as far as you know them to"
    return JudgedOn(labels, images, None, "file", None, told)


def keep_evaluation(
    store: Store, detector: Detector, evaluation: Evaluation, on: JudgedOn, now: datetime, *, whole: bool = True
) -> EvaluationRecord:
    """Keep an evaluation of a detector of this store. `whole` False: some of the sample was left out on purpose."""
    record = record_of(
        evaluation,
        detector.info,
        _card(store, detector),
        sample=on.sample,
        hold_out_scanner=on.hold_out_scanner,
        now=now,
        whole=whole,
    )
    keep(store, record)
    return record


def _card(store: Store, detector: Detector) -> Mapping[str, Any]:
    """The card of a registered version; none where there is no such thing, as for `change`."""
    role, version = detector.info.role, detector.info.version
    for known in models.list_models(store, role):
        if version in (known.version, models.content_of(store, role, known.version)):
            return known.card
    return {}


def in_words(record: EvaluationRecord) -> str:
    """What an evaluation makes of a version, and why not more."""
    if record.validation == "local":
        return (
            f"From now on, what {record.name} ({record.version}) detects is marked `local`: judged on a random sample "
            "of this project's scans. What it detected before keeps its mark."
        )
    if record.simulated:
        return "The labels are of simulated scenes: they say nothing of this project's scans."
    if record.sample == "file":
        return "Kept, without changing what its counts are marked with: that takes this project's own random tiles."
    if record.trained_on:
        return (
            f"{record.trained_on} of the {record.images} tiles were trained on, by it or by one that it began from, so "
            "the figures flatter, and its counts keep their mark."
        )
    if not record.as_used:
        return "Not judged as runs use it (all tiles, its own threshold, its difference): its counts keep their mark."
    return f"{record.images} tiles are too few to stand behind counts; {ENOUGH_TILES} are needed."
