"""What an answer rests on: a detection beside the labelled crops that are nearest to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from soilpipe.analyses import read_analysis
from soilpipe.background import register_all
from soilpipe.classify.classifier import EXPLAINED_BY, Classifier, Neighbour
from soilpipe.classify.embedding import embed_boxes, longer_sides
from soilpipe.classify.examples import ClassifierError
from soilpipe.classify.identifying import CLASSIFIER
from soilpipe.classify.labelled_crops import thumbnail
from soilpipe.detections import read_detection_file
from soilpipe.ingest.receipts import read_receipt
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, open_image

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder

ANALYSES = "analyses"
_DETECTION_ID = re.compile(r"(?P<scan>.+)-(?P<analysis>[0-9a-f]{8})-(?P<number>[0-9]{4,})")


@dataclass(frozen=True)
class FoundDetection:
    """A row of a detection file, and what made the file. box (4,) float64, px of the scan at full resolution."""

    detection_id: str
    scan_id: str
    analysis_id: str
    box: np.ndarray
    row: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """A detection, what the classifier says of it, and its nearest labelled crops, nearest first.

    picture: of the detection's crop, JPEG, of `um_per_px`. alternatives: (taxon, probability), likeliest first.
    """

    detection: FoundDetection
    classifier: str
    taxon: str | None
    probability: float | None
    alternatives: tuple[tuple[str, float], ...]
    is_unknown: bool
    size_mm: float
    picture: bytes
    um_per_px: float
    neighbours: tuple[Neighbour, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, without the pictures."""
        found = self.detection
        return {
            "detection_id": found.detection_id,
            "scan_id": found.scan_id,
            "box": [round(float(side), 2) for side in found.box],
            "detected_as": found.row["taxon"],
            "score": found.row["score"],
            "classifier": self.classifier,
            "taxon": self.taxon,
            "probability": self.probability,
            "alternatives": [{"taxon": taxon, "probability": chance} for taxon, chance in self.alternatives],
            "is_unknown": self.is_unknown,
            "size_mm": round(self.size_mm, 3),
            "nearest": [
                {
                    "taxon": one.taxon,
                    "distance": round(one.distance, 4),
                    "scanner_id": one.source.scanner_id,
                    "captured_at": one.source.captured_at,
                    "scan": one.source.scan,
                    "box": list(one.source.box),
                }
                for one in self.neighbours
            ],
        }


def find_detection(store: Store, detection_id: str) -> FoundDetection:
    """The detection of this id. ClassifierError where it is no id, or no detection file of this store has it."""
    parts = _DETECTION_ID.fullmatch(detection_id)
    if parts is None:
        raise ClassifierError(
            f"{detection_id!r} is no detection id; one looks like DIAMS_A20_O-20240306T060000-1a2b3c4d-0f1e2d3c-0007 "
            "(column detection_id of series/detections)"
        )
    scan_id = parts["scan"]
    keys = [entry.key for entry in store.list(ANALYSES, ".json")]
    analyses = [key.rsplit("/", 1)[1].removesuffix(".json") for key in keys]
    for analysis_id in analyses:
        if not analysis_id.startswith(parts["analysis"]):
            continue
        try:
            file = read_detection_file(store, analysis_id, scan_id)
        except FileNotFoundError:
            continue
        for row in file.table.to_pylist():
            if row["detection_id"] == detection_id:
                box = np.array([row[side] for side in ("x_min", "y_min", "x_max", "y_max")], np.float64)
                return FoundDetection(detection_id, scan_id, analysis_id, box, row, file.metadata)
        raise ClassifierError(
            f"the detections of {scan_id} under analysis {analysis_id} have no {detection_id}: they are "
            f"{file.table.num_rows}, numbered from 0000"
        )
    raise ClassifierError(
        f"no detection file of this store holds {detection_id}: scan {scan_id} was not detected under an analysis that "
        f"begins with {parts['analysis']}. Take an id from series/detections (`soilpipe rebuild` makes it)"
    )


def classifier_of_row(store: Store, detection_id: str) -> str | None:
    """The version of the classifier that named a detection; None where the detector did it alone. ClassifierError as
    `find_detection`."""
    settings = read_analysis(store, find_detection(store, detection_id).analysis_id).settings
    named = settings.get(CLASSIFIER)
    return None if named is None else str(named["version"])


def explain(
    store: Store, detection_id: str, classifier: Classifier, encoder: Encoder, count: int = EXPLAINED_BY
) -> Explanation:
    """The `count` labelled crops nearest to a detection, with what the classifier says of it.

    The crop is read again with the references that the detection file names, those of them that still have pixels.
    ClassifierError where the scan has none any more, or the encoder is not the classifier's.
    """
    classifier.check_encoder(encoder.info)
    found = find_detection(store, detection_id)
    um_per_px = read_receipt(store, found.scan_id).um_per_px or float(found.metadata["um_per_px"])
    scan = _opened(store, found.scan_id, um_per_px)
    if scan is None:
        raise ClassifierError(
            f"the pixels of {found.scan_id} are no longer in the store {store.root}, so it cannot be shown. "
            "Restore its image.zarr, or choose a detection of a later scan"
        )
    named = [_opened(store, str(one["scan_id"]), um_per_px) for one in found.metadata.get("references", ())]
    references = [image for image in named if image is not None]
    embedding, pixels, scales, _ = embed_boxes(
        encoder, scan, references, register_all(scan, references), found.box[None]
    )
    sizes_mm = longer_sides(found.box[None]) * um_per_px / 1000
    answers = classifier.classify(embedding, sizes_mm)
    return Explanation(
        detection=found,
        classifier=classifier.version,
        taxon=answers.taxon[0],
        probability=float(answers.probability[0]) if answers.taxon[0] is not None else None,
        alternatives=answers.alternatives[0],
        is_unknown=bool(answers.is_unknown[0]),
        size_mm=float(sizes_mm[0]),
        picture=thumbnail(pixels[0]),
        um_per_px=float(scales[0]),
        neighbours=tuple(classifier.nearest(embedding[0], float(sizes_mm[0]), count)),
    )


def _opened(store: Store, scan_id: str, um_per_px: float) -> ScanImage | None:
    try:
        return open_image(store, scan_id, um_per_px)
    except FileNotFoundError:
        return None
