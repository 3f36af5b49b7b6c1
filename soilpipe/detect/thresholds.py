"""The working thresholds of a detector: one, and for taxa with enough validation animals one of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soilpipe.detect.base import Detections, DetectorInfo


def at_work(detections: Detections, threshold: float, thresholds: Mapping[str, float]) -> Detections:
    """Those that reach the threshold of their taxon, or `threshold` where it has none of its own; order kept."""
    least = np.array([thresholds.get(taxon, threshold) for taxon in detections.taxa])
    return detections.select(detections.scores >= least[detections.labels])


def own_thresholds(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a card's `thresholds` add to the settings of a detector, which name its analysis; nothing without any."""
    own = {str(taxon): float(value) for taxon, value in (card.get("thresholds") or {}).items()}
    return {"thresholds": own} if own else {}


def least_scores(info: DetectorInfo, threshold: float | None) -> np.ndarray:
    """(taxa,) float64: from which score on a detection of each taxon counts; `threshold` replaces all of them."""
    common, own = thresholds_used(info, threshold)
    return np.array([own.get(taxon, common) for taxon in info.taxa], np.float64)


def thresholds_used(info: DetectorInfo, threshold: float | None) -> tuple[float, dict[str, float]]:
    """The threshold of all taxa, and of those that have one of their own; none have where one number was given."""
    if threshold is not None:
        return threshold, {}
    return info.threshold, {taxon: float(value) for taxon, value in info.settings.get("thresholds", {}).items()}


def in_words(info: DetectorInfo, threshold: float | None) -> str:
    """The same for people: `0.50 (Enchytraeidae 0.28)`."""
    common, own = thresholds_used(info, threshold)
    told = ", ".join(f"{taxon} {value:.2f}" for taxon, value in own.items())
    return f"{common:.2f}" + (f" ({told})" if told else "")


def threshold_problems(card: Mapping[str, Any]) -> list[str]:
    """What is wrong with a card's `thresholds`."""
    own = card.get("thresholds", {})
    if not isinstance(own, dict):
        return [f"`thresholds` = {own!r} (expected taxa with numbers from 0 to 1)"]
    strange = [taxon for taxon in own if taxon not in card["taxa"]]
    wrong = {
        taxon: value
        for taxon, value in own.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1
    }
    told = [f"`thresholds` names {', '.join(strange)}, which `taxa` does not"] if strange else []
    return told + ([f"`thresholds` = {wrong!r} (expected 0 to 1)"] if wrong else [])
