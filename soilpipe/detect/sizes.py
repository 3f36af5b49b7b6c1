"""The sizes that a centre-point network comes in, and how one is made by name or from its card.

Trainable parameters, for 12 taxa: small 0.318 M, medium 0.988 M, resnet18 11.401 M, resnet50 23.917 M.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soilpipe.detect.network import CentrePointNetwork, Widths
from soilpipe.detect.second_stage.network import SecondStage
from soilpipe.errors import SoilpipeError

SIZES = ("small", "medium", "resnet18", "resnet50")
MEDIUM = "medium"  # of a card that says no size

_PLAIN: dict[str, dict[str, Any]] = {
    "small": {"stem": 16, "widths": (16, 32, 64, 96), "pyramid": 48},
    MEDIUM: {"stem": 24, "widths": (32, 64, 128, 176), "pyramid": 64},
}


class SizeError(SoilpipeError):
    """A size that there is not."""


def make_network(size: str, taxa: int) -> CentrePointNetwork:
    """A fresh network of one of SIZES for `taxa` classes, in training mode; weights from torch's global generator.

    SizeError for any other size; TorchvisionError where a ResNet is asked for and torchvision cannot be imported.
    """
    if size in _PLAIN:
        return CentrePointNetwork(taxa, **_PLAIN[size])
    if size in SIZES:
        from soilpipe.detect.resnet import ResNetNetwork  # here: torchvision takes a second to import

        return ResNetNetwork(taxa, encoder=size)
    raise SizeError(f"{size!r} is no size of network; there are {', '.join(SIZES)}")


def network_of(architecture: Mapping[str, Any]) -> CentrePointNetwork:
    """A fresh network of the architecture on a card. KeyError, TypeError or ValueError when it is none."""
    network = _first_stage_of(architecture)
    if "second" in architecture:
        shape = architecture["second"]
        stem, widths = _shape_of(shape)
        network.take_second(SecondStage(network.taxa, stem=stem, widths=widths, hidden=int(shape["hidden"])))
    return network


def _first_stage_of(architecture: Mapping[str, Any]) -> CentrePointNetwork:
    taxa, pyramid = int(architecture["taxa"]), int(architecture["pyramid"])
    if "encoder" in architecture:
        from soilpipe.detect.resnet import ResNetNetwork

        return ResNetNetwork(taxa, encoder=str(architecture["encoder"]), pyramid=pyramid)
    stem, widths = _shape_of(architecture)
    return CentrePointNetwork(taxa, stem=stem, widths=widths, pyramid=pyramid)


def _shape_of(architecture: Mapping[str, Any]) -> tuple[int, Widths]:
    a, b, c, d = (int(width) for width in architecture["widths"])
    return int(architecture["stem"]), (a, b, c, d)


def size_of(network: CentrePointNetwork) -> str | None:
    """Which of SIZES a network is; None when its widths are its own."""
    return _named(network.architecture, ("stem", "widths", "pyramid"))


def encoder_size_of(architecture: Mapping[str, Any]) -> str | None:
    """Which of SIZES has the encoder of an architecture, whatever stands on it; None when its widths are its own."""
    return _named(architecture, ("stem", "widths"))


def _named(architecture: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    if "encoder" in architecture:
        return str(architecture["encoder"])
    for size, shape in _PLAIN.items():
        if all(architecture[key] == (list(shape[key]) if key == "widths" else shape[key]) for key in keys):
            return size
    return None
