"""The logistic head: multinomial logistic regression, trained with the logit-adjusted loss for long tails.

Menon et al. 2021, "Long-tail learning via logit adjustment": the logarithm of each class's share of the training crops
is added to its logit in the loss and left out afterwards, so that the logits are those of equally frequent classes.
Fitted by L-BFGS in float64 from zero: no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ITERATIONS = 200
DECAYS = (1e-2, 1e-1, 1.0)
"""Weight decays that are tried; the one is taken with which crops of other scanners are told best."""


@dataclass(frozen=True)
class Head:
    """weight (classes, k), bias (classes,), float64; `known` (classes,) bool: those it was trained on."""

    weight: np.ndarray
    bias: np.ndarray
    known: np.ndarray

    def logits(self, coordinates: np.ndarray) -> np.ndarray:
        """(n, k) to (n, classes) float64, as of equally frequent classes; -inf for those it was not trained on."""
        found = coordinates @ self.weight.T + self.bias
        found[:, ~self.known] = -np.inf
        return np.asarray(found)


def fit_head(coordinates: np.ndarray, labels: np.ndarray, classes: int, *, decay: float) -> Head:
    """(n, k) float64 and (n,) int64 below `classes` to a head; `decay` of the weights, per class and coordinate."""
    import torch  # here: it takes a second to import, and answers need none of it

    known = np.bincount(labels, minlength=classes) > 0
    where = np.flatnonzero(known)
    target = torch.from_numpy(np.searchsorted(where, labels))
    inputs = torch.from_numpy(np.ascontiguousarray(coordinates, np.float64))
    prior = torch.from_numpy(np.log(np.bincount(labels, minlength=classes)[where] / len(labels)))
    weight = torch.zeros((len(where), inputs.shape[1]), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(where), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        adjusted = inputs @ weight.T + bias + prior
        value = torch.nn.functional.cross_entropy(adjusted, target) + 0.5 * decay * (weight**2).sum() / len(where)
        value.backward()
        return value

    optimiser.step(loss)
    full_weight, full_bias = np.zeros((classes, inputs.shape[1])), np.zeros(classes)
    full_weight[where], full_bias[where] = weight.detach().numpy(), bias.detach().numpy()
    return Head(full_weight, full_bias, known)
