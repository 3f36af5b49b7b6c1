"""The coarse head's scores on the fine one's scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect import balance as balancing
from soilpipe.detect.balance import MOST, balance, shift_between
from soilpipe.detect.sizes import make_network
from tests.detect.test_passes import CARD
from tests.detect.test_passes import sample as sample

CPU = torch.device("cpu")


def drawn(shift: float, count: int = 20_000, slope: float = 2.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Detections whose worth is that of their logit, of the coarse pass's `shift` more."""
    rng = np.random.default_rng(seed)
    logits, coarse = rng.normal(-1, 1.5, count), rng.random(count) < 0.3
    chance = 1 / (1 + np.exp(-(slope * (logits + shift * coarse) - 0.3)))
    return logits, coarse, rng.random(count) < chance


@pytest.mark.parametrize("shift", [-0.8, 0.0, 0.4, 1.2])
def test_the_shift_is_that_of_the_scores_whatever_their_slope(shift: float) -> None:
    for slope in (0.7, 2.7):
        assert shift_between(*drawn(shift, slope=slope)) == pytest.approx(shift, abs=0.08)


def test_too_few_animals_of_either_tell_nothing() -> None:
    logits, coarse, right = drawn(1.0)
    few = right & coarse & (np.cumsum(right & coarse) > 49)
    assert shift_between(logits, coarse, right & ~few) == 0.0
    assert shift_between(logits, np.zeros_like(coarse), right) == 0.0
    assert shift_between(logits, coarse, np.ones_like(right)) == 0.0, "where nothing is wrong there is nothing to fit"
    assert shift_between(*(part[:0] for part in (logits, coarse, right))) == 0.0


def test_scores_that_mean_the_opposite_or_are_apart_stay_bounded() -> None:
    logits, coarse, right = drawn(0.5)
    assert shift_between(-logits, coarse, right) == 0.0
    assert shift_between(*drawn(3.5, slope=0.7)) == MOST and shift_between(*drawn(-3.0, slope=0.7)) == -MOST


@pytest.mark.parametrize(("gain", "shift"), [(0.1, 0.75), (0.0, 0.0), (-0.1, 0.0)])
def test_the_bias_of_the_coarse_heatmap_takes_it_up_where_the_score_rises(
    sample: Any,
    monkeypatch: pytest.MonkeyPatch,
    gain: float,
    shift: float,
) -> None:
    torch.manual_seed(0)
    network, scores = make_network("small", 1), iter([0.5, 0.5 + gain])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(balancing, "shift_between", lambda *_: 0.75)
    monkeypatch.setattr(balancing, "look", lambda *_: {"score": next(scores)})
    assert balance(network, CARD, [sample], CPU) == shift
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"coarse.out.bias"} if shift else set())
    moved = network.coarse.out.bias.detach() - before["coarse.out.bias"]
    assert moved[0].item() == pytest.approx(shift) and not moved[1:].any()


def test_without_a_coarse_pass_or_samples_nothing_is_asked() -> None:
    network = make_network("small", 1)
    assert balance(network, CARD | {"heads": ["fine"]}, [], CPU) == 0.0
    assert balance(network, CARD, [], CPU) == 0.0
