"""A close look at an animal: a crop as wide as the animal asks, through the encoder of a detector's second stage.

An encoder's own crops have a scale of their own, so that any two places compare. A detector's second stage
(`soilpipe.detect.second_stage`) has been shown some ten thousand candidates, each in a crop of one size, and told of
which taxon each is: what it makes of a crop, before it answers, tells taxa apart that the encoder's vectors do not (of
seasons of `peat`, which neither had seen, the macro-F1 of a classifier was .28 without and .53 with it, mean of three
seeds: `benchmarks/classifier.py`). It stands beside the encoder's vector, and pretraining leaves it as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from soilpipe.background import ModelInput, Registration
from soilpipe.detect.passes import TIMES
from soilpipe.detect.second_stage.crops import CUT_FROM, crop, cuts_of
from soilpipe.detect.second_stage.network import SIDE, TOLD, SecondStage
from soilpipe.tiles import ScanImage

UNDECIDED = 0.0  # the logit told of each crop: what a detector thought of it is not known where a person labelled it


class CloseLook(nn.Module):
    """A second stage without its answers.

    forward(pixels, told): (n, 7, SIDE, SIDE) uint8 and (n, TOLD) float32 to vectors (n, dim) float32 of length 1: the
    means of the last two levels, each scaled to length 1, and what the answers were weighed from, which counts as much
    as all of them.
    """

    def __init__(self, stage: SecondStage) -> None:
        super().__init__()
        self.stage = copy.deepcopy(stage).eval()
        del self.stage.out
        self.architecture: dict[str, Any] = dict(stage.architecture)

    @classmethod
    def like(cls, architecture: Mapping[str, Any]) -> CloseLook:
        """A fresh one. KeyError, TypeError or ValueError for what no second stage is built by."""
        a, b, c, d = architecture["widths"]
        return cls(SecondStage(1, stem=architecture["stem"], widths=(a, b, c, d), hidden=architecture["hidden"]))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        *_, before, last = self.architecture["widths"]
        return int(2 * (before + last) + self.architecture["hidden"])

    def forward(self, pixels: Tensor, told: Tensor) -> Tensor:
        seen = self.stage.seen(pixels, told)
        means = functional.normalize(torch.cat([functional.normalize(mean, dim=1) for mean in seen.means], dim=1))
        return functional.normalize(torch.cat([means, functional.normalize(seen.hidden, dim=1)], dim=1))


def close_crops(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    boxes: np.ndarray,
    um_per_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4), px of the scan at full resolution, to (n, 7, SIDE, SIDE) uint8 and (n, TOLD) float32, as the second
    stage of a detector of `um_per_px` is given them. Read from top to bottom, so that a stored scan is decoded once."""
    pixels, told = np.zeros((len(boxes), 7, SIDE, SIDE), np.uint8), np.zeros((len(boxes), TOLD), np.float32)
    if not len(boxes):
        return pixels, told
    windows = {name: ModelInput(scan, references, registrations, TIMES[name] * um_per_px) for name in CUT_FROM}
    cuts = cuts_of(boxes, np.full(len(boxes), UNDECIDED), windows, scan.um_per_px)
    for row in sorted(range(len(cuts)), key=lambda one: (cuts[one].name, cuts[one].y0)):
        pixels[row] = crop(cuts[row], windows)
        told[row] = cuts[row].told
    return pixels, told
