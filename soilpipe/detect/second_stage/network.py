"""The network of the second stage: crops of one size, and what the first stage said, to answers for each of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from soilpipe.detect.network import CHANNELS, CentrePointNetwork, ConvUnit, DownBlock, Widths, normalise

SIDE = 64  # px of a crop
TOLD = 4  # numbers that come with a crop: see `crops.Cut.told`
STEM, WIDTHS = 24, (32, 64, 128, 176)  # those of the `medium` first stage, whose encoder it begins from
HIDDEN = 128
DROPPED_OUT = 0.2  # of what is between the two layers of the head, in training
ANSWERS = 5  # of a crop, before those for each taxon: animal or not, and by how much each side of the box moves


class SecondAnswer(NamedTuple):
    """What the second stage says of n crops, float32.

    animal  (n,)       logits: is the candidate an animal, in a box that fits
    sides   (n, 4)     by how much x_min, y_min, x_max, y_max move, in sides of the crop
    taxon   (n, taxa)  logits: of which taxon, if it is one
    """

    animal: Tensor
    sides: Tensor
    taxon: Tensor


class Seen(NamedTuple):
    """What the second stage sees in n crops, before its answers.

    means   (n, c) each: of its last two levels, over the crop and over its middle
    hidden  (n, HIDDEN), >= 0: what its answers are weighed from
    """

    means: list[Tensor]
    hidden: Tensor


class SecondStage(nn.Module):
    """An encoder as the first stage has one, down to stride 32, means of its last two levels, and two linear layers.

    forward(pixels, told): (n, 7, SIDE, SIDE) uint8 and (n, TOLD) float32 to a SecondAnswer. Fresh, it says 0
    everywhere: half a chance, boxes as they are.
    """

    def __init__(self, taxa: int, *, stem: int = STEM, widths: Widths = WIDTHS, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.taxa = taxa
        self.architecture: dict[str, Any] = {"stem": stem, "widths": list(widths), "hidden": hidden}
        self.stem = ConvUnit(CHANNELS, stem, 3, stride=2)
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in zip((stem, *widths[:-1]), widths, strict=True))
        self.inner = nn.Linear(2 * (widths[-2] + widths[-1]) + TOLD, hidden)
        self.drop = nn.Dropout(DROPPED_OUT)
        self.out = nn.Linear(hidden, ANSWERS + taxa)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pixels: Tensor, told: Tensor) -> SecondAnswer:
        y = self.out(self.drop(self.seen(pixels, told).hidden))
        return SecondAnswer(y[:, 0], y[:, 1:ANSWERS], y[:, ANSWERS:])

    def seen(self, pixels: Tensor, told: Tensor) -> Seen:
        """What is made of crops before it is answered."""
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != (CHANNELS, SIDE, SIDE):
            raise ValueError(
                f"expected (n, {CHANNELS}, {SIDE}, {SIDE}) uint8, got {tuple(pixels.shape)} {pixels.dtype}"
            )
        x = self.stem(normalise(pixels, self.stem.conv.weight.dtype))
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        means = [part for level in levels[-2:] for part in (level.mean((2, 3)), _middle(level).mean((2, 3)))]
        return Seen(means, torch.relu(self.inner(torch.cat([*means, told], dim=1))))

    def begin_from(self, first: CentrePointNetwork) -> bool:
        """Take over the encoder of a first stage, where it has the same shape; whether it had."""
        shape = {key: self.architecture[key] for key in ("stem", "widths")}
        if {key: first.architecture.get(key) for key in shape} != shape:
            return False
        self.stem.load_state_dict(first.stem.state_dict())
        self.down.load_state_dict(first.down.state_dict())
        return True


def _middle(level: Tensor) -> Tensor:
    """The cells over the middle half of a crop, or all where there are but two rows."""
    edge = level.shape[-1] // 4
    return level[:, :, edge : level.shape[-1] - edge, edge : level.shape[-1] - edge]
