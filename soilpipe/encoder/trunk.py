"""The trunk: a centre-point network without what stands on its encoder.

Names of its weights in a file: `stem.*` and `down.*` for networks of our own widths, torchvision's for a ResNet, so
that the same file serves as the backbone of a detector.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.sizes import make_network, network_of

ABOVE = ("lateral", "smooth", "fine", "coarse")  # of a whole network, what a trunk does without
OF_RESNET = "encoder."  # before the names of a ResNet's weights in a whole network
_SHAPE = ("encoder", "stem", "widths")  # of an architecture, what says how the trunk is built


def make_trunk(size: str) -> CentrePointNetwork:
    """A fresh one of a named size, in training mode; weights from torch's global generator. SizeError for others."""
    return _cut(make_network(size, taxa=1))


def trunk_of(network: CentrePointNetwork) -> CentrePointNetwork:
    """A copy of a network's trunk, in the network's mode. `levels` works on it, `forward` does not."""
    return _cut(copy.deepcopy(network))


def trunk_shape(network: CentrePointNetwork) -> dict[str, Any]:
    """What of its architecture a trunk is built by, JSON-able."""
    return {key: network.architecture[key] for key in _SHAPE if key in network.architecture}


def trunk_like(shape: Mapping[str, Any]) -> CentrePointNetwork:
    """A fresh trunk of a shape. KeyError, TypeError or ValueError when it is none that there is."""
    if not set(shape) <= set(_SHAPE):
        raise ValueError(f"unknown: {sorted(set(shape) - set(_SHAPE))}")
    return _cut(network_of({"taxa": 1, "pyramid": 1, **shape}))


def widths_of(network: CentrePointNetwork) -> tuple[int, int, int, int]:
    """Channels of its levels at strides 4, 8, 16 and 32."""
    if "encoder" in network.architecture:
        from soilpipe.detect.resnet import ENCODERS

        return ENCODERS[network.architecture["encoder"]]
    a, b, c, d = network.architecture["widths"]
    return a, b, c, d


def trunk_state(trunk: CentrePointNetwork) -> dict[str, Tensor]:
    """Its weights under the names they have in a file."""
    return {name.removeprefix(OF_RESNET): value for name, value in trunk.state_dict().items()}


def _cut(network: CentrePointNetwork) -> CentrePointNetwork:
    network.take_second(None)
    for part in ABOVE:
        if hasattr(network, part):  # a trunk's trunk is itself
            delattr(network, part)
    return network
