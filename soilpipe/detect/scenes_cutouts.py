"""What artificial scenes are put together from: animals, static look-alikes and bare ground, cut out of labelled scans.

An animal is cut out along the mask of its label; where the label is a box alone, along the silhouette that
`soilpipe.detect.measure` finds in it. Pixels are those of a pass, unscaled. Legs and antennae stick out of masks: what
changed beside the mask, as the body did, is kept as the fringe of a cut-out. On ground as even as a sticky card, the
ground itself tells what is animal: wings let it through, and coarse masks take none of it along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.detect.components import find_components
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.measure import silhouette
from soilpipe.detect.network import Head

FINER = 4  # masks are drawn this many times finer, and averaged
SOFT = 0.6  # px: how soft the edge of a mask is made, as edges in scans are
RIMS = (6, 0.25, 24)  # px of ground around a box, room for legs: at least, and so much of its length, at most so many
LEAST_MASK = 4.0  # px²: less is no animal
LEAST_FILLED = 0.5  # of a box, by what is around its mask: less, and mask and box are not of the same
FADE = 4  # px over which legs fade out before the border of a cut-out
MOST_FRINGE = 1.0  # of the area of a mask: more is a veil or a neighbour, not legs
EVEN = 5.0  # grey levels, the spread of ground that is even
PIECE = 1536  # px a side of the piece of a scan in which look-alikes are looked for
STANDS_OUT = 40.0  # from the ground: a look-alike, in tenths of the median contrast
CLEAR = 4  # px that look-alikes and bare ground keep from animals

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cutout:
    """Something to paste.

    colours    (3, h, w) uint8 RGB
    alpha      (h, w) uint8: 255 where it hides what lies below, 0 where that shows
    fringe     (3, h, w) int8: what it adds to the ground where that shows, grey levels
    ground     (3,) float32: the ground around it, RGB
    box        (4,) float32 x_min y_min x_max y_max in the cut-out, px
    label      of an animal, else -1
    um_per_px  of the pass that it comes from
    by         how its mask was found
    """

    colours: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8]
    fringe: npt.NDArray[np.int8]
    ground: Floats
    box: Floats
    label: int
    um_per_px: float
    by: Literal["mask", "silhouette", "contrast", "borrowed"]

    @property
    def length(self) -> float:
        """The longer side of its box, px."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def nbytes(self) -> int:
        return self.colours.nbytes + self.alpha.nbytes + self.fringe.nbytes


def um_per_px_of_pass(sample: Sample, head: Head) -> float:
    """µm per px of what a pass reads of a sample."""
    return sample.um_per_px * sample.passes[head].factor


def cut_animal(sample: Sample, row: int, head: Head) -> Cutout | None:
    """One labelled animal; None for crowds, at the border of its image, beside another one, where nothing stands out in
    its box, or its mask fills but a part of that."""
    image, given = sample.image, sample.passes[head]
    boxes = image.boxes / np.float32(given.factor)
    box = boxes[row]
    if image.crowd[row] or _touched(np.delete(boxes, row, axis=0), box, 1.0):
        return None
    window = _window(given, box)
    if window is None:
        return None
    pixels, origin = window
    outline = image.outlines[row] if image.outlines else ()
    by: Literal["mask", "silhouette"] = "mask"
    alpha = _drawn(outline, given.factor, origin, pixels.shape[1:]) if outline else None
    if alpha is None:
        by = "silhouette"
        inner = (box.astype(np.float64) - np.tile(origin, 2)) * FINER
        mask = silhouette(pixels, inner, FINER)
        alpha = None if mask is None else _averaged(mask.astype(np.uint8) * 255, pixels.shape[1:])
    if alpha is None or float(alpha.sum()) / 255 < LEAST_MASK:
        return None
    inside = (box - np.tile(origin, 2)).astype(np.float32)
    if _filled(alpha, inside) < LEAST_FILLED:
        return None
    return _cutout(pixels, alpha, inside, int(image.labels[row]), um_per_px_of_pass(sample, head), by)


def cut_ground(sample: Sample, head: Head, like: Cutout, y: int, x: int) -> Cutout | None:
    """Bare ground in the shape of another cut-out, its top left at y, x of the pass; None where an animal is or was."""
    given = sample.passes[head]
    height, width = like.alpha.shape
    if y < 0 or x < 0 or y + height > given.height or x + width > given.width:
        return None
    pixels = given.pixels[:, y : y + height, x : x + width]
    place = np.array([x, y, x + width, y + height], np.float32)
    if _touched(sample.image.boxes / np.float32(given.factor), place, CLEAR) or _stirred(pixels, like.alpha > 0):
        return None
    return _cutout(pixels, like.alpha, like.box, -1, um_per_px_of_pass(sample, head), "borrowed")


