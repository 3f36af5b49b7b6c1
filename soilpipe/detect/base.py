"""What a detector is to the rest of the pipeline: what goes in, what comes out, and how it names itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from soilpipe.background import Registration
    from soilpipe.tiles import ScanImage

Validation = Literal["none", "simulated", "local"]
CONTRAST, LOCAL = "contrast", "local"
"""On a card: the network was trained on, and sees, colours whose contrast is evened (`background.contrast`)."""


def evens_contrast(card: Mapping[str, Any]) -> bool:
    """Whether a detector with this card sees colours whose contrast is evened."""
    return bool(card.get(CONTRAST) == LOCAL)


@dataclass(frozen=True)
class Detections:
    """What a detector claims to see in one scan.

    boxes   (n, 4) float32, x_min y_min x_max y_max, px at full resolution, half-open
    scores  (n,) float32, 0..1
    labels  (n,) int64, index into `taxa`
    taxa    names that the labels point to
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    taxa: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.labels.shape != (n,):
            shapes = f"{self.boxes.shape}, {self.scores.shape}, {self.labels.shape}"
            raise ValueError(f"boxes, scores and labels of shapes {shapes} do not belong together")

    def __len__(self) -> int:
        return len(self.scores)

    def taxon(self, index: int) -> str:
        """The name of the taxon of one detection."""
        return self.taxa[int(self.labels[index])]

    def select(self, which: np.ndarray) -> Detections:
        """The detections that `which` (a mask or indices) names, in its order."""
        return Detections(self.boxes[which], self.scores[which], self.labels[which], self.taxa)


def no_detections(taxa: Sequence[str]) -> Detections:
    """An empty answer: looked, and found nothing."""
    return Detections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64),
        taxa=tuple(taxa),
    )


@dataclass(frozen=True)
class DetectorInfo:
    """What an analysis records about a detector: everything that can change what it finds.

    `settings` is JSON-able and goes into the hash that names the analysis; so nothing stands in it that changes only
    speed or memory (tile size, threads, device). `uses_difference` False: it has never seen a difference and is not
    given one; its references are not even registered.
    """

    name: str
    version: str
    taxa: tuple[str, ...]
    um_per_px: float
    threshold: float
    validation: Validation
    settings: Mapping[str, Any] = field(default_factory=dict)
    role: str = "detector"
    uses_difference: bool = True


@dataclass(frozen=True)
class Identities:
    """What n detected animals are, by a classifier.

    taxa          names; None where nothing can be said
    probability   of that taxon, calibrated; None without a taxon
    alternatives  other taxa it may be: {"taxon", "probability"}, likeliest first; None where nobody asked
    is_unknown    it is far from everything the classifier knows
    """

    taxa: tuple[str | None, ...]
    probability: tuple[float | None, ...]
    alternatives: tuple[tuple[dict[str, Any], ...] | None, ...]
    is_unknown: tuple[bool, ...]


@runtime_checkable
class Identifies(Protocol):
    """A detector that has a classifier say what it found; it answers for each box in their order."""

    def identify(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        boxes: np.ndarray,
    ) -> Identities: ...


class Detector(Protocol):
    """Finds animals in one scan.

    `references` are earlier scans of the same scanner, `registrations` how each lies on the scan, in the same order;
    both may be empty. `threshold` replaces the detector's own working threshold. Deterministic: the same input gives
    the same detections, whatever the tile size.
    """

    @property
    def info(self) -> DetectorInfo: ...

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections: ...
