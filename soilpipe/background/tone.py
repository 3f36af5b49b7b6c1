"""How bright a reference is beside its scan: gain and offset per channel, of the whole and, under fog, locally.

Lamp and sensor change the whole picture alike; condensation and a moisture front veil parts of it. Both are fitted on
a reduced level, after registration, by total least squares (the noise is in both pictures, so plain regression would
flatten the slope), reweighted so that what really changed, an animal, does not pull.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.warp import Window, bilinear, lattice_positions

CELL = 8  # local gain and offset are constant in cells of this many px, counted from the corner of the image
PITCH_UM = 2_500.0  # of the lattice: fog has edges, and an animal must not fill most of nine neighbouring blocks
_PRIOR = 25.0  # grey levels², as evidence for gain 1: ground with less contrast than this cannot tell a gain
_GAINS = (0.4, 2.5)
_UNSEEN = 0.75  # grey levels: a local tone that changes nothing by more than this is dropped

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LocalTone:
    """(3, gy, gx) float32 each, over the whole image: to be applied after the gain and offset of the whole."""

    gain: Floats
    offset: Floats


def apply_tone(
    picture: npt.NDArray[np.uint8],
    gain: Floats,
    offset: Floats,
    local: LocalTone | None,
    window: Window,
    factor: float,
    full: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """A window of a reference, (h, w, 3) uint8, made as bright as the scan; rounded, clipped.

    The result for a pixel depends on its global position alone. `full`: height and width of the image at full size.
    """
    if local is None:
        levels = np.arange(256, dtype=np.float64)[:, None] * gain.astype(np.float64) + offset
        return cv2.LUT(picture, np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None])
    y0, y1, x0, x1 = window
    first_y, first_x = y0 // CELL, x0 // CELL
    y = lattice_positions(first_y, -(-y1 // CELL), CELL, factor, full[0], local.gain.shape[1])
    x = lattice_positions(first_x, -(-x1 // CELL), CELL, factor, full[1], local.gain.shape[2])
    local_gain = np.moveaxis(bilinear(local.gain, y, x), 0, -1)
    local_offset = np.moveaxis(bilinear(local.offset, y, x), 0, -1)
    skip_y, skip_x = y0 - first_y * CELL, x0 - first_x * CELL

    def per_pixel(cells: npt.NDArray[np.float64]) -> Floats:
        grown = cells.astype(np.float32).repeat(CELL, axis=1)[:, skip_x : skip_x + x1 - x0]
        return grown.repeat(CELL, axis=0)[skip_y : skip_y + y1 - y0]

    scaled = cv2.multiply(picture, per_pixel(local_gain * gain), dtype=cv2.CV_32F)
    return cv2.add(scaled, per_pixel(local_gain * offset + local_offset), dtype=cv2.CV_8U)


def _slope(x: Floats, y: Floats, weight: Floats, prior: float) -> tuple[Floats, Floats]:
    """Weighted total least squares along axis 1 -> gain and offset, each without that axis."""
    total = weight.sum(1) + 1e-6
    mean_x, mean_y = (weight * x).sum(1) / total, (weight * y).sum(1) / total
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    xx = (weight * dx * dx).sum(1) / total + prior
    yy = (weight * dy * dy).sum(1) / total + prior
    xy = (weight * dx * dy).sum(1) / total + prior
    xy = np.maximum(xy, 1e-3 * np.maximum(xx, yy))
    gain = np.clip((yy - xx + np.hypot(yy - xx, 2 * xy)) / (2 * xy), *_GAINS)
    return gain.astype(np.float32), (mean_y - gain * mean_x).astype(np.float32)


def _robust_line(x: Floats, y: Floats, there: Floats, prior: float) -> tuple[Floats, Floats]:
    """y = gain x + offset for each of b sets, (b, n, 3) float32 -> (b, 3), (b, 3).

    `there`: (b, n, 1), 0 where there is no pair. Starts from gain 1 and the median, then reweights (Cauchy) by what is
    left over, measured in its own median absolute deviation.
    """
    gain = np.ones((x.shape[0], 3), np.float32)
    offset = np.median(y - x, axis=1).astype(np.float32)
    for _ in range(6):
        left = y - gain[:, None] * x - offset[:, None]
        spread = 1.4826 * np.median(np.abs(left), axis=1, keepdims=True) + 0.5
        gain, offset = _slope(x, y, there / (1 + (left / (2 * spread)) ** 2), prior)
    return gain, offset


def match_tone(
    reference: npt.NDArray[np.uint8], scan: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Gain and offset per channel, (3,) float32 each, that make the reference as bright as the scan.

    reference: registered, (h, w, 3) uint8, as is `scan`; there: (h, w), where the reference has a pixel. Fitted on
    at most about 40,000 pixels on a regular grid.
    """
    rows, columns = np.nonzero(there)
    take = slice(None, None, max(1, rows.size // 40_000))
    x = reference[rows[take], columns[take]].astype(np.float32)[None]
    y = scan[rows[take], columns[take]].astype(np.float32)[None]
    gain, offset = _robust_line(x, y, np.ones((1, x.shape[1], 1), np.float32), prior=1.0)
    return gain[0], offset[0]


def match_local_tone(
    reference: npt.NDArray[np.uint8], scan: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_], um_per_px: float
) -> LocalTone | None:
    """What is left of gain and offset locally, once the reference has had those of the whole; None when nothing is.

    Arrays as in `match_tone`, at a level of `um_per_px`. Each node is the median of its neighbourhood, so that one
    large animal does not count as fog.
    """
    pitch = max(32, round(PITCH_UM / um_per_px)) if np.isfinite(um_per_px) and um_per_px > 0 else 64
    gy, gx = scan.shape[0] // pitch, scan.shape[1] // pitch
    if gy < 3 or gx < 3:
        pitch = min(scan.shape[:2]) // 3
        gy, gx = scan.shape[0] // pitch, scan.shape[1] // pitch
        if pitch < 32:
            return None

    def blocks(picture: npt.NDArray) -> Floats:
        fitted = cv2.resize(picture.astype(np.float32), (gx * pitch, gy * pitch), interpolation=cv2.INTER_NEAREST)
        parts = fitted.reshape(gy, pitch, gx, pitch, -1).transpose(0, 2, 1, 3, 4)
        every = max(1, pitch // 32)
        return parts[:, :, ::every, ::every].reshape(gy * gx, -1, fitted.reshape(*fitted.shape[:2], -1).shape[2])

    x, y, seen = blocks(reference), blocks(scan), blocks(there)
    gain, _ = _robust_line(x, y, seen, prior=_PRIOR)
    gain = _calm(gain.reshape(gy, gx, 3))
    left = y - gain.reshape(-1, 1, 3) * x
    offset = np.median(left, axis=1).reshape(gy, gx, 3).astype(np.float32)
    offset = _calm(offset)
    dark, bright = np.percentile(x, (5, 95))
    change = max(float(np.abs((gain - 1) * level + offset).max()) for level in (dark, bright))
    if change < _UNSEEN:
        return None
    return LocalTone(np.ascontiguousarray(np.moveaxis(gain, -1, 0)), np.ascontiguousarray(np.moveaxis(offset, -1, 0)))


def _calm(lattice: Floats) -> Floats:
    """Each node the median of its 3 x 3 neighbourhood, then smoothed a little; (gy, gx, 3) float32."""
    return cv2.GaussianBlur(cv2.medianBlur(lattice, 3), (3, 3), 0.7, borderType=cv2.BORDER_REPLICATE)
