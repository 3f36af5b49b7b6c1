"""A detector whose findings a classifier names: what a run uses where a classifier is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from soilpipe.background import Registration
from soilpipe.classify.classifier import Classifier
from soilpipe.classify.embedding import embed_boxes, longer_sides
from soilpipe.detect.base import Detections, Detector, Identities, Validation
from soilpipe.detect.near_misses import NearMiss, detect_nearly
from soilpipe.tiles import ScanImage

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder

CLASSIFIER = "classifier"
"""The key of an analysis's settings that names the classifier and its encoder."""
STRENGTH: tuple[Validation, ...] = ("none", "simulated", "local")
DIGITS = 4  # of probabilities: what is beyond them depends on the number of threads


class IdentifyingDetector:
    """Finds what the detector finds, where it finds it; taxon, probability and alternatives are the classifier's.

    The analysis is told apart by `settings`, which name classifier and encoder; its taxa are the classifier's animals.
    What the classifier takes for background stays a detection, under that name, which no count includes. The references
    are registered for the crops also where the detector does without them. judged: how the classifier was; what stands
    behind the counts of a taxon is the weaker of both, since one finds the animals and the other names them.
    ClassifierError for another encoder.
    """

    def __init__(
        self, detector: Detector, classifier: Classifier, encoder: Encoder, judged: Validation = "none"
    ) -> None:
        classifier.check_encoder(encoder.info)
        self._detector, self._classifier, self._encoder = detector, classifier, encoder
        named = {"version": classifier.version, "encoder": classifier.encoder}
        self.info = replace(
            detector.info,
            taxa=tuple(taxon for taxon in classifier.classes if not classifier.is_background(taxon)),
            settings={**detector.info.settings, CLASSIFIER: named},
            validation=min(detector.info.validation, judged, key=STRENGTH.index),
            uses_difference=detector.info.uses_difference or encoder.info.uses_difference,
        )

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As the detector itself, under the names that it gives."""
        if not self._detector.info.uses_difference:
            references, registrations = (), ()
        return self._detector.detect(scan, references, registrations, threshold=threshold)

    def detect_nearly(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> tuple[Detections, list[NearMiss]]:
        """As `detect`, and what the detector nearly found."""
        if not self._detector.info.uses_difference:
            references, registrations = (), ()
        return detect_nearly(self._detector, scan, references, registrations, threshold=threshold)

    def identify(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        boxes: np.ndarray,
    ) -> Identities:
        """What the classifier says of boxes (n, 4), px at full resolution."""
        embeddings = embed_boxes(self._encoder, scan, references, registrations, boxes).embeddings
        answers = self._classifier.classify(embeddings, longer_sides(boxes) * scan.um_per_px / 1000)
        return Identities(
            taxa=answers.taxon,
            probability=tuple(
                None if taxon is None else round(float(chance), DIGITS)
                for taxon, chance in zip(answers.taxon, answers.probability, strict=True)
            ),
            alternatives=tuple(
                tuple({"taxon": taxon, "probability": round(chance, DIGITS)} for taxon, chance in others)
                for others in answers.alternatives
            ),
            is_unknown=tuple(answers.is_unknown.tolist()),
        )
