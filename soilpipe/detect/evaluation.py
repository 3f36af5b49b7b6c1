"""What a detector is worth on some labelled images, as figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from soilpipe.detect.claims import Interval
from soilpipe.detect.figures import Calibration, CountFigures, Froc, SizeFigures
from soilpipe.detect.population import PopulationFigures
from soilpipe.detect.precision import Precisions
from soilpipe.detect.tally import JudgedImage


@dataclass(frozen=True)
class TaxonFigures:
    """One taxon with all below it; only detections that name it count. Precision, recall, F1, false alarms and counts
    at work, IoU 0.5; per_100cm2 by the area of the images."""

    animals: int
    precisions: Precisions
    ap50_interval: Interval | None
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    false_alarms: int
    false_alarms_per_image: float
    false_alarms_per_100cm2: float
    counts: CountFigures


@dataclass(frozen=True)
class Evaluation:
    """What a detector is worth on some labelled images; `as_dict` makes JSON of it.

    any_taxon: an animal that is found is right whatever it is called. taxa, by_taxon: by taxon, with what lies below
    it; mean_of_taxa: their mean. These precisions are COCO's, all others are at IoU 0.5 and agree with it at AP50.

    precision, recall, f1 and centre_f1 (either centre in the other box) are of the detections at work, any taxon: those
    at or above `threshold`, or the one in `thresholds` that their taxon has of its own. f1_with_taxon: only the right
    taxon counts. detections: how many are at work. count_error: mean absolute difference per image between them and the
    labels; count_error_relative: sum of those differences over the number of
    labels, None without labels; counts: more of it, per unit. moving: animals at their place for the first time,
    resting: there in three scans before or more; the other animals are ignored there.

    by_length_px, by_length_mm: by the longer side of the box; shortest_found_mm: from which length on recall is 0.5.
    by_dpi: for each dpi, as "1200", by length in mm; empty where all images have the same.
    um_per_px_assumed: some images name no dpi, so that mm and cm² rest on the 1200 dpi that were assumed (or on the dpi
    that was given for them).

    intervals: by figure, the middle 95 % of its values when the `units` are drawn again with replacement, 1000 times,
    with a fixed seed. A unit is an image, or a block of the single image; `blocks_px` is the side of one.
    population: the same figures for all tiles of the project, where those judged on are a random sample with known
    chances; None elsewhere.
    labels_sha256: of the labels and images judged on, so that two evaluations can be known to rest on the same.
    judged: detections beside labels, image by image; not in the JSON.
    """

    detector: str
    version: str
    labels: str
    labels_sha256: str
    simulated: bool
    images: int
    images_with_difference: int
    difference: bool
    threshold: float
    thresholds: dict[str, float]
    any_taxon: Precisions
    mean_of_taxa: Precisions
    taxa: dict[str, Precisions]
    by_taxon: dict[str, TaxonFigures]
    moving: Precisions
    resting: Precisions
    precision: float
    recall: float
    f1: float
    centre_f1: float
    f1_with_taxon: float
    detections: int
    false_alarms: int
    area_cm2: float
    um_per_px_assumed: bool
    count_error: float
    count_error_relative: float | None
    counts: CountFigures
    by_length_px: tuple[SizeFigures, ...]
    by_length_mm: tuple[SizeFigures, ...]
    shortest_found_mm: float | None
    froc: Froc
    curve: dict[str, tuple[float, ...]]
    calibration: Calibration
    units: str
    unit_count: int
    unit_names: tuple[str, ...]
    blocks_px: int | None
    seed: int
    intervals: dict[str, Interval | None]
    population: PopulationFigures | None = None
    by_dpi: dict[str, tuple[SizeFigures, ...]] = field(default_factory=dict)
    judged: tuple[JudgedImage, ...] = field(repr=False, default=())

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        plain = replace(self, judged=())
        return {part.name: _plain(getattr(plain, part.name)) for part in fields(plain) if part.name != "judged"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else _listed(value)


def _listed(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
