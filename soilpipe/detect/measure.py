"""How large a detected animal is: segmented inside its box, length and width from its minimum-area rectangle.

The box is read with some ground around it, at the finest pyramid level where it is at most 500 px long, and enlarged.
What stands out, of the ground or (where there is one) of the background, is thresholded by Otsu's method, and the piece
that fills the box best is the animal. A curved animal is longer than its rectangle: the rectangle is what all taxa and
the published tables have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background import ModelInput, Registration
from soilpipe.tiles import ScanImage

LONGEST = 500  # px: longer boxes are read from a coarser level
_ENLARGED = 600  # px: boxes are enlarged to about this, since half a pixel is much of a mite or of a thread
_ENLARGEMENTS = (2, 8)
_LEAST_SHARE = 0.02  # of the box: a smaller piece is a speck, not the animal
_ENOUGH = 10_000  # pixels, for a median or a percentile
_LEAST_CONTRAST = 3.0  # times the noise around: less is not a silhouette

Mask = npt.NDArray[np.bool_]
Rectangle = tuple[slice, slice]
"""Rows and columns of a picture."""


@dataclass(frozen=True)
class Sizes:
    """(n,) float32 each: long and short side of the minimum-area rectangle (mm) and area of the silhouette (mm²).

    NaN where the scale is unknown or nothing stands out in the box.
    """

    length_mm: npt.NDArray[np.float32]
    width_mm: npt.NDArray[np.float32]
    area_mm2: npt.NDArray[np.float32]


def measure(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    boxes: npt.NDArray[np.float32],
    um_per_px: float | None,
) -> Sizes:
    """Measure what lies in the boxes.

    boxes: (n, 4), x_min y_min x_max y_max, px at full resolution, half-open. um_per_px: of the scan, None when its
    resolution is unknown: then nothing is measured.
    """
    sizes = np.full((len(boxes), 3), np.nan, np.float32)
    if um_per_px is not None and math.isfinite(um_per_px) and um_per_px > 0:
        exact = boxes.astype(np.float64)
        levels = [max(0, math.ceil(math.log2(max(*(box[2:] - box[:2]), 1.0) / LONGEST))) for box in exact]
        inputs = {
            level: ModelInput(scan, references, registrations, scan.um_per_px * 2**level) for level in set(levels)
        }
        down = np.argsort(exact[:, 1], kind="stable")  # a stored scan is decoded in strips: so each of them is once
        with ThreadPoolExecutor(max(1, cv2.getNumThreads()), "soilpipe-measure") as pool:
            found = pool.map(lambda i: _measure_box(inputs[levels[i]], exact[i]), down)
        mm = um_per_px / 1000
        for i, sides in zip(down, found, strict=True):
            if sides is not None:
                sizes[i] = sides[0] * mm, sides[1] * mm, sides[2] * mm * mm
    return Sizes(sizes[:, 0], sizes[:, 1], sizes[:, 2])


def _measure_box(windows: ModelInput, box: npt.NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Length, width (full px) and area (full px²) of what lies in one box; None when nothing does."""
    x0, y0, x1, y1 = box / windows.factor
    context = 4 + 0.25 * max(x1 - x0, y1 - y0)
    top, left = math.floor(y0 - context), math.floor(x0 - context)
    bottom, right = math.ceil(y1 + context), math.ceil(x1 + context)
    top, left = max(top, 0), max(left, 0)
    bottom, right = min(bottom, windows.height), min(right, windows.width)
    if bottom - top < 3 or right - left < 3:
        return None
    window = windows.read(top, bottom, left, right)
    grow = min(max(math.ceil(_ENLARGED / max(x1 - x0, y1 - y0, 1.0)), _ENLARGEMENTS[0]), _ENLARGEMENTS[1])
    inner = np.array([x0 - left, y0 - top, x1 - left, y1 - top]) * grow
    mask = silhouette(window, inner, grow)
    if mask is None:
        return None
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours).reshape(-1, 2).astype(np.float32)
    # Contours run through the centres of pixels; half a pixel of each belongs to the animal on either side.
    sides = np.array(cv2.minAreaRect(points)[1], np.float64) + 1.0
    scale = windows.factor / grow
    return float(sides.max()) * scale, float(sides.min()) * scale, float(mask.sum()) * scale**2


