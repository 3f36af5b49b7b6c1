"""The passes of a trained detector on one scale of scores, so that one threshold suits animals of all lengths.

The heads learn from different crops, and the coarse one's scores of the same worth come out lower: long animals were
missed at a threshold that suited short ones. How much lower is told by a logistic regression of which detections on
validation samples are animals, on their logit and on whose they are (Platt 1999, with a term for the pass). The bias of
the coarse head's heatmap takes it up; nothing else of the network is touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.on_samples import judge_of
from soilpipe.detect.passes import Passes
from soilpipe.detect.scoring import match
from soilpipe.detect.validation import LOWEST, look

ENOUGH = 50  # animals found by either head, from which their scores are compared
MOST = 2.0  # logits
ROUNDS = 50  # of Newton's method; it takes about eight


def balance(
    network: CentrePointNetwork, card: Mapping[str, Any], samples: Sequence[Sample], device: torch.device
) -> float:
    """Raise (or lower) the coarse head's scores by what validation samples say, in place; by how many logits.

    0.0, and the network as it was, where there is no coarse pass, where either has found fewer than ENOUGH animals, or
    where the score that weights are kept by does not rise.
    """
    if "coarse" not in card["heads"]:
        return 0.0
    detect, passes = judge_of(network, card, device), Passes.of(card)
    logits, coarse, right = [], [], []
    for sample in samples:
        found = detect(sample, LOWEST)
        matched = match(found, sample.image.boxes, None, sample.image.crowd)
        counts = ~matched.ignored
        order = np.argsort(-found.scores, kind="stable")[counts]  # that of `match`
        scores = found.scores[order].astype(np.float64).clip(1e-6, 1 - 1e-6)
        logits.append(np.log(scores) - np.log1p(-scores))
        coarse.append(passes.owner(found.boxes[order], sample.um_per_px) == len(passes.names) - 1)
        right.append(matched.correct[counts])
    if not logits:
        return 0.0
    shift = shift_between(np.concatenate(logits), np.concatenate(coarse), np.concatenate(right))
    if shift == 0.0:
        return 0.0
    before, bias = look(detect, samples)["score"], network.coarse.out.bias
    assert bias is not None
    kept = bias.detach().clone()
    with torch.no_grad():
        bias[0] += shift
    if look(judge_of(network, card, device), samples)["score"] > before:
        return shift
    with torch.no_grad():
        bias.copy_(kept)
    return 0.0


def shift_between(logits: np.ndarray, coarse: np.ndarray, right: np.ndarray) -> float:
    """How many logits a detection of the coarse pass is worth more than one of the others with the same score.

    logits (n,), coarse (n,) bool, right (n,) bool: matched an animal. 0.0 where either has fewer than ENOUGH right ones
    or none wrong; MOST at most, either way.
    """
    if any((right & mine).sum() < ENOUGH or not (mine & ~right).any() for mine in (coarse, ~coarse)):
        return 0.0
    given = np.stack([np.ones(len(logits)), logits, coarse.astype(np.float64)], axis=1)
    weights = np.zeros(3)
    for _ in range(ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(given @ weights, -30, 30)))
        curvature = given.T @ (given * (chance * (1 - chance))[:, None]) + 1e-6 * np.eye(3)
        step = np.linalg.solve(curvature, given.T @ (right - chance) - 1e-6 * weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    if not weights[1] > 0 or not math.isfinite(weights[2]):  # scores that say nothing of their worth
        return 0.0
    return float(np.clip(weights[2] / weights[1], -MOST, MOST))
