"""The hold-out: the labelled images that judge candidates and serve nothing else.

One scanner whole, and every other scanner's last fifth in time. Both parts are told from all labelled images of the
project, so training (which leaves them out) and judging (which takes them alone) agree when they start from the same
labels. It moves with the labels, but only away from what was trained on: a later cut lies after the earlier ones, and
a scanner that takes the place of the one held out whole is one that has just got its first labels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from soilpipe.detect.coco import LabelledImage

LAST_SHARE = 5  # one in five times of a scanner, the last ones, rounded up
LEAST_SCANNERS = 3  # from so many on, one is held out whole; of two it would be half of all labels


@dataclass(frozen=True)
class HoldOut:
    """`scanner`: held out whole, None with too few scanners; `since`: by scanner, the first time (UTC) held out."""

    scanner: str | None
    since: Mapping[str, datetime]

    def holds(self, image: LabelledImage) -> bool:
        """Whether an image is of the hold-out. One without scanner or time never is."""
        if image.scanner_id is None or image.captured_at is None:
            return False
        first = self.since.get(image.scanner_id)
        return image.scanner_id == self.scanner or (first is not None and image.captured_at >= first)


def hold_out_of(images: Iterable[LabelledImage]) -> HoldOut:
    """The hold-out of a project, from all its images; only those that somebody has looked at count.

    Images of one scanner and time (tiles of one scan) are never parted. A scanner with a single time holds out nothing,
    unless it is the one held out whole: that with the smallest sha256 of its id, so that no one chooses it.
    """
    times: dict[str, set[datetime]] = {}
    for image in images:
        if image.labelled and image.scanner_id is not None and image.captured_at is not None:
            times.setdefault(image.scanner_id, set()).add(image.captured_at)
    whole = None
    if len(times) >= LEAST_SCANNERS:
        whole = min(times, key=lambda scanner: hashlib.sha256(scanner.encode()).hexdigest())
    since = {
        scanner: sorted(found)[len(found) - math.ceil(len(found) / LAST_SHARE)]
        for scanner, found in times.items()
        if scanner != whole and len(found) > 1
    }
    return HoldOut(whole, since)
