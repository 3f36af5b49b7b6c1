"""The last clause of the gate, for bundles: what another encoder and classifier would make of the last seven days.

The boxes are those that were published; only their names change. Both bundles name them, and where the counts of a
common taxon, with all that is in it, or of what is called unknown differ by more than a quarter, the series would jump
for no reason of the field's: a person decides, as with detectors (`soilpipe.last_week`), and as where too few scans of
these days were detected to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from soilpipe.analyses import Analysis, publications, published_analysis, read_analysis
from soilpipe.background import register_all
from soilpipe.bundles.enough import is_animal
from soilpipe.bundles.promotion import Bundle, bundle_in_use
from soilpipe.classify.embedding import embed_boxes, longer_sides
from soilpipe.classify.identifying import CLASSIFIER as NAMED_BY
from soilpipe.config import Project
from soilpipe.decisions import Verdict
from soilpipe.detections import DetectionFile, read_detection_file
from soilpipe.encoders import encoder_at
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.receipts import read_receipt
from soilpipe.last_week import WeekCounts, last_scans, told_by_both, with_above
from soilpipe.models import model_path
from soilpipe.promotion import with_last_week
from soilpipe.roles import CLASSIFIER
from soilpipe.store import Store
from soilpipe.taxonomy import Taxonomy
from soilpipe.tiles import open_image

if TYPE_CHECKING:
    from soilpipe.classify.classifier import Classifier
    from soilpipe.encoder.encoder import Encoder

UNKNOWN = "unknown"
"""Beside the taxa: how many detections were called unknown."""
Progress = Callable[[int, int], None]


class Named(NamedTuple):
    """What some boxes are called: a taxon each, None where nothing is said, and whether it is called unknown."""

    taxa: Sequence[str | None]
    unknown: Sequence[bool]


@dataclass(frozen=True)
class _Loaded:
    encoder: Encoder
    classifier: Classifier

    @property
    def animals(self) -> tuple[str, ...]:
        return tuple(taxon for taxon in self.classifier.classes if not self.classifier.is_background(taxon))


def with_week(
    project: Project,
    store: Store,
    verdict: Verdict,
    candidate: Bundle,
    *,
    now: datetime,
    device: str | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """A verdict that passes, once the bundle has named the last days' detections beside what names them now; where the
    counts would jump, or where there are too few to tell, it is undecided, and a person may force it. One that doesn't
    pass stays as it is."""
    if not verdict.passed:
        return verdict
    counts = bundle_week(project, store, candidate, bundle_in_use(store), now=now, device=device, progress=progress)
    after = with_last_week(verdict, counts)
    return after if after.passed else replace(after, undecided=True)


def bundle_week(
    project: Project,
    store: Store,
    candidate: Bundle,
    present: Bundle | None,
    *,
    now: datetime,
    device: str | None = None,
    progress: Progress | None = None,
) -> WeekCounts:
    """What both call the detections that are published for the last scans. Nothing is written.

    present: the bundle in use; None where the detector's own names are. Scans without a published detection file, or
    without their pixels or those of the references it names, are skipped and counted. AnalysisError, and
    DamagedDetectionsError of a file that is not as it was written.
    """
    new = _load(store, candidate, device)
    old = None if present is None else _load(store, present, device)
    last = last_scans(project, store, now)
    scans = last.ids
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    theirs: set[str] = set() if old is None else set(old.animals)
    compared = 0
    for number, scan_id in enumerate(scans, start=1):
        published = _published(project, store, scan_id)
        if published is not None:
            analysis, file = published
            both = _named_by_both(store, scan_id, analysis, file, new, old)
            if both is not None:
                compared += 1
                theirs |= set() if old is not None else set(analysis.taxa)
                for counted, named in zip(counts, both, strict=True):
                    counted.update(_totals(named, project.taxonomy))
        if progress is not None:
            progress(number, len(scans))
    taxa = [*told_by_both(new.animals, theirs, project.taxonomy), *([UNKNOWN] if old is not None else [])]
    ours, rivals = ({taxon: counted[taxon] for taxon in taxa} for counted in counts)
    return WeekCounts(compared, len(scans) - compared, ours, rivals, last.usual)


def _load(store: Store, bundle: Bundle, device: str | None) -> _Loaded:
    from soilpipe.classify.weights import load_classifier

    encoder = encoder_at(store, bundle.encoder, device)
    classifier = load_classifier(model_path(store, CLASSIFIER, bundle.classifier))
    classifier.check_encoder(encoder.info)
    return _Loaded(encoder, classifier)


def _published(project: Project, store: Store, scan_id: str) -> tuple[Analysis, DetectionFile] | None:
    scanner = project.scanner(read_receipt(store, scan_id).scanner_id)
    captured_at = scan_times(store, scanner, [scan_id])[scan_id]
    analysis_id = published_analysis(publications(store, scanner.id), captured_at)
    if analysis_id is None:
        return None
    try:
        return read_analysis(store, analysis_id), read_detection_file(store, analysis_id, scan_id)
    except FileNotFoundError:
        return None  # not detected yet


def _named_by_both(
    store: Store, scan_id: str, analysis: Analysis, file: DetectionFile, new: _Loaded, old: _Loaded | None
) -> tuple[Named, Named] | None:
    """What the candidate and what names them now say of a scan's boxes; None where the pixels are gone."""
    named_by = (analysis.settings.get(NAMED_BY) or {}).get("version")
    as_published = named_by == (None if old is None else old.classifier.version)
    if old is None and not as_published:
        return None  # named by a classifier that was taken back: what the detector would say is not known
    rows = file.table
    there = Named(rows["taxon"].to_pylist(), [bool(one) for one in rows["is_unknown"].to_pylist()])
    if not rows.num_rows:
        return there, there
    boxes = np.stack([rows[side].to_numpy() for side in ("x_min", "y_min", "x_max", "y_max")], axis=1)
    scale = read_receipt(store, scan_id).um_per_px or new.encoder.info.um_per_px
    try:
        scan = open_image(store, scan_id, scale)
        references = [open_image(store, one["scan_id"], scale) for one in file.metadata["references"]]
    except FileNotFoundError:
        return None
    registrations = register_all(scan, references)

    def say(bundle: _Loaded) -> Named:
        embeddings = embed_boxes(bundle.encoder, scan, references, registrations, boxes).embeddings
        answers = bundle.classifier.classify(embeddings, longer_sides(boxes) * scan.um_per_px / 1000)
        return Named(answers.taxon, answers.is_unknown.tolist())

    return say(new), there if as_published or old is None else say(old)


def _totals(named: Named, taxonomy: Taxonomy) -> Counter[str]:
    """Detections of each animal, those of the taxa in it included, and those called unknown."""
    totals: Counter[str] = Counter({UNKNOWN: sum(named.unknown)})
    for taxon in named.taxa:
        if taxon is not None and is_animal(taxon, taxonomy):
            totals.update(with_above(taxon, taxonomy))
    return totals
