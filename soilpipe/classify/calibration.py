"""From three experts to probabilities: their mixture, the field's own frequencies, and a temperature.

The experts answer as if all classes were equally frequent. Their mixture is multiplied by the frequencies of the field,
estimated on scans drawn as they come and never on a training mix that was made even, and the result is sharpened or
softened by one temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"). All of it is fitted on crops
of scanners that the experts did not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FEWEST = 30  # crops from which a mixture and a temperature are fitted
EVEN_MIXTURE = (0.6, 0.2, 0.2)
STEEPNESS = 10.0  # of prototypes where nothing is fitted
SMALLEST = 1e-12
UNKNOWN_LOGIT = -1e4


class Experts(NamedTuple):
    """What the experts say of some crops, (n, classes) float64 each: logits (-inf where the head does not know the
    class), cosines, shares of votes."""

    logits: np.ndarray
    cosines: np.ndarray
    votes: np.ndarray

    def select(self, rows: np.ndarray) -> Experts:
        """Those of some crops."""
        return Experts(self.logits[rows], self.cosines[rows], self.votes[rows])


@dataclass(frozen=True)
class Calibration:
    """mixture: weights of head, prototypes and votes, adding to 1. steepness: what cosines are multiplied with.

    frequencies (classes,): of the field, adding to 1. temperature: above 1 softens. crops: how many it was fitted on;
    0: it was not.
    """

    mixture: tuple[float, float, float]
    steepness: float
    frequencies: np.ndarray
    temperature: float
    crops: int

    def probabilities(self, experts: Experts, frequencies: np.ndarray | None = None) -> np.ndarray:
        """(n, classes) float64, each row adding to 1; with other frequencies, (n, classes), where they are given."""
        even = mixed(experts, self.mixture, self.steepness)
        return with_frequencies(even, self.frequencies if frequencies is None else frequencies, self.temperature)


def mixed(experts: Experts, mixture: tuple[float, float, float], steepness: float) -> np.ndarray:
    """(n, classes): the experts' probabilities for equally frequent classes.

    Of classes that the head was not trained on (logit -inf: added later), it takes the prototypes' word, and shares
    what that leaves among its own.
    """
    by_prototype = softmax(steepness * experts.cosines)
    known = np.isfinite(experts.logits)
    left = np.where(known, by_prototype, 0.0).sum(axis=1, keepdims=True)
    by_head = np.where(known, softmax(np.where(known, experts.logits, UNKNOWN_LOGIT)) * left, by_prototype)
    return np.asarray(mixture[0] * by_head + mixture[1] * by_prototype + mixture[2] * experts.votes)


def with_frequencies(even: np.ndarray, frequencies: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of equally frequent classes to those of the field, (classes,) or (n, classes), at a temperature."""
    logs = np.log(np.maximum(even, SMALLEST)) + np.log(np.maximum(frequencies, SMALLEST))
    return softmax(logs / temperature)


def fit_calibration(
    experts: Experts, labels: np.ndarray, elsewhere: np.ndarray, frequencies: np.ndarray
) -> Calibration:
    """Mixture, steepness and temperature with the least log loss on crops of scanners held out.

    `labels` (n,) int64; `elsewhere` (n, classes): the frequencies on scanners other than each crop's; `frequencies`
    (classes,): those that the calibration is given. With fewer than FEWEST crops nothing is fitted: temperature 1, most
    weight on the head.
    """
    if len(labels) < FEWEST:
        return Calibration(EVEN_MIXTURE, STEEPNESS, frequencies, 1.0, 0)
    import torch

    is_known = np.isfinite(experts.logits)
    head = torch.from_numpy(softmax(np.where(is_known, experts.logits, UNKNOWN_LOGIT)))
    known, votes, cosines = (torch.from_numpy(part) for part in (is_known, experts.votes, experts.cosines))
    prior = torch.from_numpy(np.log(np.maximum(elsewhere, SMALLEST)))
    target = torch.from_numpy(labels)
    start = torch.tensor(np.log(EVEN_MIXTURE))
    weights = start.clone().requires_grad_()
    log_steep = torch.tensor(float(np.log(STEEPNESS)), dtype=torch.float64, requires_grad=True)
    log_heat = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, log_steep, log_heat], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        share = torch.softmax(weights, 0)
        by_prototype = torch.softmax(torch.exp(log_steep) * cosines, 1)
        left = torch.where(known, by_prototype, 0.0).sum(1, keepdim=True)
        by_head = torch.where(known, head * left, by_prototype)
        even = share[0] * by_head + share[1] * by_prototype + share[2] * votes
        logs = (torch.log(even.clamp_min(SMALLEST)) + prior) / torch.exp(log_heat)
        # A pull as strong as one crop keeps few crops from driving a weight or the temperature to an extreme.
        pull = log_heat**2 + (log_steep - np.log(STEEPNESS)) ** 2 + ((weights - start) ** 2).mean()
        value = torch.nn.functional.cross_entropy(logs, target) + pull / len(labels)
        value.backward()
        return value

    optimiser.step(loss)
    a, b, c = torch.softmax(weights, 0).detach().tolist()
    steep, heat = float(torch.exp(log_steep).detach()), float(torch.exp(log_heat).detach())
    return Calibration((a, b, c), steep, frequencies, heat, len(labels))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows to probabilities; -inf is 0."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
