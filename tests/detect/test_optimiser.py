"""Muon beside AdamW: what moves which weights, and how far."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from soilpipe.detect.optimiser import LENGTH, MuonAdamW, orthogonal
from soilpipe.detect.starting import Start
from soilpipe.detect.weights import SHIPPED


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16), (1, 9)])
def test_what_is_made_orthogonal_keeps_its_directions_and_loses_its_lengths(shape: tuple[int, int]) -> None:
    matrix = made(*shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonal(matrix) @ v.T  # diagonal, where directions are kept
    assert torch.diagonal(inner).min() > 0.4
    assert torch.diagonal(inner).max() < 1.4
    assert (inner - torch.diag(torch.diagonal(inner))).abs().max() < 0.1  # bfloat16


def test_a_matrix_of_zeros_stays_one() -> None:
    assert orthogonal(torch.zeros(4, 9)).abs().max() == 0


def test_a_step_of_muon_is_as_long_as_the_learning_rate_says() -> None:
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3).to(memory_format=torch.channels_last))
    optimiser = MuonAdamW([{"params": [weight], "muon": True, "weight_decay": 0.0}], lr=0.01)
    weight.grad = made(32, 16, 3, 3)
    optimiser.step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.01 * LENGTH, rel=0.3)
    assert weight.grad is None


def test_groups_without_it_move_as_adamw_moves_them() -> None:
    ours, theirs = (nn.Parameter(made(6, 5)) for _ in range(2))
    inner = nn.Parameter(made(6, 5, seed=1))
    both = MuonAdamW(
        [{"params": [inner], "muon": True, "weight_decay": 0.1}, {"params": [ours], "weight_decay": 0.1}], lr=0.01
    )
    alone = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for step in range(3):
        ours.grad, theirs.grad, inner.grad = (made(6, 5, seed=10 + step) for _ in range(3))
        both.step()
        alone.step()
    assert torch.equal(ours, theirs)
    assert not torch.allclose(inner, made(6, 5, seed=1))


def test_it_finds_the_way_down() -> None:
    wanted = made(12, 20)
    weight = nn.Parameter(torch.zeros(12, 20))
    optimiser = MuonAdamW([{"params": [weight], "muon": True, "weight_decay": 0.0}], lr=0.05)
    for step in range(400):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / 400)
        optimiser.zero_grad()
        (weight - wanted).square().sum().backward()
        optimiser.step()
    assert (weight - wanted).abs().max() < 0.05


def test_networks_of_our_own_learn_by_it_unless_they_are_gone_on_with() -> None:
    assert Start().recipe().muon and Start(backbone="an encoder").recipe().muon
    assert not Start(warm_start=SHIPPED).recipe().muon
    assert not Start("resnet18").recipe().muon and not Start(family="fcos_resnet50_fpn").recipe().muon
    assert not Start().recipe(muon=False).muon
