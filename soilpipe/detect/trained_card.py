"""The card of a trained detector: what it was trained on, how, what it is worth, and what it is good for in words."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from soilpipe.detect.ancestry import seen_by_ancestors, times_of
from soilpipe.detect.crops import ARTIFICIAL, REAL, SIMULATED
from soilpipe.detect.dataset import Sample
from soilpipe.detect.figures import ENOUGH_OF_A_SIZE, FOUND
from soilpipe.detect.labelled import LabelSet
from soilpipe.detect.learned_taxa import Learned
from soilpipe.detect.scoring import NEARLY
from soilpipe.detect.validation import ENOUGH, Judged

DEFAULT_THRESHOLD = 0.3  # where no validation image says better
MOST_NAMES = 1000
NO_LICENCE = "not stated"


def trained_on(labels: LabelSet, samples: Sequence[Sample], taxa: Sequence[str]) -> dict[str, Any]:
    """File name, counts, names of images and times of real scanners, no paths. Names and times stand there up to
    MOST_NAMES, the hash of the names and the first and last time of each scanner always."""
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
        **times_of((sample.image for sample in samples if not sample.image.simulated), MOST_NAMES),
    }


def served(validation: Sequence[Sample], grounds: Sequence[Sample]) -> dict[str, Any]:
    """What served a training beside the images that it was trained on, so that no figures are told from it: validation
    images, which choose the threshold, and scans whose ground animals were pasted on. Simulated ones left out."""
    parts = {"validation": validation, "grounds": grounds}
    return {
        name: {"image_names": names if len(names) <= MOST_NAMES else None, **times_of(images, MOST_NAMES)}
        for name, part in parts.items()
        for images in [[sample.image for sample in part if not sample.image.simulated]]
        for names in [sorted({image.file_name for image in images})]
    }


def share_of_crops(crops: Mapping[str, int]) -> dict[str, float]:
    """Of all crops that were learned from, those of artificial scenes, of real and of simulated images, as drawn."""
    of = max(1, sum(crops.values()))
    kinds = {"artificial": ARTIFICIAL, "real": REAL, "simulated": SIMULATED}
    return {name: round(crops[kind] / of, 4) for name, kind in kinds.items()}


def licence_told(labels: LabelSet, licence: str | None) -> str:
    """The licence as the user gives it, else that of the images as the label file tells it."""
    if licence is not None and licence.strip():
        return licence.strip()
    return NO_LICENCE if labels.licence is None else f"{labels.licence} (of the images, by {labels.source})"


def in_words(
    learned: Learned,
    judged: Judged | None,
    card: Mapping[str, Any],
    training: Sequence[Sample],
    validation: Sequence[Sample],
) -> dict[str, Any]:
    """The part of the card that says what it is worth: thresholds, figures, and what it is good for.

    card: what stands there so far; where it comes from a detector that was trained on validation images, it says that
    the figures flatter.
    """
    on = card["trained_on"]
    told = learned.split.told
    images = [sample.image for sample in validation]
    seen = seen_by_ancestors(card, [image.file_name for image in images], images)
    if judged is not None and seen:
        told += (
            f"; {seen} of these {judged.figures['images']} images were trained on by a detector that this one "
            "began from, so the figures flatter and the threshold may not suit others"
        )
    lengths = [
        float((box[2:] - box[:2]).max()) * sample.um_per_px / 1000
        for sample in training
        for box in sample.image.boxes[~sample.image.crowd]
    ]
    source = learned.split.training.source
    scenes = "simulated scenes of buried scanners" if on["simulated"] else f"images like those of {source}"
    least, longest = np.percentile(lengths, [1, 99])
    return {
        **worth(judged, told, card),
        "remainders": {taxon: list(members) for taxon, members in learned.remainders.items()},
        "rolled_up": {taxon: {"as": above, "animals": count} for taxon, (above, count) in learned.rolled_up.items()},
        "good_for": f"{', '.join(_class_told(taxon, learned) for taxon in learned.taxa)} of {least:.2g} to "
        f"{longest:.2g} mm in {scenes}",
    }


def worth(judged: Judged | None, told: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """Thresholds, figures and what it is not good for, by validation images that are `told`; the card says what it was
    trained on."""
    on = card["trained_on"]
    simulated = bool(on["simulated"])
    shortest = None if judged is None else shortest_found(judged.figures["recall_by_mm"])
    unseen = (
        "Real scans, before it has been judged on labelled scans of the same project: it has only ever seen simulated "
        "ones. "
        if simulated
        else "Other devices or ground than it was trained on. "
    )
    return {
        "threshold": DEFAULT_THRESHOLD if judged is None else judged.threshold,
        "threshold_best_f1": None if judged is None else judged.threshold_best_f1,
        "threshold_from": f"default: {told}" if judged is None else _threshold_told(told, judged),
        **({"thresholds": judged.thresholds} if judged is not None and judged.thresholds else {}),
        "validation": "simulated" if simulated and judged is not None else "none",
        "figures": None if judged is None else {"split": told, **judged.figures},
        "shortest_found_mm": shortest,
        "not_good_for": unseen
        + "Animals outside that range of length, and taxa that it does not name"
        + ("" if shortest is None else f". Of animals shorter than {shortest:g} mm it may miss more than half")
        + ("" if on["images_with_difference"] else ". It has never seen a difference image"),
    }


def shortest_found(classes: Sequence[Mapping[str, Any]]) -> float | None:
    """Length, mm, from which on validation animals are found: the lower end of the first class of `recall_by_mm` whose
    recall is 0.5 or more and none of whose longer ones falls below, of those with ten animals or more; None where the
    longest such class already fails, or there is none."""
    least = None
    for one in reversed([one for one in classes if one["animals"] >= ENOUGH_OF_A_SIZE]):
        if one["recall"] < FOUND:
            break
        least = float(one["from_mm"])
    return least


def _class_told(taxon: str, learned: Learned) -> str:
    members = learned.remainders.get(taxon)
    return f"{taxon} (where it is none of {', '.join(members)})" if members else taxon


def _threshold_told(told: str, judged: Judged) -> str:
    own = f"; of their own for taxa with {ENOUGH} validation animals or more" if judged.thresholds else ""
    return (
        f"of all thresholds with the best F1 on validation images to within {NEARLY}, the one whose count is nearest "
        f"to theirs ({told}); F1 alone would take {judged.threshold_best_f1:.2f}{own}"
    )


def device_name(device: torch.device) -> str:
    """What it was trained on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
