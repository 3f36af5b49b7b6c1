"""Weights from elsewhere as the encoder of a network: the right ones are taken, the wrong ones told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from soilpipe.detect.backbone_weights import BackboneError, load_backbone
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.resnet import IMAGENET_MEAN, IMAGENET_STD
from soilpipe.detect.sizes import make_network
from soilpipe.detect.torchvision_here import import_torchvision

State = dict[str, Tensor]


def resnet(name: str = "resnet18") -> nn.Module:
    """One with weights and statistics that are not those of a fresh network."""
    torch.manual_seed(5)
    model: nn.Module = getattr(import_torchvision().models, name)(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
    return model.eval()


@pytest.fixture(scope="module")
def given() -> State:
    return dict(resnet().state_dict())


@pytest.fixture
def network() -> CentrePointNetwork:
    torch.manual_seed(0)
    return make_network("resnet18", 2).eval()


def assert_filled(network: CentrePointNetwork, given: State) -> None:
    state = network.encoder.state_dict()
    for name, value in given.items():
        if name == "conv1.weight":
            assert torch.equal(state[name][:, :3], value) and not state[name][:, 3:].any()
        elif not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], value), name


def test_the_picture_is_answered_as_by_the_given_weights_and_the_difference_changes_nothing(
    network: CentrePointNetwork, tmp_path: Path
) -> None:
    model = resnet()
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    load_backbone(network, tmp_path / "resnet18.pth")
    pixels = torch.randint(0, 256, (1, 7, 128, 160), dtype=torch.uint8)
    scaled = (pixels[:, :3] / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    with torch.inference_mode():
        x = model.maxpool(model.relu(model.bn1(model.conv1(scaled))))
        expected = []
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
            expected.append(x)
        for ours, theirs in zip(network.levels(pixels), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    first = network.encoder.conv1.weight
    assert first.shape == (64, 7, 7, 7) and first.requires_grad  # the added channels are learned from then on


def numbered(state: State) -> State:
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {
        f"{places[name.split('.')[0]]}.{name.split('.', 1)[1]}": value
        for name, value in state.items()
        if name.split(".")[0] in places
    }


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "bare": dict,
    "no classifier, no counters": lambda s: {n: v for n, v in s.items() if n[:2] != "fc" and n[-7:] != "tracked"},
    "checkpoint": lambda s: {"epoch": 3, "state_dict": prefixed(s, "module.backbone."), "optimizer": {"state": {}}},
    "moco": lambda s: {"state_dict": prefixed(s, "module.encoder_q.") | prefixed(zeros(s), "module.encoder_k.")},
    "lightly": lambda s: {
        "state_dict": prefixed(numbered(s), "backbone.")
        | prefixed(numbered(zeros(s)), "backbone_momentum.")
        | {"projection_head.layers.0.weight": torch.zeros(8, 8)}
    },
    "numbered": numbered,
    "half": lambda s: {n: v.half() if v.is_floating_point() else v for n, v in s.items()},
}


def zeros(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_are_read_in_the_forms_they_come_in(
    form: str, given: State, network: CentrePointNetwork, tmp_path: Path
) -> None:
    content = FORMS[form](given)
    torch.save(content, tmp_path / "file")
    load_backbone(network, tmp_path / "file")
    half = {name: value.half().float() if value.is_floating_point() else value for name, value in given.items()}
    assert_filled(network, half if form == "half" else given)


def test_safetensors_and_seven_channels_are_read(given: State, network: CentrePointNetwork, tmp_path: Path) -> None:
    wide = {**given, "conv1.weight": torch.randn(64, 7, 7, 7)}
    save_file(wide, tmp_path / "wide.safetensors")
    load_backbone(network, tmp_path / "wide.safetensors")
    assert torch.equal(network.encoder.conv1.weight, wide["conv1.weight"])


def test_a_bare_resnet_is_filled_as_well(given: State, tmp_path: Path) -> None:
    torch.save(given, tmp_path / "file")
    bare = import_torchvision().models.resnet18(weights=None)
    load_backbone(bare, tmp_path / "file")
    assert torch.equal(bare.conv1.weight, given["conv1.weight"])


def refused(network: CentrePointNetwork, path: Path, told: str) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BackboneError, match=told) as error:
        load_backbone(network, path)
    assert str(path) in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_another_architecture_is_told_by_its_name(network: CentrePointNetwork, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name in ("resnet34", "resnet50"):
        torch.save(resnet(name).state_dict(), path)
        refused(network, path, f"holds a {name}, the network is a resnet18")
    torch.save({"features.0.weight": torch.zeros(3)}, path)
    refused(network, path, "holds no ResNet .1 tensors, the first are features.0.weight")
    torch.save(make_network("medium", 2).state_dict(), path)
    refused(network, path, "holds no ResNet")


def test_other_shapes_missing_layers_and_broken_numbers_are_told(
    given: State, network: CentrePointNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for change, told in (
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1.weight is \(64, 1, 7, 7\), not \(64, 7, 7, 7\)"),
        (
            {"layer3.1.conv2.weight": torch.full((256, 256, 3, 3), float("nan"))},
            "layer3.1.conv2.weight holds values that",
        ),
    ):
        torch.save({**given, **change}, path)
        refused(network, path, told)
    torch.save({name: value for name, value in given.items() if name != "layer2.0.bn1.running_var"}, path)
    refused(network, path, "layer2.0.bn1.running_var is missing in its resnet18")


def test_files_that_are_cut_short_are_told(given: State, network: CentrePointNetwork, tmp_path: Path) -> None:
    path = tmp_path / "file"
    torch.save(given, path)
    whole = path.read_bytes()
    for length in (0, 1, 2, 1000, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        refused(network, path, "neither a whole file")
    save_file(given, path)
    whole = path.read_bytes()
    for length in (7, 500, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(network, path, "neither a whole file")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_is_never_run(network: CentrePointNetwork, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(Trap()))
    refused(network, path, "could run code")
    torch.save({"state_dict": Trap()}, path)
    refused(network, path, "could run code")
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_state_dict_is_told(network: CentrePointNetwork, tmp_path: Path) -> None:
    path = tmp_path / "file"
    torch.save({"epoch": 3}, path)
    refused(network, path, "holds a dict with epoch, no state dict")
    torch.save(torch.zeros(3), path)
    refused(network, path, "holds a Tensor, no state dict")
    refused(network, tmp_path, "cannot be read")
    refused(network, tmp_path / "nowhere", "cannot be read")


def test_several_resnets_are_not_guessed_among(given: State, network: CentrePointNetwork, tmp_path: Path) -> None:
    torch.save(prefixed(given, "a.") | prefixed(given, "b."), tmp_path / "file")
    refused(network, tmp_path / "file", r"holds several ResNets \(a., b.\)")


def test_sizes_with_an_encoder_of_their_own_take_none(given: State, tmp_path: Path) -> None:
    torch.save(given, tmp_path / "file")
    refused(make_network("small", 2), tmp_path / "file", "for the sizes resnet18 and resnet50")
