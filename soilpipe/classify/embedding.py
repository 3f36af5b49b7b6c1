"""From boxes on a scan to vectors: the crop round each animal, as wide as the animal asks, through the encoder.

All crops of a scale are read 96 px wide; the encoder sees the middle of them, 32, 64 or 96 px, the least in which the
animal lies with its context. A vector holds means over the crop: of a mite in 96 px they would be means of the ground.

An encoder that has a close look (`soilpipe.encoder.close_look`) looks at each animal a second time, in a crop as wide
as the animal asks. Both vectors, side by side and counting the same, are the animal's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from soilpipe.background import Registration
from soilpipe.encoder.close_look import close_crops
from soilpipe.encoder.crops import CONTEXT, SIDE, crops_of
from soilpipe.encoder.encoder import Encoder
from soilpipe.tiles import ScanImage

SIDES = (32, 64, SIDE)
HALF = np.float32(np.sqrt(0.5))  # of the squared length of a vector is each part's
CROPS = "the middle 32, 64 or 96 px, 1.5 times the longer side"
CLOSE_CROPS = f"{CROPS}; and 64 px of 1.6 times the longer side"
"""Stand on the card: what the vectors of a classifier were made of."""


class TunedOn(NamedTuple):
    """What an encoder learns from, where it is tuned: pixels (n, 7, s, s) uint8; sides (n,) int64, px: of the middle
    that is looked at; told (n, k) float32: what is told beside it, k 0 for a trunk."""

    pixels: np.ndarray
    sides: np.ndarray
    told: np.ndarray


class EmbeddedBoxes(NamedTuple):
    """embeddings (n, dim) float32; pixels (n, 7, 96, 96) uint8, for pictures; um_per_px (n,) float64 of those;
    tuned_on: the crops of the close look, or, without one, of the trunk."""

    embeddings: np.ndarray
    pixels: np.ndarray
    um_per_px: np.ndarray
    tuned_on: TunedOn


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
    embeddings = np.zeros((len(pixels), encoder.trunk_dim), np.float32)
    for side in SIDES:
        rows = np.flatnonzero(sides == side)
        if len(rows):
            embeddings[rows] = encoder.embed(middles(pixels[rows], side))
    tuned_on = TunedOn(pixels, sides, np.zeros((len(pixels), 0), np.float32))
    if encoder.close is not None:
        near, told = close_crops(scan, references, registrations, boxes, encoder.info.um_per_px)
        embeddings = beside(embeddings, encoder.look_closely(near, told))
        tuned_on = TunedOn(near, np.full(len(near), near.shape[-1], np.int64), told)
    return EmbeddedBoxes(embeddings, pixels, scales, tuned_on)


def crops_told(encoder: Encoder) -> str:
    """What the vectors that an encoder gives of animals are made of, for a card."""
    return CROPS if encoder.close is None else CLOSE_CROPS


def beside(trunk: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Vectors (n, a) and (n, b) float32 of length 1 to one of length 1, (n, a + b)."""
    return np.concatenate([trunk, close], axis=1) * HALF


def with_close(vectors: np.ndarray, close: np.ndarray) -> np.ndarray:
    """What `beside` made, with other vectors of the close look."""
    return np.concatenate([vectors[:, : vectors.shape[1] - close.shape[1]], close * HALF], axis=1)


def middles(pixels: np.ndarray, side: int) -> np.ndarray:
    """(n, 7, s, s) to the middle of each, (n, 7, side, side)."""
    start = (pixels.shape[-1] - side) // 2
    return np.ascontiguousarray(pixels[:, :, start : start + side, start : start + side])


def longer_sides(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) x_min y_min x_max y_max to (n,) the longer side of each, in the same unit."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
