"""How to pretrain: the numbers of a run, in one frozen object that goes onto the card."""

from __future__ import annotations

import math
from dataclasses import dataclass

from soilpipe.errors import SoilpipeError

RATE = 2e-3  # AdamW's, at its height, at `BATCH` crops a step
WARM_RATE = 0.25  # of that, for an encoder that begins from another: the heads are fresh, it is not
BATCH = 64


class PretrainError(SoilpipeError):
    """A pretraining that cannot begin, or that went astray."""


class NoNumbersError(PretrainError):
    """What a pretraining has learned holds no numbers any more: on the same crops it would come to the same again."""


@dataclass(frozen=True)
class PretrainRecipe:
    """How to pretrain.

    Budgets: `steps`, and `minutes` of wall time (None: no limit); whichever ends first ends the run. The learning rate
    follows whichever is nearer to its end, so that it has come down to nothing in both cases.

    batch: crops a step, two views each. side: px of a view, a multiple of 32; None: by the side of the crops, so that
    they are seen at their own scale on average.
    queue: earlier views kept as negatives, for the crop as a whole and for its parts each. temperature: of both losses.
    dense: weight of the loss of the parts, that of the whole has the rest. momentum: of the slow copy, at the start.
    learning_rate: AdamW's at its height, for batches of 64; it goes with the root of the batch. encoder_rate: times
    that, for an encoder that begins from another.
    recompute: activations are computed again when gradients need them, for GPUs with little memory: about a third
    slower. looks: how often the spread of the vectors is measured. probe: on how many crops.

    Views: `area`, the share of a crop they show; `degrees`, of the turn besides quarter turns; `brightness`,
    `contrast`, `saturation`: factors up to 1 ± that; `hue`: turns up to ± that; `light`: share of views of which the
    light is changed; `without_difference`: share that has none. `posterise`: share of which the colours are cut to 3
    to 5 bits, which may erase translucent animals. There is no blur, no greyscale, no solarisation.
    """

    steps: int = 2000
    minutes: float | None = None
    batch: int = BATCH
    side: int | None = None
    queue: int = 4096
    temperature: float = 0.2
    dense: float = 0.5
    momentum: float = 0.99
    learning_rate: float = RATE
    encoder_rate: float = WARM_RATE
    weight_decay: float = 1e-4
    warm_up: float = 0.1
    clip: float = 10.0
    recompute: bool = False
    looks: int = 5
    probe: int = 256
    area: tuple[float, float] = (0.2, 1.0)
    degrees: float = 10.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.05
    light: float = 0.8
    without_difference: float = 0.2
    posterise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {value!r} (expected {wanted})"
            for name, value, good, wanted in (
                ("steps", self.steps, self.steps >= 1, "1 or more"),
                ("minutes", self.minutes, self.minutes is None or self.minutes > 0, "more than 0"),
                ("batch", self.batch, self.batch >= 2, "2 or more"),
                ("side", self.side, self.side is None or (self.side > 0 and self.side % 32 == 0), "a multiple of 32"),
                ("queue", self.queue, self.queue >= 1, "1 or more"),
                ("temperature", self.temperature, self.temperature > 0, "more than 0"),
                ("dense", self.dense, 0 <= self.dense <= 1, "0 to 1"),
                ("momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1"),
                ("area", self.area, 0 < self.area[0] <= self.area[1] <= 1, "two shares, the smaller first"),
                ("looks", self.looks, self.looks >= 1, "1 or more"),
                ("probe", self.probe, self.probe >= 2, "2 or more"),
                *(
                    (name, getattr(self, name), 0 <= getattr(self, name) < 1, "0 to below 1")
                    for name in ("brightness", "contrast", "saturation", "hue", "without_difference", "warm_up")
                ),
                *(
                    (name, getattr(self, name), 0 <= getattr(self, name) <= 1, "0 to 1")
                    for name in ("light", "posterise")
                ),
            )
            if not good
        ]
        if problems:
            raise PretrainError(f"this cannot be a recipe for pretraining: {'; '.join(problems)}")

    def rate(self, batch: int) -> float:
        """AdamW's learning rate at its height, for heads and for what begins from nothing."""
        return self.learning_rate * math.sqrt(batch / BATCH)

    def view_side(self, crop: int) -> int:
        """Px of a view of crops of that side: an average view then shows a crop's px at their own size."""
        if self.side is not None:
            return self.side
        mean = (math.sqrt(self.area[0]) + math.sqrt(self.area[1])) / 2  # of the sides of what views show
        return min(crop // 32 * 32, max(96, round(crop * mean / 32) * 32))
