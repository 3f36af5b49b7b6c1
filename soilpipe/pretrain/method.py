"""DenseCL (Wang et al. 2021) on the trunk of a detector: what is to be learned from two views of each crop.

The trunk's features at stride 32 go through two heads: pooled, as one vector of the whole view; and cell by cell. A
view's vector is to be near that of the other view, and each cell near that cell of the other view whose features are
most like its own; both far from earlier crops (`soilpipe.pretrain.method_contrast`). Negatives of a cell are single
cells of earlier views, one of each; the paper's are their means, which a cell is told from by being no mean.

The other view goes through a slow copy. It has to be slow from the first step on: while it follows fast, queries are
told from the queue by being newer, and all vectors become one (seen with 1 - momentum above 0.1 in the first steps).
Its batch normalisation uses moving averages that follow like its weights (EMAN, Cai et al. 2021): with the statistics
of the batch, a query could tell its key by the company it is in. A trunk that begins from another encoder keeps its
statistics, `frozen`, so that what learns is what is used later: of views seen by the later encoder, heads that had
learned on the statistics of batches found the other view first for 3 in 100, heads on frozen ones for 14 (32 crops a
batch, heads alone, one measurement).

Heads, matching of cells, momentum update and memory bank are lightly's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.checkpoint import checkpoint

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.trunk import widths_of
from soilpipe.pretrain.method_contrast import PlaceContrast
from soilpipe.pretrain.method_lightly import DenseCLProjectionHead, select_most_similar, update_momentum

OUTPUT = 128  # length of the vectors that are compared
PARTS = ("whole", "parts")
"""Of the loss."""


class Branch(nn.Module):
    """A trunk with its two heads. recompute: may be set at any time, and changes nothing but memory and time."""

    def __init__(self, trunk: CentrePointNetwork, *, recompute: bool = False) -> None:
        super().__init__()
        dim = widths_of(trunk)[-1]
        self.trunk = trunk
        self.whole = DenseCLProjectionHead(dim, dim, OUTPUT)
        self.parts = DenseCLProjectionHead(dim, dim, OUTPUT)
        self.recompute = recompute

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 7, h, w) uint8 to features (n, cells, c), vectors of the whole (n, 128) and of cells (n, cells, 128)."""
        deepest = self._deepest(pixels)
        cells = deepest.flatten(2).transpose(1, 2)
        return cells, self.whole(deepest.mean(dim=(2, 3))), self.parts(cells)

    def _deepest(self, pixels: Tensor) -> Tensor:
        """The features at stride 32, (n, c, h/32, w/32)."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self.trunk.levels(pixels)[-1]
        finest = self._kept(self.trunk.finest, pixels)
        deepest: Tensor = self._kept(lambda x: self.trunk.deeper(x)[-1], finest)
        return deepest

    def _kept(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What a part of the trunk answers, of which only the input is kept for the gradients."""

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(self.trunk)

        answer: Tensor = checkpoint(function, x, use_reentrant=False, context_fn=contexts)
        return answer


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation normalises by its batch within, and does not take the batch into its averages again."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the averages stay, to the bit
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


class DenseCL(nn.Module):
    """The branch that learns, its slow copy, and the queues of both losses.

    dense: weight of the loss of the cells; the whole has the rest. frozen: batch normalisation uses its averages, as in
    use, and they stay as they are once settled.
    """

    def __init__(
        self,
        trunk: CentrePointNetwork,
        *,
        queue: int,
        temperature: float,
        dense: float = 0.5,
        recompute: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.query = Branch(trunk, recompute=recompute)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.of_whole = PlaceContrast(queue, OUTPUT, temperature)
        self.of_parts = PlaceContrast(queue, OUTPUT, temperature)
        self._dense, self._frozen = dense, frozen
        self.train()

    def train(self, mode: bool = True) -> DenseCL:
        """The slow copy is never in training mode, and neither is batch normalisation that is frozen."""
        super().train(mode)
        self.key.eval()
        for module in self.query.modules():
            if self._frozen and isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, views: Tensor, places: Tensor, autocast: AbstractContextManager[None]) -> tuple[Tensor, ...]:
        """Losses of a batch: of the whole, of the parts, and what is minimised; then the keys to `remember`.

        views: (2 n, 7, h, w) uint8, first one view of each crop, then the other of each. places: (n,) int64.
        autocast: within it the branches compute; the losses are float32.
        """
        first, second = views.chunk(2)
        with autocast:
            cells, whole, parts = self.query(first)
            with torch.no_grad():
                key_cells, key_whole, key_parts = self.key(second)
                matched = select_most_similar(cells.detach(), key_cells, key_parts)
        per_cell = places.repeat_interleave(parts.shape[1])
        of_whole = self.of_whole(whole, key_whole, places)
        of_parts = self.of_parts(parts.flatten(0, 1), matched.flatten(0, 1), per_cell)
        total = (1 - self._dense) * of_whole + self._dense * of_parts
        rows = torch.arange(len(places), device=places.device)
        return of_whole, of_parts, total, key_whole, key_parts[rows, rows % key_parts.shape[1]]

    def remember(self, key_whole: Tensor, key_parts: Tensor, places: Tensor) -> None:
        """Put the keys of a batch, (n, 128) each, into the queues: after its step, so that a failed one leaves none."""
        self.of_whole.remember(key_whole, places)
        self.of_parts.remember(key_parts, places)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Before the first step: average the statistics of batch normalisation over batches of views, for both copies.

        Those of a fresh network are of nothing, those of an encoder that is begun from are of other pictures; the slow
        copy would take long to learn them.
        """
        update_bn(batches, self.query)
        self.train()
        for theirs, ours in zip(self.key.buffers(), self.query.buffers(), strict=True):
            theirs.copy_(ours)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Let the slow copy take a step of 1 - momentum towards the branch that learns."""
        update_momentum(self.query, self.key, momentum)
        ours = dict(self.query.named_buffers())
        its = {name: value for name, value in self.key.named_buffers() if value.is_floating_point()}
        torch._foreach_lerp_(list(its.values()), [ours[name] for name in its], 1 - momentum)
