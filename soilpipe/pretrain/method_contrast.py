"""The contrastive loss against a queue of earlier keys, in which crops of the query's own place do not count.

Momentum contrast (He et al. 2020): a query is to be nearer to its own key than to the keys of other crops, which wait
in a queue. In a fixed scanner's crops the queue holds the same place at other times. That is no negative (the ground is
the same) and no positive (the animals are not): such entries get no say. Where no places coincide the loss is that of
`lightly.loss.NTXentLoss` with a memory bank.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from soilpipe.pretrain.method_lightly import MemoryBankModule

NOWHERE = np.iinfo(np.int64).min
"""The place of entries that hold no crop yet, but random directions."""


class PlaceContrast(nn.Module):
    """`entries` keys of length `dim`, and the place of each.

    The queue belongs to what a training needs to go on where it was, so it is in the state dict.
    """

    places: Tensor

    def __init__(self, entries: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.memory = MemoryBankModule(size=(entries, dim))
        for name in ("bank", "bank_ptr"):
            self.memory.register_buffer(name, getattr(self.memory, name), persistent=True)
        self.register_buffer("places", torch.full((entries,), NOWHERE))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PlaceContrast:
        """As of any module, but where the queue goes on stays on the CPU: reading it would wait for a GPU each step."""
        super()._apply(fn, recurse)
        self.memory.bank_ptr = self.memory.bank_ptr.cpu()
        return self

    def forward(self, query: Tensor, key: Tensor, places: Tensor) -> Tensor:
        """Queries and their keys, (n, dim) each, and the place of each crop, (n,) int64, to the mean loss.

        Computed in float32. The queue stays as it is.
        """
        query, key = (functional.normalize(x.float(), dim=1) for x in (query, key))
        _, negatives = self.memory(key, update=False)  # (dim, entries)
        alike = (query * key).sum(dim=1, keepdim=True)
        others = (query @ negatives).masked_fill(places[:, None] == self.places[None, :], -torch.inf)
        logits = torch.cat([alike, others], dim=1) / self.temperature
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def remember(self, key: Tensor, places: Tensor) -> None:
        """Put keys (n, dim) and their places (n,) into the queue, in place of the oldest.

        As in lightly's bank, what does not fit before the queue's end is left out.
        """
        first = int(self.memory.bank_ptr)
        count = min(len(key), len(self.places) - first)
        self.memory(functional.normalize(key.float(), dim=1), update=True)
        self.places[first : first + count] = places[:count]
