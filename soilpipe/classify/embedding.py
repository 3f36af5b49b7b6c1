"""From boxes on a scan to vectors: the crop round each animal, as wide as the animal asks, through the encoder.

All crops of a scale are read 96 px wide; the encoder sees the middle of them, 32, 64 or 96 px, the least in which the
animal lies with its context. A vector holds means over the crop: of a mite in 96 px they would be means of the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from soilpipe.background import Registration
from soilpipe.encoder.crops import CONTEXT, SIDE, crops_of
from soilpipe.encoder.encoder import Encoder
from soilpipe.tiles import ScanImage

SIDES = (32, 64, SIDE)
CROPS = "the middle 32, 64 or 96 px, 1.5 times the longer side"
"""Stands on the card: what the vectors of a classifier were made of."""


class EmbeddedBoxes(NamedTuple):
    """embeddings (n, dim) float32; pixels (n, 7, 96, 96) uint8, for pictures; um_per_px (n,) float64 of those; sides
    (n,) int64: of the middle that the encoder saw, px."""

    embeddings: np.ndarray
    pixels: np.ndarray
    um_per_px: np.ndarray
    sides: np.ndarray


def embed_boxes(
    encoder: Encoder,
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    boxes: np.ndarray,
) -> EmbeddedBoxes:
    """Boxes (n, 4), px of the scan at full resolution, to vectors.

    EncoderError for a box without an area.
    """
    pixels, scales = crops_of(scan, references, registrations, boxes, um_per_px=encoder.info.um_per_px)
    wanted = CONTEXT * longer_sides(boxes) * scan.um_per_px / scales
    sides = np.select([wanted <= least for least in SIDES[:-1]], SIDES[:-1], SIDE)
    embeddings = np.zeros((len(pixels), encoder.info.dim), np.float32)
    for side in SIDES:
        rows = np.flatnonzero(sides == side)
        if len(rows):
            embeddings[rows] = encoder.embed(middles(pixels[rows], side))
    return EmbeddedBoxes(embeddings, pixels, scales, sides)


def middles(pixels: np.ndarray, side: int) -> np.ndarray:
    """(n, 7, 96, 96) to the middle of each, (n, 7, side, side)."""
    start = (SIDE - side) // 2
    return np.ascontiguousarray(pixels[:, :, start : start + side, start : start + side])


def longer_sides(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) x_min y_min x_max y_max to (n,) the longer side of each, in the same unit."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
