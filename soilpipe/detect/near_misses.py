"""What a detector nearly found: places whose score is a little under the threshold.

They are nobody's detections and are counted nowhere. They are kept beside the detections, so that a person who labels
is shown what the detector may have missed, and not only what it may have taken wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from soilpipe.detect.base import Detections, Detector
from soilpipe.detect.decode import without_doubles

if TYPE_CHECKING:
    from soilpipe.background import Registration
    from soilpipe.tiles import ScanImage

BELOW = 0.15
"""How far under the threshold of its taxon a score is still a near miss."""
FAINTEST = 0.05
"""Score under which nothing is a near miss, however low the threshold: of noise there is no end."""
MOST = 50
"""Near misses of a scan that are kept, the nearest to the threshold first."""
LOOKED_AT = 1_000
"""Of so many, the nearest, doubles are told apart."""


class NearMiss(NamedTuple):
    """Its centre, px at full resolution, and by how much its score is under the threshold of its taxon."""

    x: float
    y: float
    gap: float


@runtime_checkable
class FindsNearly(Protocol):
    """A detector that also says what it nearly found; its detections are those of `detect`."""

    def detect_nearly(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> tuple[Detections, list[NearMiss]]: ...


def detect_nearly(
    detector: Detector,
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    *,
    threshold: float | None = None,
) -> tuple[Detections, list[NearMiss]]:
    """What any detector finds, and what it nearly found; nothing of the latter from one that cannot say."""
    if isinstance(detector, FindsNearly):
        return detector.detect_nearly(scan, references, registrations, threshold=threshold)
    return detector.detect(scan, references, registrations, threshold=threshold), []


def reach(least: float, below: float) -> float:
    """How far under `least`, the lowest threshold of a detector, it looks when it is asked for `below`."""
    return min(below, max(0.0, least - FAINTEST))


def nearest(found: np.ndarray, boxes: np.ndarray, gaps: np.ndarray) -> list[NearMiss]:
    """At most MOST, the smallest gap first, of what lies neither on a detection nor on a nearer miss.

    found (n, 4): boxes of the detections. boxes (m, 4) and gaps (m,): those of the near misses, px at full resolution.
    """
    order = np.lexsort((boxes[:, 0], boxes[:, 1], gaps))[:LOOKED_AT]
    boxes, gaps = boxes[order], gaps[order]
    alone = without_doubles(np.concatenate([found, boxes]))[len(found) :]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    told = zip(centres[alone][:MOST], gaps[alone][:MOST], strict=True)
    return [NearMiss(float(x), float(y), float(gap)) for (x, y), gap in told]
