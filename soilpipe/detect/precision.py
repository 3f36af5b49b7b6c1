"""COCO's average precision by faster-coco-eval, at up to 1000 detections an image.

COCO's headline figures stop at 100 detections an image, which a crowded scan exceeds; here `maxDets` is 1000, and the
figures are taken from the precision array itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

MOST = 1000  # detections an image
_NOT_COUNTED = 1e13  # an area outside the only range of areas: such a label is matched, but neither right nor missed


@dataclass(frozen=True)
class Precisions:
    """COCO average precisions, 0..1; None without labels that count. `animals`: how many those are."""

    ap50: float | None
    ap75: float | None
    ap: float | None
    animals: int


@dataclass(frozen=True)
class ImageAnswer:
    """One image: labels and detections, by taxa that both sides share (an index, -1 for none of them).

    boxes (n, 4), taxa (n,) int64, crowd (n,) bool, counted (n,) bool: labels; those not `counted` are ignored.
    found (m, 4), found_taxa (m,) int64, scores (m,): detections. Boxes in px, x_min y_min x_max y_max.
    """

    boxes: np.ndarray
    taxa: np.ndarray
    crowd: np.ndarray
    counted: np.ndarray
    found: np.ndarray
    found_taxa: np.ndarray
    scores: np.ndarray


def coco_precisions(answers: Sequence[ImageAnswer]) -> Precisions:
    """Average precision over images, of all animals in the answers whatever they are called.

    A detection that matches a label that is not counted is neither right nor wrong.
    """
    labels: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    animals = 0
    for image, answer in enumerate(answers, start=1):
        for box, crowd, counted in zip(_coco_boxes(answer.boxes), answer.crowd, answer.counted, strict=True):
            area = float(box[2] * box[3]) if counted else _NOT_COUNTED
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": box.tolist(),
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
            animals += bool(counted and not crowd)
        for box, score in zip(_coco_boxes(answer.found), answer.scores, strict=True):
            detections.append({"image_id": image, "category_id": 1, "bbox": box.tolist(), "score": float(score)})
    if not animals:
        return Precisions(None, None, None, 0)
    truth = COCO(
        {
            "images": [{"id": image} for image in range(1, len(answers) + 1)],
            "categories": [{"id": 1, "name": "animal"}],
            "annotations": labels,
        },
        print_function=_quiet,
    )
    run = COCOeval_faster(truth, truth.loadRes(detections), "bbox", print_function=_quiet)
    run.params.maxDets = [MOST]
    run.params.areaRng = [[0.0, _NOT_COUNTED / 10]]
    run.params.areaRngLbl = ["all"]
    run.evaluate()
    run.accumulate()
    precision = np.asarray(run.eval["precision"])[:, :, 0, 0, 0]  # IoU thresholds 0.50 to 0.95, 101 levels of recall
    precision = np.where(precision < 0, 0.0, precision)
    by_iou = precision.mean(axis=1)
    return Precisions(float(by_iou[0]), float(by_iou[5]), float(by_iou.mean()), animals)


def mean_precisions(parts: Sequence[Precisions]) -> Precisions:
    """Mean over taxa, each counting the same."""
    told = [part for part in parts if part.ap50 is not None]
    if not told:
        return Precisions(None, None, None, 0)
    return Precisions(
        float(np.mean([part.ap50 for part in told])),
        float(np.mean([part.ap75 for part in told])),
        float(np.mean([part.ap for part in told])),
        sum(part.animals for part in told),
    )


def _coco_boxes(boxes: np.ndarray) -> np.ndarray:
    """x_min y_min x_max y_max to x y width height, float64."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _quiet(*_: object) -> None:
    """The evaluation prints its progress; a library does not."""
