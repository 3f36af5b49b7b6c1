"""The network: its size, what it can see, and that folding changes nothing that matters."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from soilpipe.detect.network import HEADS, CentrePointNetwork
from soilpipe.detect.sizes import make_network

RESNETS = [pytest.param(size, marks=pytest.mark.slow) for size in ("resnet18", "resnet50")]


@pytest.fixture(scope="module")
def network() -> CentrePointNetwork:
    torch.manual_seed(0)
    return CentrePointNetwork(12).eval()


def test_the_weights_of_a_dozen_taxa_stay_under_six_megabytes(network: CentrePointNetwork) -> None:
    assert 0.8e6 < network.parameter_count < 1.2e6
    assert len(save(dict(network.state_dict()))) < 6e6


@pytest.mark.parametrize("head", HEADS)
def test_every_head_answers_at_a_quarter_of_the_size_in_float32(network: CentrePointNetwork, head: str) -> None:
    pixels = torch.randint(0, 256, (2, 7, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        answer = network(pixels, head)
        with torch.autocast("cpu", torch.bfloat16):
            lower = network(pixels, head)
    assert [tuple(part.shape) for part in answer] == [(2, 1, 16, 24), (2, 4, 16, 24), (2, 12, 16, 24)]
    assert {tensor.dtype for tensor in (*answer, *lower)} == {torch.float32}


@pytest.mark.parametrize("size", ["small", "medium", *RESNETS])
def test_what_a_network_sees_is_exactly_what_the_code_says(size: str) -> None:
    """With all weights positive and nothing negative on the way, the gradient of one cell shows its reach."""
    torch.manual_seed(0)
    network = make_network(size, 1).eval()
    network.requires_grad_(False)
    for value in network.parameters():
        value.abs_().add_(1e-3)
    network.fold()
    for module in network.modules():
        if isinstance(module, torch.nn.MaxPool2d):  # a maximum passes on one gradient of nine; a mean passes on all
            network.encoder.maxpool = torch.nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
    side, middle = (384, 48) if network.halo == 128 else (640, 80)
    seen_by_encoder: list[torch.Tensor] = []

    def keep(pixels: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        seen_by_encoder.append(torch.zeros(pixels.shape, requires_grad=True))
        return seen_by_encoder[-1]

    with pytest.MonkeyPatch.context() as patched:
        if hasattr(network, "_normalise"):
            patched.setattr(network, "_normalise", keep)
        else:
            patched.setattr("soilpipe.detect.network.normalise", keep)
        heat = network(torch.zeros(1, 7, side, side, dtype=torch.uint8)).heat.double()
    for cell in (middle - 1, middle):
        row = torch.autograd.grad(heat[0, 0, cell, cell], seen_by_encoder, retain_graph=True)[0]
        seen = torch.nonzero(row[0].abs().sum(dim=(0, 1)))
        assert (int(seen.min()), int(seen.max())) == network.reach((cell, cell))


@pytest.mark.parametrize(("size", "halo"), [("small", 128), ("medium", 128), ("resnet18", 256), ("resnet50", 256)])
def test_the_halo_covers_a_core_on_the_grid_and_the_cells_beside_it(size: str, halo: int) -> None:
    network = make_network(size, 1)
    assert network.halo == halo
    for core in (32, 64, 320):
        first, last = network.reach((-1, core // 4))
        assert first >= -halo and last < core + halo


@pytest.mark.parametrize(("size", "side"), [("small", 480), ("medium", 384), ("resnet18", 384), ("resnet50", 384)])
def test_the_smallest_window_keeps_every_convolution_above_the_change_of_kernels(size: str, side: int) -> None:
    """Whatever 3 x 3 convolution reads 20,480 values or fewer is computed in another order in larger windows."""
    network = make_network(size, 1).eval()
    assert network.smallest_input == side
    read: list[int] = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    with torch.inference_mode():
        network(torch.zeros(1, 7, side, side, dtype=torch.uint8))
    assert min(read) > 20_480
    if side > 384:
        read.clear()
        with torch.inference_mode():
            network(torch.zeros(1, 7, side - 32, side - 32, dtype=torch.uint8))
        assert min(read) <= 20_480


def test_folding_changes_nothing_but_the_last_bits(network: CentrePointNetwork) -> None:
    pixels = torch.randint(0, 256, (1, 7, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        for plain, folded in zip(network(pixels), network.folded()(pixels), strict=True):
            torch.testing.assert_close(plain, folded, rtol=1e-4, atol=1e-4)


def test_a_fresh_network_claims_next_to_nothing(network: CentrePointNetwork) -> None:
    with torch.inference_mode():
        heat = network(torch.full((1, 7, 64, 64), 128, dtype=torch.uint8)).heat
    assert torch.sigmoid(heat).max() < 0.05


def test_pixels_of_another_kind_or_size_are_refused(network: CentrePointNetwork) -> None:
    with pytest.raises(ValueError, match="uint8"):
        network(torch.zeros(1, 7, 64, 64))
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(1, 7, 64, 65, dtype=torch.uint8))
