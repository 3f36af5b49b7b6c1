"""What the network is to answer for a batch of crops, and how far its answer is off.

Heatmap of animals: penalty-reduced focal loss ("Objects as Points", Zhou et al. 2019). Boxes: GIoU loss on the
distances to the sides, at the cells around each centre, weighted by its Gaussian ("Training-Time-Friendly Network",
Liu et al. 2020). Taxa: cross entropy, at the same cells with the same weights.
Gaussians are as wide and high as the box asks: sigma = max(0.8, 0.7 side / 6) cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soilpipe.detect.crops import Crops
from soilpipe.detect.decode import sides_px
from soilpipe.detect.network import STRIDE

BOX_WEIGHT = 2.0
TAXON_WEIGHT = 0.5
AROUND = 0.15  # cells where an animal's Gaussian is at least this high learn its box: half of its width and height
CORE = 0.5  # of an animal of the wrong size: cells where its Gaussian is at least this high are not held against


@dataclass(frozen=True)
class SizeRange:
    """Which animals a pass owns, by the longest side in px of the pass; `tolerance` is a factor at its border."""

    least: float
    most: float
    tolerance: float

    def owned(self, length: np.ndarray) -> np.ndarray:
        """Those the pass is to find."""
        return (length >= self.least) & (length < self.most)

    def near(self, length: np.ndarray) -> np.ndarray:
        """Those of the other pass that are so near the border that this one may find them or not."""
        wide = (length >= self.least / self.tolerance) & (length < self.most * self.tolerance)
        return wide & ~self.owned(length)


@dataclass(frozen=True)
class Targets:
    """heat (n, 1, h, w) 0..1; counted (n, 1, h, w) bool: cells that count; then for each of k cells that learn a box
    and a taxon: crop, y, x (k,) int64, boxes (k, 4) px of the crop, taxa (k,) int64, weight (k,) (1 in sum for each
    animal); animals: their number."""

    heat: Tensor
    counted: Tensor
    crop: Tensor
    y: Tensor
    x: Tensor
    boxes: Tensor
    taxa: Tensor
    weight: Tensor
    animals: int

    def to(self, device: torch.device) -> Targets:
        """The same on a device. From pinned memory, so that a GPU at work is not waited for."""

        def moved(values: Tensor) -> Tensor:
            return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)

        return Targets(
            heat=moved(self.heat),
            counted=moved(self.counted),
            crop=moved(self.crop),
            y=moved(self.y),
            x=moved(self.x),
            boxes=moved(self.boxes),
            taxa=moved(self.taxa),
            weight=moved(self.weight),
            animals=self.animals,
        )


def make_targets(crops: Crops, size: SizeRange) -> Targets:
    """Targets of one pass, made on the CPU while a GPU is at work.

    Crowds, animals mostly outside the crop and those near the border of size do not count anywhere in their box;
    animals that are clearly the other pass's do not count at their centre, and are ground elsewhere, so that no pass
    learns to find parts of them.
    """
    count, cells = len(crops.pixels), crops.pixels.shape[-1] // STRIDE
    owned = size.owned(crops.length) & ~crops.ignored
    blank = crops.ignored | (size.near(crops.length) & ~owned)
    other = ~owned & ~blank
    heat = torch.zeros((count, cells, cells))
    counted = torch.ones((count, cells, cells), dtype=torch.bool)
    if blank.any():
        counted &= ~_covered(crops.boxes[blank], crops.crop[blank], count, cells)
    if other.any():
        strange = _gaussians(crops.boxes[other], cells)
        where = _index(crops.crop[other])[:, None, None].expand_as(strange)
        counted &= torch.zeros((count, cells, cells)).scatter_reduce_(0, where, strange, "amax") < CORE
    boxes = torch.from_numpy(crops.boxes[owned])
    batch = _index(crops.crop[owned])
    labels = _index(crops.labels[owned])
    gaussians = _gaussians(crops.boxes[owned], cells)
    if len(boxes):
        where = batch[:, None, None].expand_as(gaussians)
        heat.scatter_reduce_(0, where, gaussians, "amax")
    counted |= heat == 1  # the centre of an animal always counts
    nearest = heat[batch]
    learns = (gaussians >= AROUND) & (gaussians >= nearest) & (_inside(boxes, cells) | (gaussians == 1))
    animal, y, x = torch.nonzero(learns, as_tuple=True)
    weight = gaussians[animal, y, x]
    total = torch.zeros(max(len(boxes), 1)).index_add_(0, animal, weight)
    return Targets(
        heat[:, None],
        counted[:, None],
        batch[animal],
        y,
        x,
        boxes[animal],
        labels[animal],
        weight / total[animal],
        len(boxes),
    )


def _index(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _gaussians(boxes: np.ndarray, cells: int) -> Tensor:
    """(m, 4) px to (m, cells, cells): 1 in the cell of the centre, falling off with the sides of the box."""
    given = torch.from_numpy(boxes) / STRIDE
    centre = ((given[:, :2] + given[:, 2:]) / 2).floor().clamp(0, cells - 1)
    sigma = (0.7 / 6 * (given[:, 2:] - given[:, :2])).clamp_min(0.8)
    line = torch.arange(cells, dtype=torch.float32)
    falling = torch.exp(-((line[None, :, None] - centre[:, None]) ** 2) / (2 * sigma[:, None] ** 2))
    return falling[:, :, 1, None] * falling[:, None, :, 0]


def _inside(boxes: Tensor, cells: int) -> Tensor:
    """(m, 4) px to (m, cells, cells) bool: cells whose middle lies in the box, from which all its sides are ahead."""
    middle = (torch.arange(cells, dtype=torch.float32) + 0.5) * STRIDE
    along_x, along_y = ((middle > boxes[:, axis, None]) & (middle < boxes[:, axis + 2, None]) for axis in (0, 1))
    return along_y[:, :, None] & along_x[:, None, :]


def _covered(boxes: np.ndarray, batch: np.ndarray, count: int, cells: int) -> Tensor:
    """(count, cells, cells) bool: cells that a box of that crop touches."""
    covered = np.zeros((count, cells, cells), bool)
    for box, index in zip(boxes, batch, strict=True):
        x0, y0 = np.floor(box[:2] / STRIDE).astype(int)
        x1, y1 = np.ceil(box[2:] / STRIDE).astype(int)
        covered[index, y0:y1, x0:x1] = True
    return torch.from_numpy(covered)


def heat_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Penalty-reduced focal loss (alpha 2, beta 4), summed, per animal (at least one)."""
    logits = logits.float()
    probability = torch.sigmoid(logits)
    is_centre = targets.heat == 1
    found = functional.logsigmoid(logits) * (1 - probability) ** 2
    quiet = functional.logsigmoid(-logits) * probability**2 * (1 - targets.heat) ** 4
    loss = -torch.where(is_centre, found, quiet) * targets.counted
    return loss.sum() / max(targets.animals, 1)


def box_loss(raw: Tensor, targets: Targets) -> Tensor:
    """Mean GIoU loss over animals; raw (n, 4, h, w)."""
    if not targets.animals:
        return raw.sum() * 0.0
    sides = sides_px(raw.float()[targets.crop, :, targets.y, targets.x])
    centre = torch.stack([targets.x, targets.y], dim=1).float().add(0.5).mul(STRIDE)
    given = torch.cat([centre - sides[:, :2], centre + sides[:, 2:]], dim=1)
    return ((1 - giou(given, targets.boxes)) * targets.weight).sum() / targets.animals


def taxon_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Mean cross entropy over animals; logits (n, taxa, h, w)."""
    if not targets.animals:
        return logits.sum() * 0.0
    here = logits.float()[targets.crop, :, targets.y, targets.x]
    return (functional.cross_entropy(here, targets.taxa, reduction="none") * targets.weight).sum() / targets.animals


def giou(a: Tensor, b: Tensor) -> Tensor:
    """(k, 4) and (k, 4) boxes to their (k,) generalised intersection over union (Rezatofighi et al. 2019)."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)