def find_look_alikes(
    sample: Sample, head: Head, lengths: tuple[float, float], most: int, rng: np.random.Generator
) -> list[Cutout]:
    """What stands out from the ground as animals do and is none: clear of labels, as large, and there before.

    lengths: px of the pass, the shortest and longest to take. Looked for in one piece of the sample, drawn by `rng`.
    """
    given = sample.passes[head]
    top, left = (int(rng.integers(max(side - PIECE, 0) + 1)) for side in (given.height, given.width))
    window = given.pixels[:, top : top + PIECE, left : left + PIECE]
    boxes = sample.image.boxes / np.float32(given.factor) - np.array([left, top, left, top], np.float32)
    colours = np.moveaxis(window[:3], 0, -1)
    around = 2 * round(max(lengths[1], 8.0)) + 1
    strength = cv2.GaussianBlur(colours, (0, 0), 1.0).astype(np.float32)
    strength = np.abs(strength - cv2.blur(colours.astype(np.float32), (around, around))).max(axis=2)
    evidence = np.clip(strength * (10 / (float(np.median(strength)) + 0.5)), 0, 255).astype(np.uint8)
    found = find_components(evidence, STANDS_OUT, 1.5 * STANDS_OUT, 1)
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
    found = found.select(np.flatnonzero((sides >= lengths[0]) & (sides <= lengths[1])))
    cutouts: list[Cutout] = []
    for index in rng.permutation(len(found)):
        box = found.boxes[index].astype(np.float32)
        cut = None if _touched(boxes, box, CLEAR) else _window(SamplePass(window, given.factor), box)
        if cut is None:
            continue
        pixels, (x, y) = cut
        here = evidence[y : y + pixels.shape[1], x : x + pixels.shape[2]]
        edge = max(STANDS_OUT, 0.5 * float(found.peak[index]))  # half-way up, where an edge is
        _, pieces = cv2.connectedComponents((here >= edge).astype(np.uint8), connectivity=8)
        rim = rim_of(box)
        inner = pieces[rim:-rim, rim:-rim]
        mask = pieces == np.bincount(inner[inner > 0]).argmax()
        if _stirred(pixels, mask) or mask[[0, -1]].any() or mask[:, [0, -1]].any():
            continue
        alpha = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), SOFT)
        inside = box - np.array([x, y, x, y], np.float32)
        cutouts.append(_cutout(pixels, alpha, inside, -1, um_per_px_of_pass(sample, head), "contrast"))
        if len(cutouts) == most:
            break
    return cutouts


def rim_of(box: npt.NDArray) -> int:
    """How many px of ground are cut out around a box."""
    least, share, most = RIMS
    return int(min(least + share * float((box[2:] - box[:2]).max()), most))


def ground_around(colours: npt.NDArray) -> Floats:
    """(3,) median of (3, h, w) along its border, where no cut-out hides the ground."""
    rim = [colours[:, :2], colours[:, -2:], colours[:, 2:-2, :2], colours[:, 2:-2, -2:]]
    return np.median(np.concatenate([part.reshape(3, -1) for part in rim], axis=1), axis=1).astype(np.float32)


def _window(given: SamplePass, box: npt.NDArray) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | None:
    """The pixels of a box with its rim, (7, h, w), and the x, y of their corner; None where the image ends before."""
    rim = rim_of(box)
    x0, y0 = (int(np.floor(value)) - rim for value in box[:2])
    x1, y1 = (int(np.ceil(value)) + rim for value in box[2:])
    if x0 < 0 or y0 < 0 or x1 > given.width or y1 > given.height:
        return None
    return given.pixels[:, y0:y1, x0:x1], (x0, y0)


def _touched(boxes: npt.NDArray, box: npt.NDArray, gap: float) -> bool:
    """Whether any of (n, 4) boxes comes nearer than `gap` px to a box."""
    return bool(((boxes[:, :2] < box[2:] + gap) & (boxes[:, 2:] > box[:2] - gap)).all(axis=1).any())


def _drawn(
    outline: tuple[npt.NDArray, ...], factor: float, origin: tuple[int, int], shape: tuple[int, ...]
) -> npt.NDArray[np.uint8] | None:
    """The polygons of a mask, px of the file, as alpha of a window of the pass; None where they hold nothing."""
    fine = np.zeros((shape[0] * FINER, shape[1] * FINER), np.uint8)
    # Polygons run in px of the file from the corner of its first pixel; OpenCV counts from that pixel's middle.
    rings = [np.rint(((ring / factor - origin) * FINER - 0.5) * 16).astype(np.int32) for ring in outline]
    cv2.fillPoly(fine, rings, 255, shift=4)
    return _averaged(fine, shape) if fine.any() else None


