"""What a detector is trained on: labels that are named, or the project's own without its hold-out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from soilpipe.config import Project
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import Progress as StageProgress
from soilpipe.detect.dataset import Sample
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet, Where
from soilpipe.detect.scenes_store import grounds_of_store
from soilpipe.detect.split import NEIGHBOURING, neighbours
from soilpipe.detect.training import Grounds
from soilpipe.held_out import held_out
from soilpipe.labels.references import add_references
from soilpipe.labels.taken import write_coco
from soilpipe.store import Store


@dataclass(frozen=True)
class TrainingLabels:
    """A COCO file with its folder, which of its images are taken (None: all), and that in words.

    grounds: unlabelled ground to paste on; None: what the file has of it.
    """

    labels: Path
    images: Path
    where: Where | None
    told: str
    grounds: Grounds | None


def own_labels(
    project: Project,
    store: Store,
    folder: Path,
    *,
    contrast: bool = False,
    difference: bool = True,
    seed: int = 0,
    progress: StageProgress | None = None,
) -> TrainingLabels:
    """The project's own labels, written into `folder`, but for those of the hold-out, which judges and serves nothing
    else. LabelError where there are none.

    `contrast`: with what evens that of their scans. `difference`: with the earlier scans that they are compared with,
    registered to whole scans, which `progress` is told of. `seed`: draws the ground
    to paste on.
    """
    path = write_coco(project, store, folder, which="all", contrast=contrast, difference=False)
    if path is None:
        raise LabelError(
            "nobody has looked at a tile of this project yet, so there is nothing to train on. Draw some with "
            "`soilpipe label draw`, mark the animals in them and bring them back with `soilpipe label import`; or name "
            "labels of your own with --labels and --images"
        )
    taken, told = outside_hold_out(read_labels(path, path.parent), held_out(project, store).holds)
    if difference:
        add_references(project, store, path, taken, progress=progress)

    def grounds(
        labels: LabelSet, trained_on: LabelSet, um_per_px: float, even: bool, progress: StageProgress | None
    ) -> list[Sample]:
        return grounds_of_store(
            project, store, um_per_px, labels=labels, trained_on=trained_on, even=even, seed=seed, progress=progress
        )

    return TrainingLabels(path, path.parent, lambda image: image.file_name in taken, told, grounds)


def outside_hold_out(labels: LabelSet, holds: Where) -> tuple[frozenset[str], str]:
    """The file names of the labelled images to train on, and in words what was left out. `holds`: whether an image is
    of the hold-out.

    Images of the hold-out are left out, and those that neighbour one of them (`split.NEIGHBOURING`) unless that would
    leave less than half of the others: these neighbours then do not judge what is trained on them (`detect.ancestry`).
    LabelError where the hold-out is all there is.
    """
    images = labels.labelled
    held = frozenset(image.file_name for image in images if holds(image))
    near = neighbours(images, held)
    rest = frozenset(image.file_name for image in images) - held
    hours = NEIGHBOURING.total_seconds() / 3600
    if images and not rest:
        raise LabelError(
            f"{labels.source}: all {len(images)} labelled tiles are of the hold-out (one scanner whole, and the last "
            "fifth in time of every other), which judges detectors and serves nothing else. Label tiles of more "
            "scanners, or of earlier scans"
        )
    told = f"{len(held)} of {len(images)} labelled tiles are of the hold-out and left out"
    if 2 * len(rest - near) < len(rest) or not _has_animals(images, rest - near):
        if near:
            told += (
                f"; {len(near)} others, within {hours:g} h of one of them, are trained on: too few would be left. "
                "Tiles of the hold-out that near do not count when a detector is judged that was trained so; labels of "
                "scans more days apart would"
            )
        return rest, told
    if near:
        told += f", as are {len(near)} others within {hours:g} h of one of them"
    return rest - near, told


def _has_animals(images: tuple[LabelledImage, ...], names: frozenset[str]) -> bool:
    return any(len(image.boxes) for image in images if image.file_name in names)
