"""How to train: the numbers of a training, in one frozen object that goes onto the card."""

from __future__ import annotations

import math
from dataclasses import dataclass

from soilpipe.errors import SoilpipeError


class TrainingError(SoilpipeError):
    """A training that cannot begin, or that went astray."""


@dataclass(frozen=True)
class Recipe:
    """How to train. `ema` None: 0.99, and 0.999 from 4,000 steps on. `coarse_share`: of the crops of a batch.
    `finest_share`: likewise, of crops that show what a finest pass sees, from which the fine head learns as well.

    `light`: how far the light of crops is changed: 1 for scanners and soils never seen, 0.5 where they are much alike.
    `check_every`: steps between two looks at the validation images; 0: none, and the last weights are kept.
    `encoder_rate`: times the learning rate, for the encoder of a centre-point network (with weights from elsewhere).
    `scenes`: share of crops into which animals of other scans are pasted (`soilpipe.detect.scenes`).
    `second_steps`: of a second stage, trained afterwards on what the first finds (`soilpipe.detect.second_stage`); 0:
    none.
    `muon`: whether inner convolutions learn by it (`soilpipe.detect.optimiser`) in place of AdamW.
    `patience`: looks in a row without a better one, after which training stops; 0: it never stops early.
    """

    steps: int = 2500
    batch: int = 8
    crop: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    warm_up: float = 0.15
    clip: float = 10.0
    centred: float = 0.5
    coarse_share: float = 0.25
    finest_share: float = 0.0
    light: float = 0.5
    ema: float | None = None
    seed: int = 0
    check_every: int = 0
    patience: int = 0
    encoder_rate: float = 1.0
    scenes: float = 0.0
    muon: bool = False
    second_steps: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.crop < 64 or self.crop % 32:
            raise TrainingError(
                f"steps ({self.steps}) must be 1 or more, batch ({self.batch}) 2 or more, "
                f"crop ({self.crop}) a multiple of 32 from 64 on"
            )
        for name in ("check_every", "patience", "second_steps"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} ({getattr(self, name)}) is 0 or more")
        if self.finest_share and not (self.finest_share > 0 and self.coarse_share + self.finest_share < 1):
            raise TrainingError(
                f"finest_share ({self.finest_share}) is 0 or more, and leaves the fine pass some crops beside "
                f"coarse_share ({self.coarse_share})"
            )
        if not 0 <= self.scenes < 1:
            raise TrainingError(f"scenes ({self.scenes}) is a share of the crops, from 0 to below 1")

    @property
    def decay(self) -> float:
        """Of the moving average, a step."""
        return self.ema if self.ema is not None else (0.999 if self.steps >= 4000 else 0.99)

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine down to nothing."""
        warm = max(1, round(self.warm_up * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
