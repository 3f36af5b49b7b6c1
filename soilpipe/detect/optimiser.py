"""How weights move: Muon for the convolutions inside the network, AdamW for all else.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") makes the momentum of a weight
matrix orthogonal before it steps, so that directions which the gradient seldom takes are learned as fast as the usual
ones. Steps are of the same length whatever the matrix, and in proportion to AdamW's (Liu et al. 2025, "Muon is Scalable
for LLM Training", arXiv 2502.16982), so both share a learning rate. PyTorch's own Muon takes matrices alone; here a
convolution is one of (outputs, kernel x inputs).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
LENGTH = 0.4
"""Root mean square of what a step moves weights by, over the learning rate: twice that of AdamW's (Liu et al.: 0.2).
After 2,000 steps on simulated seasons AP50 was .520, with 0.2 .484, with AdamW alone .403 (one seed)."""
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Newton and Schulz's iteration: steepest at zero
ITERATIONS = 5
SMALLEST = 1e-7


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but for parameter groups with ``muon=True``: those hold weights of two dimensions or more."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, *, fused: bool = False) -> None:
        super().__init__([{"muon": False, **group} for group in groups], lr=lr, fused=fused)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step. The gradients of what Muon moves are gone afterwards."""
        if closure is not None:
            raise ValueError("no closure: losses are computed before the step")
        for group in self.param_groups:
            if group["muon"]:
                for weight in group["params"]:
                    self._move(weight, group["lr"], group["weight_decay"])
        return super().step()

    def _move(self, weight: Tensor, rate: float, decay: float) -> None:
        gradient = weight.grad
        if gradient is None:
            return
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for one in whatever is loaded
            state["momentum"] = torch.zeros_like(weight)  # laid out as a checkpoint puts it back, for the same bits
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum"], MOMENTUM).movedim(1, -1)  # as it lies in memory: nothing is copied
        direction = orthogonal(ahead.flatten(1))
        length = rate * LENGTH * max(direction.shape) ** 0.5
        weight.mul_(1 - rate * decay).add_(direction.view(ahead.shape).movedim(-1, 1), alpha=-length)
        weight.grad = None  # AdamW passes over what has none


def orthogonal(matrix: Tensor) -> Tensor:
    """(a, b) float to about U V^T of its singular values U S V^T, float32: those come out between 0.5 and 1.5."""
    a, b, c = QUINTIC
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (wide / wide.norm().clamp_min(SMALLEST)).bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if wide is not matrix else x).float()
