"""Masks of COCO annotations, as polygons or as run lengths, to outlines and boxes.

Run lengths go down the columns of the image, first what is outside, then what is inside, and so on; compressed they are
a string. Only the columns that a mask covers are ever drawn, so a mask in a scan of a gigapixel costs what the animal
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from soilpipe.detect.label_values import Box, LabelValueError, is_whole, shown
from soilpipe.detect.labelled import Outline

FINER = 2  # an outline is traced on pixels halved, so that it runs a quarter of a pixel inside their edge, not half
MOST_DRAWN = 200_000_000  # px of the columns that a mask covers; a larger one, of a crowd, is its box alone
BEYOND = 1  # sides of the image that a polygon may reach beyond it


class MaskError(LabelValueError):
    """A mask that cannot be meant; the message says what is wrong with it."""


def outline_of(segmentation: Any, width: int, height: int) -> tuple[Outline, Box | None]:
    """Polygons of a mask, each (k, 2) float32 x, y, px of the file; and the box around it, x y width height.

    () and None where the annotation has no mask; rings of polygons that are none are passed over, as tools write them
    for boxes. Run lengths give the outer outline of every part; holes are filled. MaskError where run lengths are not
    those of an image of this size, and where polygons lie far outside it.
    """
    if not segmentation and segmentation in (None, "", [], {}):
        return (), None
    if isinstance(segmentation, Mapping):
        return _of_runs(segmentation, width, height)
    if not isinstance(segmentation, list):
        raise MaskError(f"segmentation {shown(segmentation)} is neither a list of polygons nor run lengths")
    rings: list[np.ndarray] = []
    size = np.array([width, height])
    for ring in segmentation:
        try:
            points = np.array(ring, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            continue
        if len(points) < 3 or not np.isfinite(points).all():
            continue
        if (points < -BEYOND * size).any() or (points > (1 + BEYOND) * size).any():
            raise MaskError(f"its polygon {shown(ring)} lies far outside the image of {width} x {height} px")
        rings.append(points.astype(np.float32))
    if not rings:
        return (), None
    joined = np.concatenate(rings).astype(float)
    (x0, y0), (x1, y1) = joined.min(axis=0), joined.max(axis=0)
    return tuple(rings), (float(x0), float(y0), float(x1 - x0), float(y1 - y0))


def _of_runs(told: Mapping[str, Any], width: int, height: int) -> tuple[Outline, Box | None]:
    if told.get("size") != [height, width]:
        raise MaskError(
            f"its mask is of an image of {shown(told.get('size'))} (height, width), not {height} x {width} px"
        )
    edges = np.cumsum(_counts(told.get("counts"), width * height))
    begins, ends = edges[0:-1:2], edges[1::2]  # of what is inside, half-open, counted down the columns
    begins, ends = begins[ends > begins], ends[ends > begins]
    if not len(begins):
        raise MaskError("its mask is empty")
    left, right = int(begins[0] // height), int((ends[-1] - 1) // height) + 1
    if (right - left) * height > MOST_DRAWN:
        return (), _box_of_runs(begins, ends, left, right, height)
    steps = np.zeros((right - left) * height + 1, np.int8)
    np.add.at(steps, begins - left * height, 1)
    np.add.at(steps, ends - left * height, -1)
    mask = np.cumsum(steps[:-1], dtype=np.int8).reshape(right - left, height).T
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    finer = cv2.resize(
        np.ascontiguousarray(mask[top:bottom]).astype(np.uint8),
        None,
        fx=FINER,
        fy=FINER,
        interpolation=cv2.INTER_NEAREST,
    )
    contours, _ = cv2.findContours(finer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = tuple(
        ((contour.reshape(-1, 2) + 0.5) / FINER + (left, top)).astype(np.float32)
        for contour in contours
        if len(contour) >= 3
    )
    return outline, (float(left), float(top), float(right - left), float(bottom - top))


def _box_of_runs(begins: np.ndarray, ends: np.ndarray, left: int, right: int, height: int) -> Box:
    """The box around a mask that is not drawn: a run that goes on in the next column covers both to their ends."""
    whole = begins // height != (ends - 1) // height
    top = 0 if whole.any() else int((begins % height).min())
    bottom = height if whole.any() else int(((ends - 1) % height).max()) + 1
    return float(left), float(top), float(right - left), float(bottom - top)


def _counts(counts: Any, pixels: int) -> np.ndarray:
    """(n,) int64 run lengths, from the list or the compressed string; together they are so many pixels."""
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(is_whole(run, -(2**63), 2**63) for run in runs):
        raise MaskError("the run lengths of its mask are not whole numbers")
    if any(run < 0 for run in runs):
        raise MaskError("the run lengths of its mask are below 0")
    if sum(runs) != pixels:
        raise MaskError(f"the run lengths of its mask are of {sum(runs)} px, not {pixels}")
    return np.array(runs, np.int64)


def _uncompressed(text: str) -> list[int]:
    """The run lengths of a compressed string: five bits a character from "0" on, the sixth says that more follow; from
    the third run on they are told as the difference from the run before the last (COCO's mask format)."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise MaskError("the run lengths of its mask are not in COCO's format")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise MaskError("the run lengths of its mask break off")
    return runs
