"""The smallest detector that loads: a network of a few channels with random weights, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.weights import save_detector

CARD: dict[str, Any] = {
    "name": "tiny",
    "taxa": ["Acari", "Collembola"],
    "um_per_px": 21.17,
    "threshold": 0.4,
    "validation": "none",
    "border_mm": 4.0,
    "border_tolerance": 1.3,
    "heads": ["fine"],
}


def make_model(folder: Path, **card: Any) -> Path:
    """Weights and card in `folder`; `card` replaces entries of it."""
    torch.manual_seed(0)
    network = CentrePointNetwork(2, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    save_detector(folder, network, {**CARD, **card})
    return folder
