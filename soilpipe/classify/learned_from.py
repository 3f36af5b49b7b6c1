"""What a classifier has learned from, so that nothing judges it that it knows.

The labelled crops are part of a classifier: its nearest neighbour to one of them is that crop itself. A tile of a scan
that it learned from, under another name or drawn again, holds the same animals, so whole scans count, by their id and
by scanner and time. So does what only calibrated it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from soilpipe.classify.examples import Source
from soilpipe.detect.ancestry import times_of

CALIBRATION = "calibration"
"""The part of a card's `served` that tells what calibrated it and was not fitted on."""


@dataclass(frozen=True)
class _Taken:
    """As `soilpipe.detect.ancestry` knows an image."""

    scanner_id: str | None
    captured_at: datetime | None


def told_of(sources: Sequence[Source]) -> dict[str, Any]:
    """For a card: `image_names` and their hash, `scans` (ids, or file names), `scanner_times` and `scanner_spans` (UTC,
    as on a detector's card). All of them, however many."""
    names = sorted({source.image for source in sources})
    taken = {_Taken(source.scanner_id, _time(source)) for source in sources}
    return {
        "images": len(names),
        "image_names": names,
        "image_names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "scans": sorted({source.scan for source in sources}),
        **times_of(taken, len(sources)),
    }


def knows(card: Mapping[str, Any], own: Iterable[Source], sources: Sequence[Source]) -> np.ndarray:
    """(n,) bool: which crops are of a scan that a classifier was fitted or calibrated on, as its card tells, or that
    one of its `own` crops is of (cards of earlier releases do not tell)."""
    parts = [card.get("trained_on") or {}, (card.get("served") or {}).get(CALIBRATION) or {}]
    scans = {source.scan for source in own}.union(*(part.get("scans") or () for part in parts))
    times = {(source.scanner_id, _time(source)) for source in own}
    for part in parts:
        for scanner, found in (part.get("scanner_times") or {}).items():
            times |= {(scanner, datetime.fromisoformat(time)) for time in found or ()}
    return np.array([one.scan in scans or _is_among(one, times) for one in sources], bool)


def _is_among(source: Source, times: set[tuple[str | None, datetime | None]]) -> bool:
    key = (source.scanner_id, _time(source))
    return None not in key and key in times


def _time(source: Source) -> datetime | None:
    return None if source.captured_at is None else datetime.fromisoformat(source.captured_at)
