"""Judging a detector on the project's own labels, and keeping what came of it.

Only the random half of the tiles speaks for the project; the suggested ones are the difficult and the rare. Of these a
detector is judged on what neither it nor one that it began from is familiar with (`detect.ancestry.familiar`): where
they are enough, on those of the hold-out, else on all, which the gate does not accept. What is left out are whole
stretches of time of a scanner, not tiles by their look; so what is left is a random sample of the other scans, with the
same chances to be drawn.
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
from soilpipe.detect.ancestry import familiar, last_seen
from soilpipe.detect.base import Detector, evens_contrast
from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.dataset import Progress
from soilpipe.detect.evaluate import labels_digest
from soilpipe.detect.evaluation import Evaluation
from soilpipe.detect.holdout import LAST_SHARE
from soilpipe.detect.kept_matches import record_of
from soilpipe.detect.labelled import LabelledImage, Where
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.errors import SoilpipeError
from soilpipe.evaluations import ENOUGH_TILES, NEIGHBOURING_HOURS, EvaluationRecord, Sample, Sampled, keep
from soilpipe.held_out import held_out
from soilpipe.labels.references import add_references
from soilpipe.labels.taken import write_coco
from soilpipe.store import Store


class NoLabelsError(SoilpipeError):
    """The project has no labels that a detector could be judged on."""


@dataclass(frozen=True)
class JudgedOn:
    """The images to judge on: a COCO file with its folder, and which of its images count (None: all that are
    labelled). `sampled`: how they were taken, None of a file that was given. `told`: in words what they are, and what
    follows from that."""

    labels: Path
    images: Path
    names: frozenset[str] | None
    sample: Sample
    hold_out_scanner: str | None
    told: str
    sampled: Sampled | None = None

    def where(self, scanners: frozenset[str] = frozenset()) -> Where:
        """Of these images those of the `scanners`; of all when none is named."""

        def wanted(image: LabelledImage) -> bool:
            of_sample = self.names is None or image.file_name in self.names
            return of_sample and (not scanners or image.scanner_id in scanners)

        return wanted


def own_labels(
    project: Project, store: Store, folder: Path, detector: Detector, *, progress: Progress | None = None
) -> JudgedOn:
    """The project's own labels, written into `folder`, with the tiles to judge this detector on.

    NoLabelsError when nobody has looked at a random tile yet. Where the detector is familiar with every one of them, it
    is judged on them all the same: such figures flatter, and make nothing `local`. `progress` is told for how many of
    the tiles the earlier scans are registered, of how many: seconds for each scan of A4.
    """
    contrast = evens_contrast(detector.info.settings)
    path = write_coco(project, store, folder, which="all", contrast=contrast, difference=False)
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
    labels = read_labels(path, path.parent)
    hold_out = held_out(project, store)
    drawn = [image for image in labels.labelled if image.file_name in at_random]
    held = frozenset(image.file_name for image in drawn if hold_out.holds(image))
    card = _card(store, detector)
    fit = at_random - familiar(card, [image.file_name for image in drawn], drawn, held=held)
    sample: Sample = "hold-out" if len(fit & held) >= ENOUGH_TILES else "random"
    whole = held if sample == "hold-out" else frozenset(at_random)
    names = (whole & fit) or whole
    if detector.info.uses_difference:
        add_references(project, store, path, names, progress=progress)
    last = last_seen(card, {str(image.scanner_id) for image in drawn})
    sampled = Sampled(
        tiles=len(whole),
        left_out=len(whole - names),
        hold_out=len(held),
        hold_out_fit=len(held & fit),
        unfamiliar_from=None if last is None else last + NEIGHBOURING,
        sha256=labels_digest(only(labels, lambda image: image.file_name in whole)),
    )
    lost = data.get("info", {}).get("left_out") or ()
    words = _held_words(hold_out.scanner, sampled) if sample == "hold-out" else _random_words(sampled)
    return JudgedOn(
        labels=path,
        images=path.parent,
        names=names,
        sample=sample,
        hold_out_scanner=hold_out.scanner,
        told=words + (f" {len(lost)} labelled tiles have lost their pixels and are left out." if lost else ""),
        sampled=sampled,
    )


def _held_words(scanner: str | None, sampled: Sampled) -> str:
    whole = f"scanner {scanner} whole, and " if scanner else ""
    return (
        f"{sampled.tiles} random tiles of this project's hold-out ({whole}the last {LAST_SHARE}th part in time of "
        f"every scanner), which training leaves out{_left_out(sampled)}"
    )


def _random_words(sampled: Sampled) -> str:
    words = f"all {sampled.tiles} random tiles of this project that somebody has looked at{_left_out(sampled)}"
    if sampled.tiles - sampled.left_out < ENOUGH_TILES:
        words += f"; from {ENOUGH_TILES} on that it is not familiar with, the figures stand behind the counts"
    return f"{words}; {sampled.missing_in_words()}"


def _left_out(sampled: Sampled) -> str:
    if not sampled.left_out:
        return ""
    return (
        f", but for {sampled.left_out} that show what it, or one that it began from, was trained on, or are within "
        f"{NEIGHBOURING_HOURS} h of that"
    )


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
        sampled=on.sampled,
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
            f"It is familiar with {record.trained_on} of the {record.images} tiles: it, or one that it began from, was "
            f"trained on them or on scans within {NEIGHBOURING_HOURS} h of them. So the figures flatter, and its "
            f"counts keep their mark. What is needed are {ENOUGH_TILES} random tiles that it is not familiar with"
            + _where(record)
        )
    if not record.as_used:
        return "Not judged as runs use it (all tiles, its own threshold, its difference): its counts keep their mark."
    more = ENOUGH_TILES - record.images
    return (
        f"{record.images} tiles are too few to stand behind counts; {more} more random ones that it is not familiar "
        "with are needed" + _where(record)
    )


def _where(record: EvaluationRecord) -> str:
    """From which scans such tiles would be, where it is familiar with some of this project's."""
    since = record.sampled.unfamiliar_from if record.sampled else None
    return (
        "."
        if since is None
        else f": of scans taken after {since:%Y-%m-%d}, or of a scanner that it was not trained on."
    )
