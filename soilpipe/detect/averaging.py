"""The moving average of a network's weights, which is what a training keeps."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Moving average of parameters and of the batch statistics."""
    ours, theirs = [], []
    for mine, its in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            ours.append(mine)
            theirs.append(its)
        else:
            mine.copy_(its)
    torch._foreach_lerp_(ours, theirs, 1 - decay)
