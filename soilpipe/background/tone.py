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
_PITCHES = ((8_000.0, 12), (4_000.0, 8), (2_000.0, 6))  # of the blocks, um; samples along a side of each
_MOSTLY_GROUND = 4_000.0  # um: blocks of this size hold more ground than animal
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
    width, skip = x1 - x0, x0 - first_x * CELL

    def along_rows(cells: npt.NDArray[np.float64]) -> Floats:
        """(gy, gx, 3), a value a cell -> (gy, 3 w), a value for each byte of a row."""
        size = (CELL * cells.shape[1], cells.shape[0])
        grown = cv2.resize(cells.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)  # whole cells: no rounding
        return grown[:, skip : skip + width].reshape(len(cells), -1)

    gains, offsets = along_rows(local_gain * gain), along_rows(local_gain * offset + local_offset)
    matched = np.empty((y1 - y0, 3 * width), np.uint8)
    given, work = picture.reshape(matched.shape), np.empty((CELL, 3 * width), np.float32)
    for row in range(len(gains)):  # of cells: a handful of rows stay in the processor's cache
        lines = slice(max((first_y + row) * CELL - y0, 0), min((first_y + row + 1) * CELL - y0, y1 - y0))
        some = work[: lines.stop - lines.start]
        np.copyto(some, given[lines])
        some *= gains[row]
        some += offsets[row]
        np.maximum(some, 0, out=some)
        cv2.convertScaleAbs(some, matched[lines])  # rounds and clips, four times as fast as NumPy does
    return matched.reshape(picture.shape)


def _line(x: Floats, y: Floats, weight: Floats, prior: float) -> tuple[Floats, Floats]:
    """Weighted total least squares along the last axis -> gain and offset, each without that axis.

    `prior`: grey levels² of evidence for gain 1. The last axis lies together in memory: sums along another one are
    several times slower.
    """
    total = weight.sum(-1) + 1e-6
    mean_x, mean_y = (weight * x).sum(-1) / total, (weight * y).sum(-1) / total
    dx, dy = x - mean_x[..., None], y - mean_y[..., None]
    weighted = weight * dx
    xx = np.einsum("...n,...n", weighted, dx) / total + prior
    xy = np.einsum("...n,...n", weighted, dy) / total + prior
    np.multiply(weight, dy, out=weighted)
    yy = np.einsum("...n,...n", weighted, dy) / total + prior
    xy = np.maximum(xy, 1e-3 * np.maximum(xx, yy))
    gain = np.clip((yy - xx + np.hypot(yy - xx, 2 * xy)) / (2 * xy), *_GAINS)
    return gain.astype(np.float32), (mean_y - gain * mean_x).astype(np.float32)


def _spread(left: Floats) -> float:
    """Standard deviation of what did not change, of a residual; grey levels."""
    return 1.4826 * float(np.median(np.abs(left))) + 0.5


