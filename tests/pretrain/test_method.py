"""DenseCL: the loss that leaves equal places out, the queue, the slow copy, and recomputed activations."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from soilpipe.detect.network import CentrePointNetwork, normalise
from soilpipe.detect.sizes import make_network
from soilpipe.encoder.trunk import trunk_of
from soilpipe.pretrain.method import DenseCL
from soilpipe.pretrain.method_contrast import NOWHERE, PlaceContrast
from tests.encoder.tiny_encoder import crops

DIM = 6


def contrast(entries: int = 10, temperature: float = 0.3) -> PlaceContrast:
    torch.manual_seed(0)
    return PlaceContrast(entries, DIM, temperature)


def vectors(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def lightlys(ours: PlaceContrast) -> torch.nn.Module:
    """lightly's loss with the same queue."""
    from lightly.loss import NTXentLoss

    theirs = NTXentLoss(temperature=ours.temperature, memory_bank_size=tuple(ours.memory.bank.shape))
    theirs.memory_bank.bank.copy_(ours.memory.bank)
    theirs.memory_bank.bank_ptr.copy_(ours.memory.bank_ptr)
    return theirs


def test_without_equal_places_it_is_lightlys_loss_over_many_steps() -> None:
    ours = contrast()
    theirs = lightlys(ours)
    for step in range(8):  # the queue goes round more than once
        query, key = vectors(4, seed=2 * step).requires_grad_(), vectors(4, seed=2 * step + 1)
        other = query.detach().clone().requires_grad_()
        places = torch.arange(4) + 4 * step
        loss, expected = ours(query, key, places), theirs(other, key)
        ours.remember(key, places)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(query.grad, other.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.memory.bank, theirs.memory_bank.bank)


def test_entries_of_the_querys_own_place_have_no_say() -> None:
    """The loss is that of a queue from which they were taken out, query by query, and no gradient comes from them."""
    ours = contrast()
    ours.remember(vectors(8, seed=3), torch.tensor([7, 8, 9, 7, 5, 5, 7, 8]))
    query, key, places = vectors(3, seed=4).requires_grad_(), vectors(3, seed=5), torch.tensor([7, 5, 1])
    loss = ours(query, key, places)
    losses = []
    for row in range(3):
        others = ours.memory.bank[ours.places != places[row]]
        unit = torch.nn.functional.normalize(query[row], dim=0)
        logits = torch.cat([(unit @ torch.nn.functional.normalize(key[row], dim=0))[None], others @ unit])
        losses.append(-torch.log_softmax(logits / ours.temperature, dim=0)[0])
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    [gradient] = torch.autograd.grad(loss, query)
    ours.memory.bank[ours.places == 7] = vectors(3, seed=6)  # seen by the other rows alone
    ours.memory.bank[ours.places == 5] = vectors(2, seed=7)
    [after] = torch.autograd.grad(ours(query, key, places), query)
    assert not torch.allclose(gradient[2], after[2]), "the place that is not in the queue sees all of it"
    lone = contrast(entries=2)
    lone.remember(vectors(2, seed=3), torch.tensor([7, 7]))
    assert lone(query[:1], key[:1], places[:1]).item() == 0.0, "nothing left to be told from: no loss, and no NaN"


def test_the_same_place_at_another_time_would_have_been_a_negative() -> None:
    """What the mask is for: without it the query is pushed off its own ground."""
    query = vectors(1, seed=4)
    same_ground = query + 0.05 * vectors(1, seed=5)
    ours = contrast()
    before = float(ours(query, query, torch.tensor([7])))
    ours.remember(same_ground, torch.tensor([7]))
    masked, unmasked = (float(ours(query, query, torch.tensor([place]))) for place in (7, 8))
    assert masked <= before < unmasked


def test_places_stand_beside_their_keys_whatever_the_batches() -> None:
    ours = contrast(entries=10)
    assert (ours.places == NOWHERE).all()
    for step, count in enumerate((4, 3, 6, 2, 9, 10, 1)):
        places = torch.arange(count) + 100 * step
        keys = torch.nn.functional.normalize(vectors(count, seed=step), dim=1)
        ours.remember(keys, places)
        for entry, place in zip(ours.memory.bank, ours.places, strict=True):
            if place // 100 == step:
                torch.testing.assert_close(entry, keys[place % 100])
    assert len(ours.state_dict()) == 3, "the queue is part of what is kept"


def tiny(**given: object) -> DenseCL:
    torch.manual_seed(0)
    network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8)
    return DenseCL(trunk_of(network), queue=16, temperature=0.2, **given)  # type: ignore[arg-type]


