"""What a project's detector took for animals where people saw none: the background that a classifier really meets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from soilpipe.analyses import publications, published_analysis
from soilpipe.classify.label_facts import ImageFacts
from soilpipe.detect.labelled import LabelledImage, LabelSet
from soilpipe.detections import read_detection_file
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store

APART = 0.1  # IoU with a label from which a detection is no false alarm, however poor its box


def false_alarms(store: Store, labels: LabelSet, facts: Mapping[str, ImageFacts]) -> dict[str, np.ndarray]:
    """For each labelled tile whose scan was detected, the detections that meet no label: (n, 4) float64, px of it.

    The detections are those published for the scan; one belongs to the tile that holds its centre. A tile of a scan
    that was not detected, or whose detections cannot be read, has no entry. What touches a region of animals not told
    apart is left out.
    """
    found: dict[str, np.ndarray] = {}
    for image in labels.labelled:
        if image.scanner_id is None or image.captured_at is None or image.origin is None:
            continue
        analysis = published_analysis(publications(store, image.scanner_id), image.captured_at)
        if analysis is None:
            continue
        try:
            table = read_detection_file(store, analysis, facts[image.file_name].scan).table
        except (SoilpipeError, FileNotFoundError, KeyError):
            continue
        sides = [table[side].to_numpy() for side in ("x_min", "y_min", "x_max", "y_max")]
        boxes = np.column_stack(sides).astype(np.float64).reshape(-1, 4)
        found[image.file_name] = unmet(boxes - np.array([*image.origin, *image.origin], np.float64), image)
    return found


def unmet(boxes: np.ndarray, image: LabelledImage) -> np.ndarray:
    """Of boxes (n, 4), px of a labelled image, those whose middle it holds and that meet no label, clipped to it."""
    here = np.asarray(boxes, np.float64)
    x, y = (here[:, 0] + here[:, 2]) / 2, (here[:, 1] + here[:, 3]) / 2
    here = here[(x >= 0) & (x < image.width) & (y >= 0) & (y < image.height)]
    here = np.clip(here, 0, [image.width, image.height, image.width, image.height])
    return here[[not _meets(box, image.boxes) for box in here]] if len(here) else here


def _meets(box: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a box overlaps a label by APART, or either holds the other's centre."""
    if not len(labels):
        return False
    overlap = np.minimum(box[2:], labels[:, 2:]) - np.maximum(box[:2], labels[:, :2])
    both = np.prod(np.clip(overlap, 0, None), axis=1)
    iou = both / (np.prod(box[2:] - box[:2]) + np.prod(labels[:, 2:] - labels[:, :2], axis=1) - both)
    middle, middles = (box[:2] + box[2:]) / 2, (labels[:, :2] + labels[:, 2:]) / 2
    holds = ((middles >= box[:2]) & (middles < box[2:])).all(axis=1)
    held = ((middle >= labels[:, :2]) & (middle < labels[:, 2:])).all(axis=1)
    return bool(((iou >= APART) | holds | held).any())
