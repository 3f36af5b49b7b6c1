"""What a training begins from: a fresh network of some size or family, a backbone's weights, or another detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from soilpipe.detect.learning import CentrePointLearner, Learner
from soilpipe.detect.network import HEADS, Head
from soilpipe.detect.passes import FINEST
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.second_stage.looking import SECOND
from soilpipe.detect.sizes import MEDIUM, make_network
from soilpipe.detect.warm_start import begin_from
from soilpipe.detect.weights import read_card

SCRATCH_RATE, RESNET_RATE = 4e-3, 1e-3  # AdamW's, at its height
WARM_RATE = 0.25
"""Of the rate, for a detector that begins from another: the whole of it first unlearns what is known (shipped detector,
40 labelled scans of the generator `peat`, 60 steps: AP50 .37 against .32; afresh .01; one run each)."""
FINEST_SHARE = 0.15  # of the crops, where the detector begun from has a finest pass
SECOND_STEPS = 1200  # of its second stage, at most, where the detector begun from has one
PRETRAINED_RATE = 0.1  # of that, for a ResNet that comes with weights
OWN_RATE = WARM_RATE  # and for an encoder of our own widths that does


@dataclass(frozen=True)
class Start:
    """Where training begins. `family`: of torchvision's, else the centre-point network of `size`.

    `backbone`: a file with weights for the ResNet in it, or the folder of an encoder of that size. `warm_start`: the
    folder of a detector of the same kind.
    """

    size: str = MEDIUM
    family: str | None = None
    backbone: Path | str | None = None
    warm_start: Path | str | None = None

    def __post_init__(self) -> None:
        if self.backbone is not None and self.warm_start is not None:
            raise TrainingError("a backbone or a detector to begin from, not both: the detector has a backbone already")

    @property
    def kind(self) -> str:
        """The family, or the size: what a detector must share to be begun from."""
        return self.family or self.size

    @property
    def passes(self) -> tuple[Head, ...]:
        """Those that are trained: torchvision's detectors find animals of all sizes in one."""
        return HEADS if self.family is None else ("fine",)

    def recipe(self, **given: Any) -> Recipe:
        """The recipe that suits it, with what is given in place of its own."""
        rate = SCRATCH_RATE
        if self.family is not None:
            from soilpipe.detect.torchvision_learning import LEARNING_RATE

            rate = LEARNING_RATE
        elif self.size.startswith("resnet"):
            rate = RESNET_RATE
        if self.warm_start is not None:
            rate *= WARM_RATE
        finest, second = 0.0, 0
        if self.warm_start is not None:
            before = read_card(self.warm_start)[0]
            finest = FINEST_SHARE if FINEST in before else 0.0
            second = min(SECOND_STEPS, int(given.get("steps", Recipe.steps))) if SECOND in before else 0
        share = 1.0
        if self.backbone is not None and self.family is None:
            share = PRETRAINED_RATE if self.size.startswith("resnet") else OWN_RATE
        # Going on from a whole detector gained nothing by Muon (the shipped one, 40 scans of `peat`, one run each:
        # after 60 steps AP50 .553 against AdamW's .566, after 300 .604 against .598).
        muon = self.family is None and not self.size.startswith("resnet") and self.warm_start is None
        own = {
            "learning_rate": rate,
            "encoder_rate": share,
            "muon": muon,
            "finest_share": finest,
            "second_steps": second,
        }
        return Recipe(**{**own, **given})


def kind_of(card: Mapping[str, Any]) -> str:
    """The family or size that a card tells."""
    return str(card.get("family") or card.get("size") or MEDIUM)


def make_learner(start: Start, taxa: tuple[str, ...], device: torch.device, seed: int) -> Learner:
    """A network ready to be trained. BackboneError, TrainingError or WeightsError where it cannot begin from that."""
    torch.manual_seed(seed)
    if start.family is not None:
        from soilpipe.detect.torchvision_family import make_family
        from soilpipe.detect.torchvision_learning import TorchvisionLearner

        learner: Learner = TorchvisionLearner(make_family(start.family, len(taxa)), device)
    else:
        learner = CentrePointLearner(make_network(start.size, len(taxa)), device)
    if start.backbone is not None:
        from soilpipe.detect.backbone_weights import load_backbone

        load_backbone(learner.network, start.backbone)
    if start.warm_start is not None:
        begin_from(learner.network, taxa, start.warm_start)
    return learner
