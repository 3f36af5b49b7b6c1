"""The sizes of the network: how many parameters, how they are named on a card, and that each comes back from disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.sizes import SIZES, SizeError, make_network, network_of, size_of
from soilpipe.detect.weights import SHIPPED, WeightsError, load_detector, save_detector
from soilpipe.tiles import image_from_array

CARD: dict[str, Any] = {
    "name": "sized",
    "taxa": ["Acari", "Collembola"],
    "um_per_px": 21.17,
    "threshold": 0.4,
    "validation": "none",
    "border_mm": 4.0,
    "border_tolerance": 1.3,
    "heads": ["fine"],
}


@pytest.mark.parametrize(
    ("size", "millions"), [("small", 0.318), ("medium", 0.988), ("resnet18", 11.401), ("resnet50", 23.917)]
)
def test_a_size_has_the_parameters_that_the_page_says(size: str, millions: float) -> None:
    with torch.device("meta"):  # shapes alone
        network = make_network(size, 12)
    assert round(network.parameter_count / 1e6, 3) == millions
    assert size_of(network) == size
    assert json.loads(json.dumps(network.architecture)) == network.architecture
    with torch.device("meta"):
        again = network_of(network.architecture)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in network.state_dict().items()
    }


def test_a_size_that_there_is_not_is_told() -> None:
    with pytest.raises(SizeError, match="'large' is no size of network; there are small, medium, resnet18, resnet50"):
        make_network("large", 2)


@pytest.mark.parametrize("size", [*SIZES[:-1], pytest.param(SIZES[-1], marks=pytest.mark.slow)])
def test_every_size_comes_back_from_disk_and_names_itself(size: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = make_network(size, 2).eval()
    version = save_detector(tmp_path, network, CARD)
    assert json.loads((tmp_path / "card.json").read_text()).get("size") == (None if size == "medium" else size)
    detector = load_detector(tmp_path, device="cpu")
    assert detector.info.version == version and size_of(detector.network) == size
    for name, value in network.state_dict().items():
        torch.testing.assert_close(detector.network.state_dict()[name], value, rtol=0, atol=0)
    scan = image_from_array(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), 21.17)
    assert detector.detect(scan, [], [], threshold=0.0).taxa == ("Acari", "Collembola")


def test_a_size_that_is_not_that_of_the_architecture_is_refused(tmp_path: Path) -> None:
    save_detector(tmp_path, make_network("small", 2), CARD)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, "size": "resnet18"}))
    with pytest.raises(WeightsError, match="`size` = 'resnet18', but its `architecture` is that of small"):
        load_detector(tmp_path)
    (tmp_path / "card.json").write_text(
        json.dumps({**card, "architecture": {**card["architecture"], "encoder": "vit"}})
    )
    with pytest.raises(WeightsError, match="none that this version knows"):
        load_detector(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_detector(tmp_path / "a", make_network("small", 2), CARD)
    save_detector(tmp_path / "b", make_network("medium", 2), CARD)
    (tmp_path / "a" / "weights.safetensors").write_bytes((tmp_path / "b" / "weights.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="of another network than the card says"):
        load_detector(tmp_path / "a")


def test_the_shipped_weights_load_bit_for_bit_and_keep_their_version() -> None:
    detector = load_detector(SHIPPED, device="cpu")
    stored = load_file(SHIPPED / "weights.safetensors")
    state = detector.network.state_dict()
    assert set(state) == set(stored) and type(detector.network) is CentrePointNetwork
    assert all(torch.equal(state[name], value) for name, value in stored.items())
    both = (SHIPPED / "weights.safetensors").read_bytes() + (SHIPPED / "card.json").read_bytes()
    assert detector.info.version == hashlib.sha256(both).hexdigest()[:12]
    assert detector.info.settings["algorithm"] == "centre-point-2"
