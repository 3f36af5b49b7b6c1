"""The card of a trained detector: what it was trained on, how, what it is worth, and what it is good for in words."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from soilpipe.detect.dataset import Sample
from soilpipe.detect.labelled import LabelSet
from soilpipe.detect.learned_taxa import Learned
from soilpipe.detect.validation import ENOUGH, Judged

DEFAULT_THRESHOLD = 0.3  # where no validation image says better
MOST_NAMES = 1000


def trained_on(labels: LabelSet, samples: Sequence[Sample], taxa: Sequence[str]) -> dict[str, Any]:
    """File name, counts and names of images, no paths. Names stand there up to MOST_NAMES, their hash always."""
    counts = np.zeros(len(taxa), np.int64)
    for sample in samples:
        counts += np.bincount(sample.image.labels[~sample.image.crowd], minlength=len(taxa))
    names = sorted(sample.image.file_name for sample in samples)
    simulated = sum(sample.image.simulated for sample in samples)
    return {
        "labels": labels.source,
        "simulated": labels.simulated,
        "images": len(samples),
        "scanners": len({sample.image.scanner_id for sample in samples if sample.image.scanner_id is not None}),
        "animals": {taxon: int(count) for taxon, count in zip(taxa, counts, strict=True)},
        "images_with_difference": sum(sample.references > 0 for sample in samples),
        "share_of_images": {
            "real": round(1 - simulated / len(samples), 4),
            "simulated": round(simulated / len(samples), 4),
        },
        "image_names": names if len(names) <= MOST_NAMES else None,
        "image_names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }


def share_of_crops(card: Mapping[str, Any], crops: int) -> dict[str, float]:
    """Of all crops those of artificial scenes, as drawn; the rest real and simulated by their numbers of images."""
    artificial = (card["scenes"] or {}).get("crops", 0) / crops
    images = card["trained_on"]["share_of_images"]
    return {
        "artificial": round(artificial, 4),
        **{kind: round((1 - artificial) * images[kind], 4) for kind in ("real", "simulated")},
    }


def in_words(
    learned: Learned, judged: Judged | None, on: Mapping[str, Any], training: Sequence[Sample]
) -> dict[str, Any]:
    """The part of the card that says what it is worth: thresholds, figures, and what it is good for."""
    told = learned.split.told
    simulated = bool(on["simulated"])
    lengths = [
        float((box[2:] - box[:2]).max()) * sample.um_per_px / 1000
        for sample in training
        for box in sample.image.boxes[~sample.image.crowd]
    ]
    source = learned.split.training.source
    scenes = "simulated scenes of buried scanners" if simulated else f"images like those of {source}"
    shortest, longest = np.percentile(lengths, [1, 99])
    unseen = (
        "Real scans, before it has been judged on labelled scans of the same project: it has only ever seen simulated "
        "ones. "
        if simulated
        else "Other devices or ground than it was trained on. "
    )
    return {
        "threshold": DEFAULT_THRESHOLD if judged is None else judged.threshold,
        "threshold_from": f"default: {told}" if judged is None else _threshold_told(told, judged),
        **({"thresholds": judged.thresholds} if judged is not None and judged.thresholds else {}),
        "validation": "simulated" if simulated and judged is not None else "none",
        "figures": None if judged is None else {"split": told, **judged.figures},
        "rolled_up": {taxon: {"as": above, "animals": count} for taxon, (above, count) in learned.rolled_up.items()},
        "good_for": f"{', '.join(learned.taxa)} of {shortest:.2g} to {longest:.2g} mm in {scenes}",
        "not_good_for": unseen
        + "Animals outside that range of length, and taxa that it does not name"
        + ("" if on["images_with_difference"] else ". It has never seen a difference image"),
    }


def _threshold_told(told: str, judged: Judged) -> str:
    own = f"; of their own for taxa with {ENOUGH} validation animals or more" if judged.thresholds else ""
    return f"best F1 on validation images ({told}){own}"


def device_name(device: torch.device) -> str:
    """What it was trained on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
