"""What a network learns from a batch: the losses of one step, behind a small protocol.

The loop (`soilpipe.detect.fitting`) knows no family of networks; it asks a `Learner` to make targets of crops, and for
the losses of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from soilpipe.detect import losses
from soilpipe.detect.crops import Crops
from soilpipe.detect.network import Answer, CentrePointNetwork
from soilpipe.detect.passes import HEAD_OF, PassName

Batch = Mapping[PassName, tuple[Tensor, Any]]
"""For each pass the pixels of its crops, (n, 7, s, s) uint8, and what is to be answered for them."""


class Learner(Protocol):
    """One family of networks, as the loop sees it.

    `parts` names the losses, in the order in which `losses` gives them; the last it gives is what is minimised.
    """

    @property
    def network(self) -> nn.Module: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    def targets(self, crops: Crops, size: losses.SizeRange) -> Any:
        """What is to be answered for crops of one pass; made in the drawing thread."""

    def losses(self, batch: Batch) -> tuple[Tensor, ...]:
        """Scalars: one for each of `parts`, then what is minimised."""


class CentrePointLearner:
    """The centre-point network: the trunk is shared, each head learns from the crops of its own passes."""

    parts = ("heat", "box", "taxon")

    def __init__(self, network: CentrePointNetwork, device: torch.device) -> None:
        self.network = network
        self._device = device

    def targets(self, crops: Crops, size: losses.SizeRange) -> losses.Targets:
        """Heatmaps and the cells that learn a box, on the training device."""
        return losses.make_targets(crops, size).to(self._device)

    def losses(self, batch: Batch) -> tuple[Tensor, ...]:
        """Heatmap, boxes, taxa, and their weighted sum; summed over the passes in proportion to their crops."""
        network, device = self.network, self._device
        pixels = torch.cat([part for part, _ in batch.values()])
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device)):
            features = network.features(pixels)
            answers = self._answers(batch, features)
        heat, box, taxon = (torch.zeros((), device=device) for _ in self.parts)
        for name, (part, targets) in batch.items():
            share = len(part) / len(pixels)
            heat = heat + share * losses.heat_loss(answers[name].heat, targets)
            box = box + share * losses.box_loss(answers[name].sides, targets)
            taxon = taxon + share * losses.taxon_loss(answers[name].taxon, targets)
        return heat, box, taxon, heat + losses.BOX_WEIGHT * box + losses.TAXON_WEIGHT * taxon

    def _answers(self, batch: Batch, features: Tensor) -> dict[PassName, Answer]:
        """What the head of each pass answers. Passes that share one ask it together: its batch normalisation is to
        know the crops of both in proportion, not those of the last asked."""
        parts = dict(zip(batch, features.split([len(part) for part, _ in batch.values()]), strict=True))
        answers: dict[PassName, Answer] = {}
        for head in dict.fromkeys(HEAD_OF[name] for name in batch):
            names = [name for name in batch if HEAD_OF[name] == head]
            asked = parts[names[0]] if len(names) == 1 else torch.cat([parts[name] for name in names])
            answer, first = self.network.head(head)(asked), 0
            for name in names:
                last = first + len(parts[name])
                answers[name] = Answer(*(value[first:last] for value in answer))
                first = last
        return answers


def bf16_pays(device: torch.device) -> bool:
    """Whether learning in bf16 pays there: on GPUs that have it (some only emulate it, slower than float32), on CPUs
    with matrix tiles (AMX), where a step took a third of the time (0.14 s against 0.43 s, batch 16, crops of 256 px,
    two threads), and on those with AVX-512's dot products of bf16 alone, where it took 0.09 s against 0.16 s (AMD Zen
    5, batch 8, one thread; network alone, both)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
