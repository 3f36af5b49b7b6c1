"""A network that is being trained, as a detector of the samples that were held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample
from soilpipe.detect.fitting import Look
from soilpipe.detect.halved import seen_by
from soilpipe.detect.network import Head
from soilpipe.detect.passes import finest_told, middle_told, without_finest, without_middle
from soilpipe.detect.validation import Judge, look
from soilpipe.detect.weights import LoadedDetector, Network, detector_of

PAYS = 0.01  # of the score of `validation.look`, from which something else is chosen than what is by default


def of_sample(detector: LoadedDetector, sample: Sample, threshold: float | None) -> Detections:
    """What a detector finds in a sample, boxes in px of full resolution."""
    passes = seen_by(detector.scales(sample.um_per_px), sample)
    image = sample.image
    return detector.detect_windows(passes, image.height, image.width, sample.um_per_px, threshold=threshold)


def margin(samples: Sequence[Sample]) -> float:
    """By how much of the score of `validation.look` a choice must be better than the default on these samples.

    PAYS, or where they are few a standard error of finding half of their animals: a few labels must not toss a coin.
    """
    animals = sum(int((~sample.image.crowd).sum()) for sample in samples)
    return max(PAYS, 0.5 / max(1, animals) ** 0.5)


def judge_of(network: Network, card: Mapping[str, Any], device: torch.device) -> Judge:
    """What detects on samples with the network and its card."""
    detector = detector_of(network, card, device=device)

    def detect(sample: Sample, threshold: float) -> Detections:
        return of_sample(detector, sample, threshold)

    return detect


def look_of(card: Mapping[str, Any], samples: Sequence[Sample], device: torch.device) -> Look | None:
    """How weights are judged on the way; None where there is nothing to look at."""
    if not samples:
        return None

    def seen(network: Any, heads: tuple[Head, ...]) -> Mapping[str, float]:
        return look(judge_of(network, {**card, "heads": list(heads)}, device), samples)

    return seen


def middle_that_pays(
    network: Network, card: Mapping[str, Any], samples: Sequence[Sample], device: torch.device, *, before: bool = False
) -> dict[str, Any]:
    """What the card is to say of a middle pass: its borders where it has one, else nothing.

    before: whether the detector that this one began from has one. It stays so unless the score that weights are kept
    by, on validation samples, says by more than their `margin` that the other is better.
    Nothing where there is no coarse pass.
    """
    if "coarse" not in card["heads"]:
        return {}
    return _that_pays(network, without_middle(card), middle_told(card["um_per_px"]), samples, device, before=before)


def finest_that_pays(
    network: Network, card: Mapping[str, Any], samples: Sequence[Sample], device: torch.device
) -> dict[str, Any]:
    """What the card of a detector with a finest pass, trained for it or handed on, is to say of that.

    Nothing where validation samples, which must show what it sees (`build_samples`), say by more than their `margin`
    that it harms.
    """
    return _that_pays(network, without_finest(card), finest_told(card["um_per_px"]), samples, device, before=True)


def _that_pays(
    network: Network,
    plain: Mapping[str, Any],
    told: dict[str, Any],
    samples: Sequence[Sample],
    device: torch.device,
    *,
    before: bool,
) -> dict[str, Any]:
    gain, least = 0.0, margin(samples)
    if samples:
        without, with_it = (look(judge_of(network, {**plain, **more}, device), samples)["score"] for more in ({}, told))
        gain = with_it - without
    return told if gain > (-least if before else least) else {}
