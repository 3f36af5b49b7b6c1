"""A detector of which more is known than when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from soilpipe.background import Registration
from soilpipe.detect.base import Detections, Detector, Validation
from soilpipe.detect.near_misses import NearMiss, detect_nearly
from soilpipe.tiles import ScanImage


def known_to_be(detector: Detector, validation: Validation) -> Detector:
    """The same detector with this `validation`; it finds the same."""
    return detector if detector.info.validation == validation else _KnownDetector(detector, validation)


class _KnownDetector:
    def __init__(self, detector: Detector, validation: Validation) -> None:
        self._detector = detector
        self.info = replace(detector.info, validation=validation)

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As the detector itself."""
        return self._detector.detect(scan, references, registrations, threshold=threshold)

    def detect_nearly(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> tuple[Detections, list[NearMiss]]:
        """As the detector itself."""
        return detect_nearly(self._detector, scan, references, registrations, threshold=threshold)
