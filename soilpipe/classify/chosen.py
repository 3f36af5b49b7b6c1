"""What a person chose when a classifier was trained, and one that is fitted in its place keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soilpipe.classify.learned_from import CALIBRATION
from soilpipe.classify.training import ALPHA, LEAST_EXAMPLES


@dataclass(frozen=True)
class Chosen:
    """alpha, calibrate and least_examples of `training.train_classifier`; calibrate () where every scanner was held out
    once."""

    alpha: float = ALPHA
    calibrate: tuple[str, ...] = ()
    least_examples: int = LEAST_EXAMPLES


def chosen_of(card: Mapping[str, Any]) -> Chosen:
    """By a classifier's card. Those of earlier releases name the scanners kept for calibration by what these served,
    and do not tell least_examples."""
    served = (card.get("served") or {}).get(CALIBRATION) or {}
    calibrate = card["calibrate"] if "calibrate" in card else served.get("scanner_spans") or ()
    return Chosen(
        alpha=float(card.get("alpha", ALPHA)),
        calibrate=tuple(sorted(calibrate)),
        least_examples=int(card.get("least_examples", LEAST_EXAMPLES)),
    )
