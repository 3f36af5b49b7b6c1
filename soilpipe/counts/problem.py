"""What `verify` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong, at the object ``key``, and what to do.

    ``kind`` is scan, quarantine, detections, series, stray, record, labels or model.
    """

    kind: str
    key: str
    message: str
