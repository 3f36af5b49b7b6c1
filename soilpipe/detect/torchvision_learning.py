"""What torchvision's detectors learn from a batch of crops, by their losses: a `soilpipe.detect.learning.Learner`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from soilpipe.detect.crops import Crops
from soilpipe.detect.losses import SizeRange
from soilpipe.detect.passes import PassName
from soilpipe.detect.torchvision_family import TorchvisionNetwork

LEARNING_RATE = 2e-4  # of AdamW; that of the small networks, 4e-3, is too much for these
SMALLEST = 1.0  # px: a box must have an inside
PARTS = {
    True: ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"),
    False: ("classification", "bbox_regression", "bbox_ctrness"),
}
"""The losses of families with and without region proposals, as torchvision names them."""


@dataclass(frozen=True)
class PictureTargets:
    """For each picture of a batch its animals, and what to blank: boxes that count neither way.

    animals: a dict for each picture, boxes (k, 4) float32 px, labels (k,) int64 as the network numbers them.
    blank: boolean (n, s, s).
    seed: for what torchvision draws at random, so that equal batches give equal losses.
    """

    animals: list[dict[str, Tensor]]
    blank: Tensor
    seed: int


class TorchvisionLearner:
    """Faster R-CNN or FCOS in training. One pass: all animals are its own, whatever their size."""

    def __init__(self, network: TorchvisionNetwork, device: torch.device) -> None:
        self.network = network
        self.parts = PARTS[network.two_stages]
        self._device = device

    def targets(self, crops: Crops, size: SizeRange) -> PictureTargets:
        """Animals of each crop, on the training device.

        Crowds, animals mostly outside the crop and those of another size are blanked with the crop's mean colour, but
        for what of them lies on a counted animal: these networks know no "counts neither way".
        """
        count, side = len(crops.pixels), int(crops.pixels.shape[-1])
        inside = ((crops.boxes[:, 2:] - crops.boxes[:, :2]) >= SMALLEST).all(axis=1)
        counted = size.owned(crops.length) & ~crops.ignored & inside
        blank = np.zeros((count, side, side), bool)
        for rows, value in ((~counted, True), (counted, False)):
            for box, index in zip(crops.boxes[rows], crops.crop[rows], strict=True):
                (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
                blank[index, max(y0, 0) : y1, max(x0, 0) : x1] = value
        animals = []
        for index in range(count):
            mine = counted & (crops.crop == index)
            animals.append(
                {
                    "boxes": torch.from_numpy(crops.boxes[mine].astype(np.float32)).to(self._device),
                    "labels": torch.from_numpy(crops.labels[mine] + self.network.first_label).to(self._device),
                }
            )
        seed = zlib.crc32(crops.crop.tobytes() + crops.boxes.tobytes())
        return PictureTargets(animals, torch.from_numpy(blank).to(self._device), seed)

    def losses(self, batch: Mapping[PassName, tuple[Tensor, PictureTargets]]) -> tuple[Tensor, ...]:
        """Scalars in the order of `parts`, then their sum. Same batch and weights, same losses on a CPU."""
        ((pixels, targets),) = batch.values()
        pixels = _blanked(pixels, targets.blank)
        cuda = self._device.type == "cuda"
        with torch.random.fork_rng(devices=[self._device] if cuda else []):
            torch.manual_seed(targets.seed)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=cuda and torch.cuda.is_bf16_supported()):
                told = self.network(pixels, targets.animals)
        parts = tuple(told[name].float() for name in self.parts)
        return *parts, torch.stack(parts).sum()


def _blanked(pixels: Tensor, blank: Tensor) -> Tensor:
    """(n, 7, s, s) uint8 with the mean of each channel where `blank` says."""
    if not bool(blank.any()):
        return pixels
    mean = pixels.float().mean(dim=(2, 3), keepdim=True).round_().to(torch.uint8)
    return torch.where(blank[:, None], mean, pixels)
