"""From heatmaps to boxes: peaks, scores, from which of the passes a detection is taken, and no animal twice.

Everything that decides whether there is a detection is decided on float32 logits and integer cells; sigmoid and
exponentials come afterwards, in float64, on the few cells that were picked. So the answer for an image cannot depend
on how it was cut into tiles.

A box is the mean of what the cell of the peak and its eight neighbours say of it, each weighted by the square of its
own score: one cell misjudges a side by a px or two, and the peak lies beside the animal's middle as often as on it.
(On 80 simulated scans a detector after a short training rose from .357 to .403 in AP50 by that; weights of the score
itself or of its fourth power gave .390 and .396.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soilpipe.detect.network import STRIDE, Answer
from soilpipe.detect.touching import touching

SIDE_RAW_MIN, SIDE_RAW_MAX = -6.0, 4.3
SIDE_UNIT = 16.0  # px: what a raw side of 0 means

MAX_DETECTIONS = 50_000  # in one scan and pass; the best by score are kept, and a warning says so
SAME_ANIMAL = 0.4  # IoU above which two passes mean one animal
DOUBLE = 0.5
"""IoU above which the weaker of two boxes is a second one on the same animal. Of 4,886 labelled blood cells, lying as
close as animals ever do, 25 overlap another by more, and 16 of those are labelled twice."""
AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))  # a cell and its neighbours, in raster order
ITSELF = AROUND.index((0, 0))
SHARPNESS = 2.0  # power of a cell's score by which it has a say in the box


@dataclass(frozen=True)
class Peaks:
    """Local maxima of the heatmap of one pass over one scan, before they are boxes.

    cells   (n, 2) int64, y x of the heatmap cell, counted from the scan's origin
    taxon   (n, taxa) float32 logits
    around  (n, 9) float32 logits of the cells `AROUND` the peak: how surely it is an animal; -inf where none is
    sides   (n, 9, 4) float32, raw left, top, right, bottom as those cells see them
    """

    cells: np.ndarray
    taxon: np.ndarray
    around: np.ndarray
    sides: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def heat(self) -> np.ndarray:
        """(n,) float32 logits of the peaks themselves."""
        return self.around[:, ITSELF]

    def strongest(self, most: int) -> Peaks:
        """At most `most`, by score, then y, then x; in that order.

        The order is total, so the strongest of all tiles are found among the strongest of each tile.
        """
        order = np.lexsort((self.cells[:, 1], self.cells[:, 0], -self.heat.astype(np.float64)))[:most]
        return Peaks(self.cells[order], self.taxon[order], self.around[order], self.sides[order])


def join(parts: list[Peaks], taxa: int) -> Peaks:
    """The peaks of all tiles together."""
    if not parts:
        none = np.zeros(0, np.float32)
        near = len(AROUND)
        return Peaks(np.zeros((0, 2), np.int64), none.reshape(0, taxa), none.reshape(0, near), none.reshape(0, near, 4))
    return Peaks(
        np.concatenate([part.cells for part in parts]),
        np.concatenate([part.taxon for part in parts]),
        np.concatenate([part.around for part in parts]),
        np.concatenate([part.sides for part in parts]),
    )


def logit(probability: float) -> float:
    """Where a threshold on scores lies on the heatmap's own scale; 0 and 1 become infinities."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a threshold lies between 0 and 1, not {probability}")
    if probability in (0.0, 1.0):
        return math.inf if probability else -math.inf
    return math.log(probability / (1.0 - probability))


def find_peaks(
    answer: Answer, index: int, threshold: float, core: tuple[int, int, int, int], origin: tuple[int, int]
) -> Peaks:
    """Cells of one window at or above `threshold` (a score) that are 3 x 3 local maxima of the heatmap.

    `index`: which window of the answer; `core` y0, y1, x0, x1 in cells of the window: only peaks there are returned,
    their neighbours may lie outside it; `origin` y, x: the window's first cell in the scan. Of equal neighbours the
    first in raster order is the peak, wherever the window lies.
    """
    score = answer.heat[index, 0]
    y0, y1, x0, x1 = core
    found = torch.nonzero(score[y0:y1, x0:x1] >= logit(threshold))
    y, x = found[:, 0] + y0, found[:, 1] + x0
    framed = functional.pad(score, (1, 1, 1, 1), value=-math.inf)
    around = torch.stack([framed[y + 1 + dy, x + 1 + dx] for dy, dx in AROUND], dim=1)
    here = around[:, ITSELF, None]
    peak = (here > around[:, :ITSELF]).all(dim=1) & (here >= around[:, ITSELF + 1 :]).all(dim=1)
    y, x, around = y[peak], x[peak], around[peak]
    height, width = score.shape
    sides = [answer.sides[index][:, (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)].T for dy, dx in AROUND]
    return Peaks(
        cells=torch.stack([y + origin[0], x + origin[1]], dim=1).cpu().numpy(),
        taxon=answer.taxon[index][:, y, x].T.contiguous().float().cpu().numpy(),
        around=around.float().cpu().numpy(),
        sides=torch.stack(sides, dim=1).float().cpu().numpy(),
    )


def sides_px(raw: Tensor) -> Tensor:
    """Raw sides to px of the network's input: 16 px times e**raw, bounded to 0.04..1180 px."""
    return SIDE_UNIT * torch.exp(raw.clamp(SIDE_RAW_MIN, SIDE_RAW_MAX))


