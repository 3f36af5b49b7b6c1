"""The smallest encoder, and crops of noise to give it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.trunk import trunk_of

CARD: dict[str, Any] = {"name": "tiny", "um_per_px": 21.17}


def tiny_network() -> CentrePointNetwork:
    """Of a few channels, with weights and statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    network = CentrePointNetwork(2, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def encoder_of(network: CentrePointNetwork, *, device: str = "cpu", **card: Any) -> Encoder:
    """A network's encoder."""
    return Encoder(trunk_of(network), {**CARD, **card}, device=device)


def crops(count: int, side: int = 96, seed: int = 0) -> np.ndarray:
    """(count, 7, side, side) uint8: noise, with a difference that is valid nearly everywhere."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 7, side, side), np.uint8)
    pixels[:, 6] = np.where(pixels[:, 6] > 10, 255, 0)
    pixels[:, 3:6] = np.where(pixels[:, 6:] == 255, np.maximum(pixels[:, 3:6], 1), 128)
    return pixels
