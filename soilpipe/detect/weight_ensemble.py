"""Weights between those a training began from and those it ended with.

What a few labels teach costs something of what was known before: the detector knows the new ground better and all else
a little worse. Both ends lie in one valley of the loss, and the middle between them is often better than either on the
new ground as well (Wortsman et al. 2022, Robust fine-tuning of zero-shot models), at the cost of one network. After 50
labelled scans of `peat` the shipped detector has an AP50 of .568 on other scanners there with all of what it learned,
and .668 with half of it; before them it has .632 (`benchmarks/few_labels.py`, means of three).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import EllipsisType

import torch
from torch import Tensor, nn

SHARE = "share_learned"  # card, and what it tells of a second stage: the rest is of the detector begun from
SHARES = (0.5, 0.75, 1.0)
"""Of what was learned; the first is taken unless another is clearly better."""

Part = int | EllipsisType
Known = tuple[str, Part, Tensor]
"""A weight that was there before: its name, which part of it (a row of answers, or all), and its value."""


def known_rows(pairs: Iterable[tuple[int, int]], name: str, before: Tensor) -> list[Known]:
    """The rows (mine, its) of a weight, out of what they were before."""
    return [(name, mine, before[its]) for mine, its in pairs]


@torch.no_grad()
def bring_back(network: nn.Module, known: Iterable[Known], share: float) -> None:
    """Leave `share` of what the network has learned, and fill up with what was known, in place.

    What was not known before stays, and so do counters. Statistics of batch normalisation are weights like others.
    """
    weights = network.state_dict()
    for name, part, before in known:
        weight = weights[name]
        if weight.is_floating_point() and share < 1:
            weight[part] = share * weight[part] + (1 - share) * before.to(weight)


def share_that_pays(
    network: nn.Module,
    known: Iterable[Known],
    score: Callable[[], float],
    margin: float,
    shares: tuple[float, ...] = SHARES,
) -> float:
    """Bring back what was known in so far as it pays; the share of what was learned that is left.

    score: of the network as it is, on validation samples. The first of `shares` is taken unless another is better by
    more than `margin` (`on_samples.margin`), then the best.
    """
    known = list(known)
    learned = {name: value.clone() for name, value in network.state_dict().items()}
    scores = []
    for share in shares:
        network.load_state_dict(learned)
        bring_back(network, known, share)
        scores.append(score())
    best = max(range(len(shares)), key=lambda at: (scores[at], -at))
    chosen = shares[best if scores[best] > scores[0] + margin else 0]
    network.load_state_dict(learned)
    bring_back(network, known, chosen)
    return chosen
