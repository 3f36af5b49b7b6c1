"""The batches of a pretraining: crops drawn by the corpus's rules, and two views of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from soilpipe.detect.checkpoint import Drawing
from soilpipe.pretrain.learning_recipe import PretrainError, PretrainRecipe
from soilpipe.pretrain.transform import apply, draw_pair

if TYPE_CHECKING:
    from soilpipe.pretrain.source import CropSource

SMALLEST_BATCH = 4
"""Crops a step, below which nothing is learned: a GPU that has no room for them is too small."""


@dataclass(frozen=True)
class Batch:
    """views: (2 n, 7, side, side) uint8, first one view of each crop, then the others. places: (n,) int64."""

    views: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def first(self, count: int) -> Batch:
        """That of the first `count` crops."""
        if count >= len(self):
            return self
        return Batch(torch.cat([half[:count] for half in self.views.chunk(2)]), self.places[:count])


class Batches(Drawing):
    """Draws one batch after the other; all that is drawn comes from one generator.

    size: crops a step, from now on. halved: (step, size from then on) of each time it had to be made smaller.
    recompute: the step from which activations are computed again for want of memory; None: they are not, or always.
    elapsed, seen: seconds that the training had taken, and crops that it had learned from, when it was last kept.
    """

    def __init__(self, crops: CropSource, recipe: PretrainRecipe, device: torch.device) -> None:
        super().__init__(np.random.default_rng(recipe.seed))
        self._crops, self._recipe, self._device = crops, recipe, device
        check_crops(crops)
        self.side = recipe.view_side(crops.pixels(np.zeros(1, np.int64)).shape[-1])
        if self.side < 32:
            raise PretrainError("the crops are smaller than 32 px, from which nothing can be learned")
        self.size = recipe.batch
        self.halved: list[tuple[int, int]] = []
        self.recompute: int | None = None
        self.elapsed, self.seen = 0.0, 0

    def state(self) -> dict[str, Any]:
        """As of now, JSON-able."""
        return {**super().state(), **self.kept()}

    def kept(self) -> dict[str, Any]:
        """Of the state what does not depend on which batch comes next."""
        return {
            "size": self.size,
            "halved": list(self.halved),
            "recompute": self.recompute,
            "elapsed": self.elapsed,
            "seen": self.seen,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        super().restore(state)
        self.size, self.elapsed, self.seen = int(state["size"]), float(state["elapsed"]), int(state["seen"])
        self.halved = [(int(step), int(size)) for step, size in state["halved"]]
        self.recompute = state.get("recompute")

    @property
    def is_smallest(self) -> bool:
        """Whether no crop can be done without."""
        return self.size // 2 < SMALLEST_BATCH

    def halve(self, step: int) -> None:
        """Make batches smaller. PretrainError when they are as small as they may be."""
        if self.is_smallest:
            raise PretrainError(
                f"the device has no memory even for {self.size} crops of {self.side} px a step, activations computed "
                "again and not kept. Train a smaller size, or free the memory that others use"
            )
        self.size //= 2
        self.halved.append((step, self.size))

    def draw(self) -> tuple[Batch, dict[str, Any]]:
        """The next batch, and the state before it; after an error the generator is where it was."""
        before = self.state()
        try:
            indices = self._crops.draw(self.rng, self.size)
            views = draw_pair(len(indices), self._recipe, self.rng)
            pixels = torch.from_numpy(self._crops.pixels(indices))
            if self._device.type == "cuda":
                pixels = pixels.pin_memory()
            places = torch.from_numpy(np.asarray(self._crops.place[indices], np.int64))
            pixels, places = (values.to(self._device, non_blocking=True) for values in (pixels, places))
            return Batch(apply(pixels, views, self.side), places), before
        except BaseException:
            self.rng.bit_generator.state = before["rng"]
            raise

    def probe(self) -> Batch:
        """Views on which the spread of the vectors is measured, always the same; as many crops as there are at most."""
        rng = np.random.default_rng([self._recipe.seed, 1])
        count = min(self._recipe.probe, len(self._crops))
        indices = np.sort(rng.choice(len(self._crops), count, replace=False))
        views = draw_pair(count, self._recipe, rng)
        pixels = torch.from_numpy(self._crops.pixels(indices))
        return Batch(
            apply(pixels, views, self.side), torch.from_numpy(np.asarray(self._crops.place[indices], np.int64))
        )


def check_crops(crops: CropSource) -> None:
    """PretrainError where there is nothing to learn from."""
    if len(crops) == 0:
        raise PretrainError("there are no crops to pretrain on. Take in scans first (soilpipe ingest)")
    places = len(np.unique(crops.place))
    if places < 2:
        raise PretrainError(
            f"all {len(crops)} crops are of one place, so none can be told from another. Give crops of other parts of "
            "the scans, or of other scanners"
        )
