"""The working thresholds of a detector: one, and for taxa with enough validation animals one of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from soilpipe.detect.base import Detections


def at_work(detections: Detections, threshold: float, thresholds: Mapping[str, float]) -> Detections:
    """Those that reach the threshold of their taxon, or `threshold` where it has none of its own; order kept."""
    least = np.array([thresholds.get(taxon, threshold) for taxon in detections.taxa])
    return detections.select(detections.scores >= least[detections.labels])


def lowest(taxa: Sequence[str], threshold: float, thresholds: Mapping[str, float]) -> float:
    """The score below which nothing is kept, whatever its taxon."""
    return min(thresholds.get(taxon, threshold) for taxon in taxa)