def _filled(alpha: npt.NDArray[np.uint8], box: Floats) -> float:
    """What is around a mask against its box: the intersection over the union."""
    y, x = np.nonzero(alpha > 127)
    if not len(y):
        return 0.0
    around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
    shared = np.clip(np.minimum(around[2:], box[2:]) - np.maximum(around[:2], box[:2]), 0, None).prod()
    return float(shared / ((around[2:] - around[:2]).prod() + (box[2:] - box[:2]).prod() - shared))


def _averaged(fine: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A mask that is `FINER` times finer, 0 or 255, as soft alpha of (h, w)."""
    return cv2.GaussianBlur(cv2.resize(fine, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), (0, 0), SOFT)


def _cutout(
    pixels: npt.NDArray[np.uint8],
    alpha: npt.NDArray[np.uint8],
    box: Floats,
    label: int,
    um_per_px: float,
    by: Literal["mask", "silhouette", "contrast", "borrowed"],
) -> Cutout:
    """A copy: windows of samples are not kept alive by it. Bare ground and look-alikes have no legs, and no fringe."""
    colours, ground = pixels[:3], ground_around(pixels[:3])
    change, known = pixels[3:6].astype(np.float32) - 128, pixels[6] > 0
    beside = alpha == 0
    contrast = np.abs(colours - ground[:, None, None]).max(axis=0)
    spread = 1.5 * float(np.median(contrast[beside])) if beside.any() else EVEN
    if spread < EVEN:
        body = float(np.percentile(contrast[alpha > 127], 90)) if (alpha > 127).any() else 0.0
        matte = np.clip(cv2.GaussianBlur(contrast, (0, 0), SOFT) / max(2 * spread + 2, 0.15 * body) - 1, 0, 1)
        alpha = np.rint(alpha * matte).astype(np.uint8)
        if not known.any():
            change, known = colours - ground[:, None, None], np.ones_like(beside)
    return Cutout(
        colours.copy(),
        alpha.copy(),
        np.zeros(change.shape, np.int8) if label < 0 else _fringe(change, known, alpha),
        ground,
        box.copy(),
        label,
        um_per_px,
        by,
    )


def _fringe(change: Floats, known: npt.NDArray[np.bool_], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """What has changed beyond its noise, the way the body has, and hangs together with a mask: (3, h, w) int8.

    change: (3, h, w) grey levels, against what was there before, where `known`.
    """
    nothing = np.zeros(change.shape, np.int8)
    beside, body = (alpha == 0) & known, (alpha > 127) & known
    if beside.sum() < 8 or not body.any():
        return nothing
    size = np.abs(change).max(axis=0)
    noise = 1.5 * float(np.median(size[beside])) + 1.0
    clear = np.clip(cv2.GaussianBlur(size, (0, 0), SOFT) / noise - 2.0, 0, 1)
    as_body = np.tensordot(change[:, body].mean(axis=1), change, axes=1) > 0
    inside = cv2.dilate(alpha, np.ones((3, 3), np.uint8)) > 0
    _, pieces = cv2.connectedComponents(((clear > 0) & as_body | inside).astype(np.uint8), connectivity=8)
    clear *= np.isin(pieces, np.unique(pieces[inside])) & known & as_body
    if (clear[beside] > 0).sum() > MOST_FRINGE * (alpha > 127).sum():
        return nothing
    for row in range(FADE):  # nothing ends at the border of a cut-out
        rim = [row, -1 - row]
        clear[rim] = np.minimum(clear[rim], row / FADE)
        clear[:, rim] = np.minimum(clear[:, rim], row / FADE)
    return np.clip(np.rint(change * clear), -127, 127).astype(np.int8)


def _stirred(pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> bool:
    """Whether something came or left in a mask, by the difference of (7, h, w) pixels."""
    pixels, mask = pixels[:, ::2, ::2], mask[::2, ::2]
    seen = mask & (pixels[6] > 0)
    if not seen.any():
        return False
    size = np.abs(pixels[3:6].astype(np.int16) - 128).max(axis=0)
    outside = ~mask & (pixels[6] > 0)
    noise = float(np.median(size[outside])) + 2.0 if outside.any() else 4.0
    return float((size[seen] > 4.0 * noise).mean()) > 0.1
