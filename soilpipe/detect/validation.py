"""Figures on images that were held back from training, and the working threshold that suits them best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.scoring import Matches, average_precision, best_threshold, match, pool, precision_recall_f1

LOWEST = 0.02  # score from which detections are judged


@dataclass(frozen=True)
class Judged:
    """The threshold of the best F1 (any taxon counts as a hit), and figures for the card."""

    threshold: float
    figures: dict[str, Any]


def judge(
    network: CentrePointNetwork, card: Mapping[str, Any], samples: Sequence[Sample], *, device: torch.device
) -> Judged | None:
    """Detect on samples that were not trained on; None when there are none, or none with an animal."""
    if not any((~sample.image.crowd).any() for sample in samples):
        return None
    detector = CentrePointDetector(network, card, device=device)
    animals, taxa = [], []
    for sample in samples:
        passes = {head: sample.passes[head] for head in detector.scales()}
        image = sample.image
        found = detector.detect_windows(passes, image.height, image.width, sample.um_per_px, threshold=LOWEST)
        animals.append(match(found, image.boxes, None, image.crowd))
        taxa.append(match(found, image.boxes, image.labels, image.crowd))
    pooled = pool(animals)
    threshold, f1 = best_threshold(pooled)
    precision, recall, _ = precision_recall_f1(pooled, threshold)
    figures = {
        "images": len(samples),
        "animals": pooled.truths,
        "ap50_any_taxon": round(average_precision(pooled), 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(f1, 4),
        "f1_with_taxon": round(precision_recall_f1(pool(taxa), threshold)[2], 4),
        "count_error_per_image": round(_count_error(animals, threshold), 3),
    }
    return Judged(threshold, figures)


def _count_error(parts: Sequence[Matches], threshold: float) -> float:
    """Mean absolute difference between what was claimed and what is there, per image."""
    return float(
        np.mean([abs(int(((part.scores >= threshold) & ~part.ignored).sum()) - part.truths) for part in parts])
    )
