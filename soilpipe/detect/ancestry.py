"""What a detector has seen in training, itself and through the detectors that it was begun from.

A detector that begins from another takes over what that one learned, so images that judge it must be new to both. Its
card therefore carries what each of its ancestors was trained on: names of images, and the times of each scanner. Tiles
of one scan have several names and one time, and show the same ground; so do scans of one scanner that are neighbours in
time (`split.NEIGHBOURING`), often with the same animals at the same places.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from soilpipe.detect.split import NEIGHBOURING

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
    if "served" in card:
        mine["served"] = card["served"]
    before = card.get("ancestors")
    if before is None and card.get("warm_start") not in (None, "shipped"):
        before = [{"name": card["warm_start"], "version": None, "trained_on": None}]
    return [mine, *(before or ())]


def familiar(
    card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known], *, held: Collection[str] = ()
) -> frozenset[str]:
    """The names of those of some images that cannot judge the detector of this card.

    That is what it was trained on, itself or through one that it comes from; scans of the same scanner that neighbour
    such a scan; and what served its training otherwise: to choose a threshold, or as ground to paste animals on.

    names: of the images, in their order. held: names of the project's hold-out, which training leaves out: of these, a
    card that cannot tell (too many images, or of an earlier release) is believed. Of others it is not: a card of an
    earlier release does not say what it was validated on, so where it was trained on some of these scanners, all that
    are not of the hold-out count as familiar.
    """
    known = _familiar(card, names, images, held)
    return frozenset(name for name, familiar_ in zip(names, known, strict=True) if familiar_)


def seen(card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known], *, held_out: bool = False) -> int:
    """How many of some images are `familiar`. `held_out`: all of them are of the project's hold-out."""
    return sum(_familiar(card, names, images, names if held_out else ()))


def seen_by_ancestors(card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known]) -> int:
    """How many of some images a detector was trained on that this one comes from; neighbours in time do not count."""
    trainings = [one.get("trained_on") for one in card.get("ancestors") or ()]
    return sum(
        any(_has_seen(training, name, image, False, timedelta()) for training in trainings)
        for name, image in zip(names, images, strict=True)
    )


def last_seen(card: Mapping[str, Any], scanners: Collection[str]) -> datetime | None:
    """When the last scan of one of these scanners was taken that the detector, or one that it comes from, was trained
    on; None where it was on none of a known time."""
    spans = [
        span
        for one in _line(card)
        for scanner, span in ((one.get("trained_on") or {}).get("scanner_spans") or {}).items()
        if scanner in scanners and span is not None
    ]
    return max((datetime.fromisoformat(span[1]) for span in spans), default=None)


def _familiar(
    card: Mapping[str, Any], names: Sequence[str], images: Sequence[Known], held: Collection[str]
) -> list[bool]:
    line = _line(card)
    silent = any(_does_not_tell(one, names, images) for one in line)

    def met(name: str, image: Known) -> bool:
        believed = name in held
        return (silent and not believed) or any(
            _has_seen(one.get("trained_on"), name, image, believed, NEIGHBOURING) or _served(one, name, image)
            for one in line
        )

    return [met(name, image) for name, image in zip(names, images, strict=True)]


def _line(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The card, where it tells of a training, and what it tells of those before it."""
    mine = [card] if card.get("trained_on") else []
    return [*mine, *ancestors_of(card, "")[1:]]


def _does_not_tell(one: Mapping[str, Any], names: Sequence[str], images: Sequence[Known]) -> bool:
    """Whether images of these scanners may have served a training that does not tell what did."""
    training = one.get("trained_on")
    if training is None or "served" in one or training.get("simulated"):
        return False
    known, spans = training.get("image_names") or (), training.get("scanner_spans") or {}
    return any(name in known for name in names) or any(image.scanner_id in spans for image in images)


def _served(one: Mapping[str, Any], name: str, image: Known) -> bool:
    return any(_has_seen(part, name, image, True, timedelta()) for part in (one.get("served") or {}).values())


def _has_seen(
    training: Mapping[str, Any] | None, name: str, image: Known, believed: bool, neighbouring: timedelta
) -> bool:
    if training is None:
        return not believed
    if training.get("simulated"):
        return False
    names, spans = training.get("image_names"), training.get("scanner_spans")
    if names is not None and name in names:
        return True
    if spans is not None and image.scanner_id in spans:
        span, times = spans[image.scanner_id], training.get("scanner_times")
        if span is None or image.captured_at is None:
            return True  # of this scanner, and nobody knows when
        at = image.captured_at
        if times is None:
            first, last = map(datetime.fromisoformat, span)
            return first - neighbouring <= at <= last + neighbouring
        return any(abs(datetime.fromisoformat(one) - at) <= neighbouring for one in times[image.scanner_id])
    return names is None and spans is None and not believed
