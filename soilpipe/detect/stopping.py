"""When to stop, and which weights to keep: those that were best on the validation images.

The rule: every `check_every` steps the moving average of the weights is judged on the validation images. The best look
wins, the earlier of two equal ones; after `patience` looks in a row that were no better, training stops, once the best
is above SOMETHING: a network that finds nothing yet has not begun to get worse. Without looks
(none wanted, or no validation image with an animal) the last weights are kept and nothing stops early.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from soilpipe.detect.recipe import Recipe

SOMETHING = 0.01  # of a score


@dataclass
class Stopping:
    """What was seen at the looks so far; `best` holds the weights of the best one, on the CPU.

    `looks`: (step, score) of each, by step; the score is 0..1, higher is better.
    """

    every: int
    patience: int
    looks: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, judged: bool) -> Stopping:
        """For a recipe; `judged`: whether there is anything to look at."""
        return cls(recipe.check_every if judged else 0, recipe.patience)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to look after this many steps of `steps`; the last is always looked at."""
        return self.every > 0 and (step % self.every == 0 or step == steps)

    def saw(self, step: int, score: float, weights: Mapping[str, Tensor]) -> None:
        """Take in one look. A score that is not a number is the worst."""
        score = score if score == score else 0.0
        if not self.looks or score > self.best_look[1]:
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}
        self.looks.append((step, score))

    @property
    def best_look(self) -> tuple[int, float]:
        """Step and score of the best look; the earlier of equal ones."""
        return max(self.looks, key=lambda look: (look[1], -look[0]))

    @property
    def is_over(self) -> bool:
        """Whether patience is at its end."""
        if not self.patience or not self.looks or self.best_look[1] < SOMETHING:
            return False
        return sum(step > self.best_look[0] for step, _ in self.looks) >= self.patience

    def told(self) -> str:
        """The rule and what came of it, in words for the card."""
        if not self.looks:
            return "the last weights (moving average); no look at validation images on the way"
        step, score = self.best_look
        rule = f"looked every {self.every} steps" + (
            f", stopped after {self.patience} looks without a better one" if self.is_over else ""
        )
        return f"the best of {len(self.looks)} looks at the validation images: step {step}, score {score:.4f} ({rule})"

    @torch.no_grad()
    def keep_best(self, network: torch.nn.Module) -> None:
        """Give a network the best weights; nothing where there was no look."""
        if self.best:
            network.load_state_dict(self.best)
