"""Simulated scenes mixed into the training part of real labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from soilpipe.detect.coco import read_labels
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet
from soilpipe.detect.split import Split

FILES = ("labels.json", "truth.json")


def read_simulated(folder: Path | str) -> LabelSet:
    """The labels of a folder that `soilpipe simulate` (or the script of the shipped detector) has written.

    LabelError when there is none, or when they do not say that they are simulated.
    """
    folder = Path(folder)
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise LabelError(f"{folder}: no {' and no '.join(FILES)} is there; `soilpipe simulate` writes such folders")
    labels = read_labels(path, folder)
    if not labels.simulated:
        raise LabelError(f"{path}: it does not say that its scenes are simulated (info.simulated: true)")
    return labels


def mix(split: Split, simulated: Sequence[LabelSet]) -> Split:
    """The split with simulated images added to its training part; validation stays as it is.

    Their scanners and files get names of their own, so that none serves as a reference of another set.
    """
    training = split.training
    for number, labels in enumerate(simulated):
        names = [*training.categories, *(name for name in labels.categories if name not in training.categories)]
        index = np.array([names.index(name) for name in labels.categories], np.int64)

        def renamed(image: LabelledImage, number: int = number, index: np.ndarray = index) -> LabelledImage:
            return replace(
                image,
                file_name=f"simulated-{number}/{image.file_name}",
                scanner_id=None if image.scanner_id is None else f"simulated-{number}/{image.scanner_id}",
                labels=index[image.labels],
            )

        training = replace(
            training,
            categories=tuple(names),
            images=(*training.images, *(renamed(image) for image in labels.images)),
        )
    return replace(split, training=training)
