"""The crops that an encoder looks at: seven channels round an animal, or anywhere, at a known scale.

A detector sees a scan at the pyramid level that is nearest to its µm/px. A crop is compared with crops of other
scanners, so it has exactly the scale it is said to have: where the level is off by more than `SAME` it is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from soilpipe.background import ModelInput, Registration
from soilpipe.encoder.weights import EncoderError
from soilpipe.tiles import ScanImage

SIDE = 96  # px of a crop
CONTEXT = 1.5  # times the longer side of the box lies inside
SAME = 0.02  # of the scale: a level that near to what is wanted is taken as it is


def crop_of(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    box_xyxy_px: np.ndarray | Sequence[float],
    *,
    um_per_px: float,
    side: int = SIDE,
    context: float = CONTEXT,
) -> tuple[np.ndarray, float]:
    """(7, side, side) uint8 round the middle of a box, and its µm/px. As `crops_of`, for one box."""
    pixels, scales = crops_of(
        scan, references, registrations, np.asarray([box_xyxy_px]), um_per_px=um_per_px, side=side, context=context
    )
    return pixels[0], float(scales[0])


def crops_of(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    boxes: np.ndarray,
    *,
    um_per_px: float,
    side: int = SIDE,
    context: float = CONTEXT,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops (n, 7, side, side) uint8 round the middles of boxes, and the µm/px of each, (n,) float64.

    boxes: (n, 4) x_min y_min x_max y_max, px of the scan at full resolution. The µm/px is `um_per_px`, or twice, four
    times ... of it: the finest at which `context` times the longer side of the box lies inside. Channels as
    `ModelInput.read` gives them. Boxes are read from top to bottom, so that a stored scan is decoded once.
    EncoderError for a box without an area.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2]
    good = np.logical_and(np.isfinite(boxes).all(axis=1), (size > 0).all(axis=1))
    if not good.all():
        raise EncoderError(
            f"{scan.scan_id or 'the scan'}: the box {boxes[~good][0].tolist()} has no area (expected x_min y_min x_max "
            "y_max in px, the second pair larger). Its label or detection is damaged"
        )
    wanted = context * size.max(axis=1, initial=0) * scan.um_per_px / (side * um_per_px)
    scales = um_per_px * 2.0 ** np.maximum(np.ceil(np.log2(np.maximum(wanted, 1e-9)) - 1e-9), 0)
    pixels = np.empty((len(boxes), 7, side, side), np.uint8)
    inputs: dict[float, ModelInput] = {}
    for row in np.lexsort((boxes[:, 1], scales)):
        scale = float(scales[row])
        if scale not in inputs:
            inputs[scale] = ModelInput(scan, references, registrations, scale)
        x, y = (boxes[row, :2] + boxes[row, 2:]) / 2
        pixels[row] = _centred(inputs[scale], x, y, side, scale / scan.um_per_px)
    return pixels, scales


def window_of(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    y0: int,
    x0: int,
    side: int,
    um_per_px: float,
) -> np.ndarray:
    """(7, side, side) uint8 from row `y0` and column `x0` on, px of the level that a detector of that µm/px reads."""
    return ModelInput(scan, references, registrations, um_per_px).read(y0, y0 + side, x0, x0 + side)


def _centred(source: ModelInput, x: float, y: float, side: int, full_px: float) -> np.ndarray:
    """A crop whose middle is at (x, y), px of the scan; `full_px`: of those per px of the crop."""
    zoom = full_px / source.factor  # px of the level per px of the crop
    x, y = x / source.factor, y / source.factor
    if abs(zoom - 1) <= SAME:  # on the pixel grid, so that nothing is interpolated
        top, left = round(y - side / 2), round(x - side / 2)
        return source.read(top, top + side, left, left + side)
    margin = 2  # px for the interpolation
    reach = zoom * side / 2 + margin
    top, left = int(np.floor(y - reach)), int(np.floor(x - reach))
    bottom, right = int(np.ceil(y + reach)), int(np.ceil(x + reach))
    window = source.read(top, bottom, left, right)
    # The middle of px (i, j) of the crop lies at zoom * (j + 0.5 - side / 2) from x; px middles are at whole numbers
    # plus a half.
    step = zoom * (np.arange(side) + 0.5 - side / 2) - 0.5
    across = np.broadcast_to((x - left + step).astype(np.float32), (side, side))
    down = np.broadcast_to((y - top + step).astype(np.float32)[:, None], (side, side))
    crop = np.stack([cv2.remap(plane, across, down, cv2.INTER_LINEAR) for plane in window])
    crop[6] = np.where(crop[6] == 255, 255, 0)
    crop[3:6][:, crop[6] == 0] = 128
    return crop
