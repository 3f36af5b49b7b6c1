"""Training a second stage on examples."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from soilpipe.detect.averaging import average
from soilpipe.detect.learning import bf16_pays
from soilpipe.detect.light import change_light
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.second_stage.crops import lying
from soilpipe.detect.second_stage.examples import Examples
from soilpipe.detect.second_stage.network import SecondAnswer, SecondStage

Progress = Callable[[int, int, Mapping[str, float]], None]

WARM_UP = 200  # steps, or a fifth of few
CLIP = 5.0
DECAY = 0.995  # of the moving average of the weights, a step, at most: the first steps are forgotten sooner
ENCODER_RATE = 0.35  # of the rate, for an encoder that knows something already
BOX_LOSS, TAXON_LOSS = 4.0, 0.5  # times the loss of the sides, and of the taxon
BETA = 0.05  # of a crop's side: errors of sides count squared below it
ON_ANIMALS = 3.0  # times as often as others: crops of what is on a label
DRAWN_MORE_OFTEN = math.log(ON_ANIMALS)
"""By how much that raises the logits, and what is taken off them again, so that a score is a chance (King and Zeng
2001)."""
SURELY, LEAST_OFTEN = 3.0, 0.3  # crops are drawn by the first stage's score, times the one, from the other up to 1
TELL_EVERY = 25  # steps


@dataclass(frozen=True)
class SecondRecipe:
    """How to train a second stage. `light`: as in `recipe.Recipe`."""

    steps: int = 2400
    batch: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.03
    light: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise TrainingError(f"steps ({self.steps}) must be 1 or more, batch ({self.batch}) 2 or more")

    def rate(self, step: int) -> float:
        """Of the learning rate at its height: linear warm-up, then half a cosine down to nothing."""
        warm = max(1, min(WARM_UP, self.steps // 5))
        return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def train_second(
    network: SecondStage,
    examples: Examples,
    recipe: SecondRecipe,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> SecondStage:
    """Train it, in place of its weights; returns the moving average of them, in eval mode on the CPU.

    The same seed gives the same weights on a CPU. TrainingError where there is nothing on an animal, or nothing else.
    """
    if not examples.near.any() or examples.near.all():
        raise TrainingError(
            f"of {len(examples)} candidates {int(examples.near.sum())} are on labelled animals: a second stage learns "
            "from some that are and some that are not"
        )
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 2])
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    known = [*network.stem.parameters(), *network.down.parameters()]
    fresh = [*network.inner.parameters(), *network.out.parameters()]
    groups = [{"params": known, "times": ENCODER_RATE}, {"params": fresh, "times": 1.0}]
    optimiser = torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay)
    often = np.where(examples.near, ON_ANIMALS, 1.0) * np.clip(SURELY * examples.scores, LEAST_OFTEN, 1.0)
    often /= often.sum()
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * group["times"] * recipe.rate(step)
        chosen = np.sort(rng.choice(len(examples), recipe.batch, p=often))
        batch = drawn(examples, chosen, rng, recipe.light)
        losses = losses_of(network, batch, device)
        loss = losses["animal"] + BOX_LOSS * losses["box"] + TAXON_LOSS * losses["taxon"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        average(averaged, network, min(DECAY, (step + 1) / (step + 10)))
        if progress is not None and (step % TELL_EVERY == 0 or step + 1 == recipe.steps):
            progress(step + 1, recipe.steps, {name: float(value.detach()) for name, value in losses.items()})
    with torch.no_grad():
        averaged.out.bias[0] -= DRAWN_MORE_OFTEN
    return averaged.cpu().eval()


def drawn(examples: Examples, chosen: np.ndarray, rng: np.random.Generator, light: float) -> Examples:
    """Some of the examples, flipped, turned and under another light."""
    pixels, told = examples.pixels[chosen], examples.told[chosen].copy()
    boxes, sides = examples.boxes[chosen], examples.sides[chosen]
    there = boxes + sides
    if rng.random() < 0.5:
        pixels, boxes, there = pixels[..., ::-1], _mirrored(boxes, 0), _mirrored(there, 0)
    if rng.random() < 0.5:
        pixels, boxes, there = pixels[..., ::-1, :], _mirrored(boxes, 1), _mirrored(there, 1)
    if rng.random() < 0.5:
        pixels = pixels.swapaxes(-1, -2)
        boxes, there, told = boxes[:, [1, 0, 3, 2]], there[:, [1, 0, 3, 2]], lying(told)
    lit = torch.from_numpy(np.ascontiguousarray(pixels)).float()
    change_light(lit, rng, light)
    return Examples(
        lit.round_().clamp_(0, 255).to(torch.uint8).numpy(),
        told,
        examples.animal[chosen],
        examples.near[chosen],
        there - boxes,
        boxes,
        examples.taxon[chosen],
        examples.scores[chosen],
    )


def _mirrored(boxes: np.ndarray, axis: int) -> np.ndarray:
    """Boxes in sides of the crop, mirrored along x (0) or y (1)."""
    out = boxes.copy()
    out[:, axis], out[:, axis + 2] = 1 - boxes[:, axis + 2], 1 - boxes[:, axis]
    return out


def losses_of(network: SecondStage, batch: Examples, device: torch.device) -> dict[str, Tensor]:
    """Of a batch: `animal` for all crops, `box` and `taxon` for those on a label (0 where there is none)."""

    def there(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device)):
        answered: SecondAnswer = network(there(batch.pixels), there(batch.told))
    answer = SecondAnswer(*(part.float() for part in answered))
    near = there(batch.near)
    if batch.near.any():
        box = functional.smooth_l1_loss(answer.sides[near], there(batch.sides)[near], beta=BETA)
        taxon = functional.cross_entropy(answer.taxon[near], there(batch.taxon)[near])
    else:
        box = taxon = answer.animal.sum() * 0
    animal = functional.binary_cross_entropy_with_logits(answer.animal, there(batch.animal))
    return {"animal": animal, "box": box, "taxon": taxon}