def silhouette(window: npt.NDArray[np.uint8], box: npt.NDArray[np.float64], grow: int) -> Mask | None:
    """Where the animal is in a window of model input (7, h, w) enlarged `grow` times -> (h * grow, w * grow) bool.

    box: x_min y_min x_max y_max of its box in the enlarged window. None when nothing stands out.
    """
    strength = cv2.GaussianBlur(_contrast(window, box / grow), (0, 0), 0.7)
    strength = cv2.resize(strength, None, fx=grow, fy=grow, interpolation=cv2.INTER_CUBIC)
    inside = _pixels_in(box, strength.shape)
    within = strength[inside]
    if within.size < 4 or within.size == strength.size:
        return None
    noise = float(np.median(_around(strength, inside, _step(strength)))) + 1.0
    step = _step(within)
    bright = float(np.percentile(within[::step, ::step], 98))
    if bright < _LEAST_CONTRAST * noise:
        return None
    reach = grow + 1
    near = _pixels_in(box + np.array([-reach, -reach, reach, reach]), strength.shape)
    scaled = np.clip(strength[near] * (255.0 / bright), 0, 255).astype(np.uint8)
    in_near = _pixels_in(box - np.array([near[1].start, near[0].start] * 2), scaled.shape)
    level, _ = cv2.threshold(scaled[in_near].reshape(1, -1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    piece = _largest_piece(scaled > level, in_near)
    if piece is None:
        return None
    mask = np.zeros(strength.shape, np.bool_)
    mask[near] = piece
    return mask


def _step(picture: npt.NDArray) -> int:
    """Every how manieth row and column of an enlarged picture is enough for its median or a percentile."""
    return max(1, math.isqrt(picture.size // _ENOUGH))


def _pixels_in(box: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Rectangle:
    """The pixels of a picture whose middles lie in a box x_min y_min x_max y_max, half-open."""

    def between(first: float, last: float, size: int) -> slice:
        start = min(max(math.ceil(first - 0.5), 0), size)
        return slice(start, min(max(math.ceil(last - 0.5), start), size))

    return between(box[1], box[3], shape[0]), between(box[0], box[2], shape[1])


def _around(picture: npt.NDArray, inside: Rectangle, step: int = 1) -> npt.NDArray:
    """(n,) the values of a picture outside a rectangle, in no particular order; of every `step`th row and column."""
    rows, columns = inside
    parts = picture[: rows.start], picture[rows.stop :], picture[rows, : columns.start], picture[rows, columns.stop :]
    return np.concatenate([part[::step, ::step].ravel() for part in parts])


def _contrast(window: npt.NDArray[np.uint8], box: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """How far each pixel stands out, (h, w) float32, grey levels: of the ground around the box, and of the background.

    An animal that rests has no difference, and one on its like has no contrast: the one of both that separates the
    box from its surroundings better is taken.
    """
    inside = _pixels_in(box, window.shape[1:])
    if window[0][inside].size == window[0].size:  # nothing is around it: all is
        inside = slice(0, 0), slice(0, 0)

    def standing_out(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        each = [np.abs(plane.astype(np.float32) - _median(_around(plane, inside))) for plane in planes]
        return (each[0] + each[1] + each[2]) / np.float32(3)

    of_ground = standing_out(window[:3])
    inner = _pixels_in(box, window.shape[1:])
    if not (window[6] > 0).all() or of_ground[inner].size == 0:
        return of_ground
    of_background = standing_out(window[3:6])

    def separation(strength: npt.NDArray[np.float32]) -> float:
        return float(np.percentile(strength[inner], 90)) / (float(np.percentile(_around(strength, inside), 75)) + 1.0)

    return of_background if separation(of_background) >= separation(of_ground) else of_ground


def _median(values: npt.NDArray[np.uint8]) -> np.float32:
    """The median of bytes, by counting them."""
    up_to = np.bincount(values, minlength=256).cumsum()
    middle = np.searchsorted(up_to, [(values.size - 1) // 2, values.size // 2], side="right")
    return np.float32(middle.mean())


def _largest_piece(mask: Mask, inside: Rectangle) -> Mask | None:
    """The piece with most pixels in the box; None when that is a speck."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels[inside].ravel(), minlength=int(labels.max()) + 1)
    areas[0] = 0
    best = int(areas.argmax())
    if areas[best] < max(4.0, _LEAST_SHARE * float(labels[inside].size)):
        return None
    return labels == best