def match_tone(
    reference: npt.NDArray[np.uint8], scan: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Gain and offset per channel, (3,) float32 each, that make the reference as bright as the scan.

    reference: registered, (h, w, 3) uint8, as is `scan`; there: (h, w), where the reference has a pixel. Fitted on
    some 10,000 pixels on a regular grid, from gain 1 and the median, reweighted (Cauchy) by what is left over.
    """
    rows, columns = np.nonzero(there)
    take = slice(None, None, max(1, rows.size // 10_000))
    x, y = (np.ascontiguousarray(picture[rows[take], columns[take]].T, np.float32) for picture in (reference, scan))
    gain, offset = np.ones(3, np.float32), np.median(y - x, axis=1).astype(np.float32)
    for _ in range(6):
        left = y - gain[:, None] * x - offset[:, None]
        spread = np.array([_spread(channel) for channel in left], np.float32)
        gain, offset = _line(x, y, _cauchy(left, 2 * spread[:, None]), prior=1.0)
    return gain, offset


def _cauchy(left: Floats, scale: Floats) -> Floats:
    """Weights that fall with what is left over; `left` is used up."""
    left *= 1 / scale
    left *= left
    left += 1
    return np.divide(1, left, out=left)


def match_local_tone(
    reference: npt.NDArray[np.uint8], scan: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_], um_per_px: float
) -> LocalTone | None:
    """What is left of gain and offset locally, once the reference has had those of the whole; None when nothing is.

    Arrays as in `match_tone`, at a level of `um_per_px`. Coarse blocks first, then finer ones on what these leave:
    what stands out of the surrounding tone by more than the spread of the whole picture has no weight, so fog, which
    is smooth, is followed step by step, and an animal is not; a block full of animal keeps the tone around it.
    """
    height, width = scan.shape[:2]
    gain = np.ones((1, 1, 3), np.float32)
    offset = np.zeros((1, 1, 3), np.float32)
    for pitch_um, samples in _PITCHES:
        pitch = pitch_um / um_per_px
        gy, gx = round(height / pitch), round(width / pitch)
        if min(gy, gx) < 2 or pitch < samples:
            continue
        size = (gx * samples, gy * samples)
        x, y, seen = (
            cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
            for picture in (reference, scan, there.astype(np.uint8))
        )
        x = x * cv2.resize(gain, size) + cv2.resize(offset, size)
        more_gain, more_offset = _block_lines(
            _blocks(x, samples), _blocks(y, samples), _blocks(seen[..., None], samples), pitch_um >= _MOSTLY_GROUND
        )
        more_gain = _calm(np.ascontiguousarray(more_gain.T).reshape(gy, gx, 3), least=0.04)
        more_offset = _calm(np.ascontiguousarray(more_offset.T).reshape(gy, gx, 3), least=2.0)
        gain = cv2.resize(gain, (gx, gy)) * more_gain
        offset = cv2.resize(offset, (gx, gy)) * more_gain + more_offset
    dark, bright = np.percentile(reference[::8, ::8], (5, 95))
    change = max(float(np.abs((gain - 1) * level + offset).max()) for level in (dark, bright))
    if change < _UNSEEN:
        return None
    return LocalTone(np.ascontiguousarray(np.moveaxis(gain, -1, 0)), np.ascontiguousarray(np.moveaxis(offset, -1, 0)))


def _blocks(picture: Floats, side: int) -> Floats:
    """(gy * side, gx * side, c) -> (c, gy * gx, side * side)."""
    height, width, channels = picture.shape
    parts = picture.reshape(height // side, side, width // side, side, channels).transpose(4, 0, 2, 1, 3)
    return np.ascontiguousarray(parts).reshape(channels, -1, side * side)


def _block_lines(x: Floats, y: Floats, seen: Floats, from_median: bool) -> tuple[Floats, Floats]:
    """y = gain x + offset for each block, (3, b, n) -> (3, b); drawn to 1 and 0 by as much as is no evidence.

    What counts as unchanged is told from the block's median difference, or from none: a large block is more ground
    than animal, a small one may be all animal.
    """
    gain, offset = np.ones(x.shape[:2], np.float32), np.median(y - x, axis=2).astype(np.float32)
    calm = y - x - offset[..., None]
    spread = np.array([_spread(channel) for channel in calm], np.float32)[:, None, None]
    if not from_median:
        offset = np.zeros_like(offset)
    for _ in range(3):
        left = y - gain[..., None] * x - offset[..., None]
        weight = _cauchy(left, 3 * spread)
        weight *= weight
        weight *= seen
        trust = weight.mean(2)
        gain, offset = _line(x, y, weight, _PRIOR)
        middle = np.einsum("...n,...n", weight, x) / (weight.sum(2) + 1e-6)
        trust = np.clip((trust - 0.15) / 0.35, 0, 1)  # half of the block unchanged is evidence enough
        step = trust * (gain * middle + offset - middle)
        gain = 1 + trust * (gain - 1)
        offset = step - (gain - 1) * middle
    return gain, offset


def _calm(lattice: Floats, least: float) -> Floats:
    """A node that strays from the median of its 3 x 3 neighbours follows them; then all are smoothed a little.

    (gy, gx, 3) float32. `least`: what is never straying.
    """
    if min(lattice.shape[:2]) < 3:
        return lattice
    neighbours = cv2.medianBlur(lattice, 3)
    stray = np.abs(lattice - neighbours)
    limit = 3 * 1.4826 * np.median(stray, axis=(0, 1)) + np.float32(least)
    kept = np.where(stray > limit, neighbours, lattice)
    return cv2.GaussianBlur(kept, (3, 3), 0.6, borderType=cv2.BORDER_REPLICATE)