def test_each_cell_is_compared_with_the_cell_most_like_it_and_the_weights_add_up() -> None:
    views, places = torch.from_numpy(crops(6)), torch.arange(3)
    whole, parts, total, key_whole, key_parts = tiny(dense=0.25)(views, places, nullcontext())
    torch.testing.assert_close(total, 0.75 * whole + 0.25 * parts)
    assert key_whole.shape == key_parts.shape == (3, 128)
    assert not key_whole.requires_grad and not key_parts.requires_grad
    model = tiny()
    same = torch.cat([views[:3], views[:3]])
    model.query.eval()  # as the slow copy is: then both say the same of the same view
    whole, parts, *_ = model(same, places, nullcontext())
    with torch.no_grad():
        _, vector, cells = model.query(views[:3])
    for loss, queries, queue in ((whole, vector, model.of_whole), (parts, cells.flatten(0, 1), model.of_parts)):
        unit = torch.nn.functional.normalize(queries, dim=1)
        logits = torch.cat([torch.ones(len(unit), 1), unit @ queue.memory.bank.T], dim=1) / 0.2
        torch.testing.assert_close(loss, -torch.log_softmax(logits, dim=1)[:, 0].mean(), rtol=1e-4, atol=1e-5)


def test_one_cell_of_each_view_goes_into_the_queue_of_the_parts() -> None:
    views, places = torch.from_numpy(crops(22)), torch.arange(11)
    model = tiny()
    *_, key_parts = model(views, places, nullcontext())
    with torch.no_grad():
        _, _, cells = model.key(views[11:])
    assert cells.shape == (11, 9, 128)
    for row in range(11):
        torch.testing.assert_close(key_parts[row], cells[row, row % 9])


def test_settling_averages_the_statistics_of_both_copies_over_the_batches() -> None:
    model = tiny()
    views = torch.from_numpy(crops(12))
    model.settle(views.split(6))
    stem = model.query.trunk.stem
    with torch.no_grad():
        seen = torch.stack([stem.conv(normalise(part)).mean(dim=(0, 2, 3)) for part in views.split(6)]).mean(dim=0)
    for branch in (model.query, model.key):
        torch.testing.assert_close(branch.trunk.stem.norm.running_mean, seen, rtol=1e-4, atol=1e-5)
    assert stem.norm.momentum == 0.1 and model.query.training and not model.key.training


def test_frozen_statistics_stay_and_a_view_does_not_depend_on_its_batch() -> None:
    model = tiny(frozen=True)
    views = torch.from_numpy(crops(12))
    model.settle(views.split(6))
    settled = {name: value.clone() for name, value in model.query.named_buffers()}
    _, _, total, *_ = model(views, torch.arange(6), nullcontext())
    total.backward()
    assert all(torch.equal(value, settled[name]) for name, value in model.query.named_buffers())
    assert model.query.trunk.stem.norm.weight.grad.abs().sum() > 0, "scale and shift are learned on"
    with torch.no_grad():
        torch.testing.assert_close(model.query(views)[1][:2], model.query(views[:2])[1], rtol=1e-4, atol=1e-5)


def test_what_learns_gets_gradients_and_the_slow_copy_follows_weights_and_statistics() -> None:
    model = tiny()
    start = copy.deepcopy(model.key.state_dict())
    _, _, total, *_ = model(torch.from_numpy(crops(8)), torch.arange(4), nullcontext())
    total.backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in model.query.parameters())
    assert all(value.grad is None for value in model.key.parameters())
    assert not model.key.training and model.query.training
    for name, value in model.key.state_dict().items():
        assert torch.equal(value, start[name]), "a forward pass leaves it alone, its statistics too"
    torch.optim.SGD(model.query.parameters(), 0.1).step()
    model.follow(0.75)
    for name, value in model.key.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * model.query.state_dict()[name])


@pytest.mark.parametrize("size", ["small", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_recomputed_activations_change_nothing(size: str) -> None:
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = (
            CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8) if size == "tiny" else make_network(size, 1)
        )
        torch.manual_seed(1)
        model = DenseCL(trunk_of(network), queue=16, temperature=0.2, recompute=recompute)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            _, _, total, *_ = model(torch.from_numpy(crops(4, side=64)), torch.arange(2), nullcontext())
        total.backward()
        results.append((total, dict(model.query.named_parameters()), model.state_dict(), sum(kept)))
    plain, recomputed = results
    assert torch.equal(plain[0], recomputed[0])
    for name, value in plain[1].items():
        assert torch.equal(value.grad, recomputed[1][name].grad), name
    for name, value in plain[2].items():
        assert torch.equal(value, recomputed[2][name]), f"{name}: statistics are taken once"
    assert recomputed[3] < 0.5 * plain[3], "fewer numbers are kept for the gradients"
