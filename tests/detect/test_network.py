"""The network: its size, what it can see, and that folding changes nothing that matters."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from soilpipe.detect.network import HEADS, CentrePointNetwork, reach, receptive_halo


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


def test_what_the_network_sees_is_exactly_what_the_code_says() -> None:
    """Without nonlinearities in the way (all weights positive), the gradient of one cell shows its reach."""
    torch.manual_seed(0)
    network = CentrePointNetwork(1).eval()
    for value in network.parameters():
        value.data.abs_().add_(1e-3)
    folded = network.folded()
    size = 384
    pixels = torch.zeros(1, 7, size, size, requires_grad=True)
    x = folded.stem(pixels)
    levels = []
    for block in folded.down:
        x = block(x)
        levels.append(x)
    x = folded.lateral[-1](levels[-1])
    for level in (2, 1, 0):
        x = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest") + folded.lateral[level](levels[level])
        if level:
            x = folded.smooth[level - 1](x)
    heat = folded.fine(x).heat
    for cell in (44, 47, 48, 51):
        (gradient,) = torch.autograd.grad(heat[0, 0, cell, cell], pixels, retain_graph=True)
        seen = torch.nonzero(gradient[0].abs().sum(dim=(0, 1)))
        assert (int(seen.min()), int(seen.max())) == reach((cell, cell))


def test_the_halo_covers_a_core_on_the_grid_and_the_cells_beside_it() -> None:
    halo = receptive_halo()
    assert halo == 128
    for core in (32, 64, 320):
        first, last = reach((-1, core // 4))
        assert first >= -halo and last < core + halo


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
