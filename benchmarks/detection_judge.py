"""Variants of a detector, and targets that are met or missed, for benchmarks of detection."""

from __future__ import annotations

from typing import Any

from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.weights import detector_of

TARGET_BARE = 0.8  # end to end, as a share of the bare network's rate


def variant(detector: CentrePointDetector, device: str = "cpu", **card: Any) -> CentrePointDetector:
    """The same weights with another card, on a device."""
    made = detector_of(detector.network, {**detector.card, **card}, version="bench", device=device)
    assert isinstance(made, CentrePointDetector)
    return made


def judge(what: str, value: float, target: float, most: bool = False) -> None:
    """Say whether a target was met, and else by how much it was missed."""
    met = value <= target if most else value >= target
    missed = f"MISSED by {abs(value / target - 1):.0%}"
    print(f"{what}: {value:.2f}, {'at most' if most else 'at least'} {target:g}: {'met' if met else missed}")
