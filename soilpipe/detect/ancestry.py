"""What a detector has seen in training, itself and through the detectors that it was begun from.

A detector that begins from another takes over what that one learned, so images that judge it must be new to both. Its
card therefore carries what each of its ancestors was trained on: names of images, and the times of each scanner. Tiles
of one scan have several names and one time, and show the same ground.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

KEPT = ("labels", "simulated", "images", "image_names", "image_names_sha256", "scanner_times", "scanner_spans")
"""Of what an ancestor was trained on, what its descendants' cards keep."""


class Known(Protocol):
    """An image as label files name it; `captured_at` UTC or None."""

    @property
    def scanner_id(self) -> str | None: ...
    @property
    def captured_at(self) -> datetime | None: ...


def times_of(images: Iterable[Known], most: int) -> dict[str, Any]:
    """`scanner_spans`: by scanner its first and last time, None where an image of it has none. `scanner_times`: all of
    them, ISO in UTC; None where there are more than `most`."""
    times: dict[str, set[str] | None] = {}
    for image in images:
        if image.scanner_id is None:
            continue
        known = times.setdefault(image.scanner_id, set())
        if image.captured_at is None:
            times[image.scanner_id] = None
        elif known is not None:
            known.add(image.captured_at.isoformat())
    every = {scanner: None if found is None else sorted(found) for scanner, found in sorted(times.items())}
    few = sum(len(found or ()) for found in every.values()) <= most
    return {
        "scanner_spans": {scanner: None if not found else [found[0], found[-1]] for scanner, found in every.items()},
        "scanner_times": every if few else None,
    }


def begun(folder: Path | str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The card of a detector to begin from, and what the new card tells of it and of those before it."""
    from soilpipe.detect.model_files import WEIGHTS, version_of
    from soilpipe.detect.weights import read_card

    card, text = read_card(folder)
    return card, ancestors_of(card, version_of((Path(folder) / WEIGHTS).read_bytes(), text))


def of_backbone(backbone: Path | str | None) -> list[dict[str, Any]]:
    """What a new card tells of where its backbone comes from: of a detector as `begun` tells it, of an encoder what its
    card has of detectors (labels only; pretraining needs none). Nothing of a file, nor without a backbone."""
    from soilpipe.detect.model_files import CARD, WEIGHTS, version_of

    if backbone is None:
        return []
    try:
        text, weights = ((Path(backbone) / name).read_bytes() for name in (CARD, WEIGHTS))
        card = json.loads(text)
    except (OSError, ValueError):
        return []
    if not isinstance(card, dict):
        return []
    return ancestors_of(card, version_of(weights, text)) if "heads" in card else list(card.get("ancestors") or ())


def ancestors_of(card: Mapping[str, Any], version: str) -> list[dict[str, Any]]:
    """What the card of a detector begun from this one tells of it and of those before it, the nearest first.

    `trained_on` None: a card of an earlier release, which does not tell what it was begun from.
    """
    training = card.get("trained_on")
    mine = {
        "name": card.get("name"),
        "version": version,
        "trained_on": {key: training[key] for key in KEPT if key in training} if training else None,
    }
    before = card.get("ancestors")
    if before is None and card.get("warm_start") not in (None, "shipped"):
        before = [{"name": card["warm_start"], "version": None, "trained_on": None}]
    return [mine, *(before or ())]


def seen(card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known], *, held_out: bool = False) -> int:
    """How many of some images were trained on, by the detector of this card or one that it comes from.

    names: of the images, in their order. `held_out`: training on this project's own labels leaves them out. A card
    that cannot tell (too many images, or of an earlier release) is then believed to; else all images count.
    """
    mine = card.get("trained_on")
    trainings = [mine] if mine else []
    trainings += [one["trained_on"] for one in ancestors_of(card, "")[1:]]
    return sum(
        any(_has_seen(training, name, image, held_out) for training in trainings)
        for name, image in zip(names, images, strict=True)
    )


def seen_by_ancestors(card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known]) -> int:
    """The same, leaving the detector itself out."""
    return seen({"ancestors": card.get("ancestors") or []}, names, images)


def _has_seen(training: Mapping[str, Any] | None, name: str, image: Known, held_out: bool) -> bool:
    if training is None:
        return not held_out
    if training.get("simulated"):
        return False
    names, spans = training.get("image_names"), training.get("scanner_spans")
    if names is not None and name in names:
        return True
    if spans is not None and image.scanner_id in spans:
        span, times = spans[image.scanner_id], training.get("scanner_times")
        if span is None or image.captured_at is None:
            return True  # of this scanner, and nobody knows when
        at = image.captured_at.isoformat()
        return bool(at in times[image.scanner_id] if times is not None else span[0] <= at <= span[1])
    return names is None and spans is None and not held_out