def peak_boxes(peaks: Peaks, factor: float, height: int, width: int) -> np.ndarray:
    """(n, 4) float64 boxes, px at full resolution (`factor` full px per px of the pass), clipped to height x width."""
    sides = SIDE_UNIT * np.exp(np.clip(peaks.sides.astype(np.float64), SIDE_RAW_MIN, SIDE_RAW_MAX))
    centres = (peaks.cells[:, None, ::-1] + np.array(AROUND)[None, :, ::-1] + 0.5) * STRIDE
    said = np.concatenate([centres - sides[..., :2], centres + sides[..., 2:]], axis=2)
    sure = -np.logaddexp(0.0, -peaks.around.astype(np.float64))  # log of the score; that of the peak is the highest
    weights = np.exp(SHARPNESS * (sure - sure[:, ITSELF, None]))
    boxes, whole = np.zeros((len(peaks), 4)), np.zeros((len(peaks), 1))
    for near in range(len(AROUND)):  # in this order: a sum over an axis may be taken in another for more peaks
        boxes += weights[:, near, None] * said[:, near]
        whole += weights[:, near, None]
    boxes *= factor / whole
    limits = np.array([width, height, width, height], np.float64)
    return np.clip(boxes, 0.0, limits)


def scores_of(peaks: Peaks) -> np.ndarray:
    """(n,) float32, 0..1: how surely it is an animal, of whatever taxon."""
    return (1.0 / (1.0 + np.exp(-peaks.heat.astype(np.float64)))).astype(np.float32)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 4) and (m, 4) boxes to their (n, m) float64 intersection over union; 0 where both are empty."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lower = np.maximum(a[:, None, :2], b[None, :, :2])
    upper = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(upper - lower, 0.0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def settle_border(
    fine: np.ndarray,
    fine_scores: np.ndarray,
    coarse: np.ndarray,
    coarse_scores: np.ndarray,
    *,
    border: float,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of a detector with two passes are kept: two masks, (n,) and (m,) bool.

    fine, coarse: boxes in px at full resolution; `border` is the longest side, in the same px, from which an animal
    belongs to the coarse pass. Each pass keeps what it owns. Within a factor `tolerance` of the border both sides are
    listened to, since each pass misjudges sizes a little and an animal at the border would else be lost or doubled:
    a detection gives way to a better one of the other pass at the same place (IoU above 0.4; of equal scores the fine
    one stays). One animal may be judged to lie within the tolerance by one pass and beyond it by the other, so doubles
    are looked for up to the square of it. Done once, on the whole scan, so it does not depend on tiles; only neighbours
    are compared, so memory does not grow with the square of what is found.
    """
    size_fine, size_coarse = longest_side(fine), longest_side(coarse)
    keep_fine = size_fine < border * tolerance
    keep_coarse = size_coarse >= border / tolerance
    near_fine = np.flatnonzero(keep_fine & (size_fine >= border / tolerance**2))
    near_coarse = np.flatnonzero(keep_coarse & (size_coarse < border * tolerance**2))
    if len(near_fine) and len(near_coarse):
        pairs = touching(fine[near_fine], coarse[near_coarse], overlaps, SAME_ANIMAL)
        for one, (others, overlap) in zip(near_fine, pairs, strict=True):
            same = near_coarse[others[overlap > SAME_ANIMAL]]
            fine_better = fine_scores[one] >= coarse_scores[same]
            keep_fine[one] &= bool(fine_better.all())
            keep_coarse[same[fine_better]] = False
    return keep_fine, keep_coarse


def settle_passes(boxes: np.ndarray, scores: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """Which detections of three passes or more are kept: (n,) bool.

    boxes: (n, 4), px at full resolution, of lengths that their pass is listened to for; scores: (n,); passes: (n,) int,
    whose they are, the finest 0. The best first, each gives way to a better one of another pass that stays and
    overlaps it by more than `SAME_ANIMAL`; of equal scores the finer pass's stays. What has given way takes nothing
    with it: with three passes an animal could else be lost by a box that nobody counts.
    """
    order = np.lexsort((boxes[:, 0], boxes[:, 1], passes, -scores.astype(np.float64)))
    ranked, of_pass = boxes[order], passes[order]
    stay = np.ones(len(boxes), bool)
    for one, (others, overlap) in enumerate(touching(ranked, ranked, overlaps, SAME_ANIMAL)):
        if stay[one]:
            stay[others[(others > one) & (overlap > SAME_ANIMAL) & (of_pass[others] != of_pass[one])]] = False
    kept = np.empty_like(stay)
    kept[order] = stay
    return kept


def without_doubles(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) boxes, best first, to (n,) bool: which stay when each gives way to a better one that stays and overlaps it
    by more than `DOUBLE` (greedy non-maximum suppression, whatever the taxon).

    A curled or long animal may have two peaks. Done once, on the whole scan, so it does not depend on tiles.
    """
    kept = np.ones(len(boxes), bool)
    for one, (others, overlap) in enumerate(touching(boxes, boxes, overlaps, DOUBLE)):
        if kept[one] and len(others) > 1:
            kept[others[(others > one) & (overlap > DOUBLE)]] = False
    return kept


def longest_side(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) to (n,): the longer side of each box, in its own unit."""
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1) if len(boxes) else np.zeros(0)
