"""Tuning an encoder on labelled crops: from pixels to classes in one, for some hundred steps.

Pretraining teaches an encoder what looks alike, a detector's training where animals are. Which differences tell one
taxon from another, labelled crops alone can say. A layer of logits is put on the vectors and learned together with what
makes them, by cross-entropy; then it is taken away again: what comes after (space, prototypes, head, calibration) is
fitted on the tuned vectors, as on any. Tuned is the encoder's close look, where it has one, else its trunk.

Rare classes are drawn oftener than they come, by the root of their number. Crops are mirrored, turned, moved by a few
px and seen in another light, with the difference dropped from some. Vectors of a tuned trunk are centred means
(`encoder.CENTRED`): of plain ones the tuning makes less.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.embedding import SIDES
from soilpipe.classify.space import SMALLEST_MM
from soilpipe.detect.learning import bf16_pays
from soilpipe.detect.light import change_light
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.second_stage.crops import lying
from soilpipe.encoder.close_look import CloseLook
from soilpipe.encoder.encoder import CENTRED, dim_of, drop_difference, embedding_of

log = logging.getLogger(__name__)

LEAST_CROPS = 2  # at once: batch normalisation needs so many
LOGITS = 3.0  # times the learning rate for the layer of logits, which begins from nothing
WORTH_IT = 500
"""Labelled animals from which tuning is worth its time."""
Told = Callable[[int, int, float], None]
"""Told: steps done, of how many, the loss."""


@dataclass(frozen=True)
class Tuning:
    """How an encoder is tuned.

    rate: the largest learning rate of AdamW, reached after `warm_up` of the steps, then a cosine to zero. sharpness:
    what the cosines are multiplied by. light: strength of `change_light`. shift: px that a crop is moved by at most.
    size_spread: standard deviation of what the logarithm of a size is changed by.
    """

    steps: int = 600
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.15
    smoothing: float = 0.05
    sharpness: float = 15.0
    light: float = 0.3
    shift: int = 3
    size_spread: float = 0.1
    seed: int = 0

    def learning_rate(self, step: int) -> float:
        """Of step 0, 1, ..."""
        rising = self.warm_up * self.steps
        if step < rising:
            return self.rate * (step + 1) / (rising + 1)
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, self.steps - rising)))


class TrunkLook(nn.Module):
    """What a trunk makes of crops, whatever is told beside them."""

    def __init__(self, trunk: CentrePointNetwork) -> None:
        super().__init__()
        self.trunk = trunk

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return dim_of(self.trunk)

    def forward(self, pixels: Tensor, told: Tensor) -> Tensor:
        return embedding_of(self.trunk.levels(pixels), CENTRED)


Look = TrunkLook | CloseLook
"""What is tuned: pixels (n, 7, s, s) uint8 and what is told beside them (n, k) float32 to vectors (n, dim)."""
AnyLook = TypeVar("AnyLook", bound=TrunkLook | CloseLook)


class _Classes(nn.Module):
    """A look with a layer of logits on its vectors and the logarithm of the size."""

    def __init__(self, look: Look, classes: int, sharpness: float) -> None:
        super().__init__()
        self.look, self._sharpness = look, sharpness
        self.logits = nn.Linear(look.dim + 1, classes)

    def forward(self, pixels: Tensor, told: Tensor, log_mm: Tensor) -> Tensor:
        vectors = self.look(pixels, told)
        found: Tensor = self.logits(torch.cat([self._sharpness * vectors, log_mm[:, None]], dim=1))
        return found


def tune(
    look: AnyLook,
    crops: CropPixels,
    rows: np.ndarray,
    sizes_mm: np.ndarray,
    labels: np.ndarray,
    tuning: Tuning,
    *,
    difference: bool = True,
    device: torch.device | None = None,
    progress: Told | None = None,
) -> AnyLook:
    """A tuned copy, on the CPU in eval mode; an unchanged one where there are not two classes.

    rows (n,) int64: of the crops to learn from; sizes_mm (n,) and labels (n,) int64 >= 0 of them. `difference` False:
    the encoder is shown none. On a CPU the same arguments and threads give the same weights.
    """
    tuned = copy.deepcopy(look)
    tuned.cpu().eval()
    present, targets = np.unique(labels, return_inverse=True)
    if len(present) < 2 or tuning.steps < 1:
        return tuned
    device = device or torch.device("cpu")
    rng = np.random.default_rng(tuning.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        model = _Classes(tuned, len(present), tuning.sharpness)
    model.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = [{"params": tuned.parameters(), "share": 1.0}, {"params": model.logits.parameters(), "share": LOGITS}]
    optimiser = torch.optim.AdamW(groups, tuning.rate, weight_decay=tuning.weight_decay)
    learned = _Learned(model, tuning.smoothing, device)
    draw = _Draw(crops, rows, sizes_mm, targets, tuning, rng, difference)
    for step in range(tuning.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * tuning.learning_rate(step)
        loss = learned.from_batch(draw())
        optimiser.step()
        if progress and (step + 1 == tuning.steps or step % 10 == 9):
            progress(step + 1, tuning.steps, loss.item())
    tuned.cpu().eval()
    return tuned


class Drawn(NamedTuple):
    """Pixels (n, 7, s, s) uint8, what is told beside them (n, k) and the log of mm (n,) float32, targets (n,) int64."""

    pixels: Tensor
    told: Tensor
    log_mm: Tensor
    targets: Tensor


class _Learned:
    """Leaves gradients of batches on a model. Where the device has no memory for a batch, it is taken in parts from
    then on, which are normalised each by itself."""

    def __init__(self, model: _Classes, smoothing: float, device: torch.device) -> None:
        self._model, self._smoothing, self._device, self._parts = model, smoothing, device, 1

    def from_batch(self, batch: Drawn) -> Tensor:
        """The loss, of a batch as `_Draw` gives them. OutOfMemoryError where there is no memory for two crops."""
        while True:
            try:
                self._model.zero_grad(set_to_none=True)
                losses = [self._of(part, len(batch[0])) for part in _chunks(batch, self._parts)]
                return torch.stack(losses).sum()
            except torch.OutOfMemoryError:
                if len(batch[0]) // self._parts <= LEAST_CROPS:
                    raise
            self._parts *= 2
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("the device has no memory for so many crops at once: tuning on %d parts", self._parts)

    def _of(self, part: Drawn, of: int) -> Tensor:
        pixels, told, log_mm, wanted = (one.to(self._device) for one in part)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16_pays(self._device)):
            answers = self._model(pixels, told, log_mm)
        loss = functional.cross_entropy(answers.float(), wanted, label_smoothing=self._smoothing) * (len(wanted) / of)
        loss.backward()
        return loss.detach()


def _chunks(batch: Drawn, parts: int) -> list[Drawn]:
    a, b, c, d = (one.chunk(parts) for one in batch)
    return [Drawn(*part) for part in zip(a, b, c, d, strict=True)]


class _Draw:
    """Batches of crops of one side each, as often as what they weigh."""

    def __init__(
        self,
        crops: CropPixels,
        rows: np.ndarray,
        sizes_mm: np.ndarray,
        targets: np.ndarray,
        tuning: Tuning,
        rng: np.random.Generator,
        difference: bool,
    ) -> None:
        self._crops, self._rows, self._targets = crops, rows, targets
        self._log_mm = np.log(np.maximum(sizes_mm.astype(np.float64), SMALLEST_MM))
        self._tuning, self._rng, self._difference = tuning, rng, difference
        weights = 1 / np.sqrt(np.bincount(targets)[targets])
        sides = crops.sides(rows)
        self._sides = [side for side in SIDES if (sides == side).any()]
        self._of_side = {side: np.flatnonzero(sides == side) for side in self._sides}
        self._weights = {side: weights[some] / weights[some].sum() for side, some in self._of_side.items()}
        shares = np.array([weights[self._of_side[side]].sum() for side in self._sides])
        self._shares = shares / shares.sum()

    def __call__(self) -> Drawn:
        rng, tuning = self._rng, self._tuning
        side = self._sides[int(rng.choice(len(self._sides), p=self._shares))]
        some = rng.choice(self._of_side[side], tuning.batch, p=self._weights[side])
        told = self._crops.told(self._rows[some])
        pixels = self._changed(self._crops.read(self._rows[some], side), told)
        log_mm = (self._log_mm[some] + rng.normal(0, tuning.size_spread, len(some))).astype(np.float32)
        parts = (torch.from_numpy(part) for part in (told, log_mm, self._targets[some]))
        return Drawn(pixels, *parts)

    def _changed(self, pixels: np.ndarray, told: np.ndarray) -> Tensor:
        """The pixels changed; what is told of width and height goes with them, in place."""
        rng, shift = self._rng, self._tuning.shift
        turned = np.empty_like(pixels)
        for row, (into, crop) in enumerate(zip(turned, pixels, strict=True)):
            quarters = int(rng.integers(4))
            if quarters % 2 and told.shape[1]:
                told[row] = lying(told[row])
            seen = np.rot90(crop, quarters, (1, 2))
            into[:] = seen[:, :, ::-1] if rng.random() < 0.5 else seen
            into[:] = _moved(into, *rng.integers(-shift, shift + 1, 2).tolist())
        found = torch.from_numpy(turned)
        if not self._difference:
            drop_difference(found)
        light = found.float()
        change_light(light, rng, self._tuning.light)
        return light.round_().clamp_(0, 255).to(torch.uint8)


def _moved(crop: np.ndarray, down: int, across: int) -> np.ndarray:
    """(7, s, s) moved by some px; what comes in from outside is the outermost px again."""
    side = crop.shape[1]
    rows, columns = (np.clip(np.arange(side) - by, 0, side - 1) for by in (down, across))
    return crop[:, rows[:, None], columns]
