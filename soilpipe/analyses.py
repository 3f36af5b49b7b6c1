"""Analyses: what made a set of detections, named by its hash; and publications: which analysis counts from when.

A series shows, for every scan, the analysis published for the time of that scan. Promoting a model publishes its
analysis from the next scan on; nothing older is made again, and older counts keep their analysis_id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.detect.base import DetectorInfo, Validation
from soilpipe.detections import detected_scans
from soilpipe.errors import SoilpipeError
from soilpipe.records import Records
from soilpipe.store import Store, canonical_json

ALGORITHM_VERSION = "6"
"""Raised by whoever changes what the same model finds on the same scan: registration, difference, tiling, measuring."""

BEGINNING = datetime.min.replace(tzinfo=UTC)


class AnalysisError(SoilpipeError):
    """An analysis or publication in the store cannot be used."""


class Analysis(FrozenModel):
    """Everything that decides what is found on a scan, besides the scan and its references.

    validation: what stood behind the detector when it was loaded for these scans. It is part of the id: an evaluation
    that makes a version `local` (`evaluations`) begins an analysis of its own, which is published from the next scan
    on, and the counts of the scans before keep what was known then.
    """

    detector: str
    detector_name: str
    threshold: float
    taxa: tuple[str, ...]
    validation: Validation
    reference_lags_h: tuple[float, ...]
    algorithm_version: str
    settings: dict[str, Any]

    @property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of its canonical JSON."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class Publication(FrozenModel):
    """From ``from_`` on (None: from the beginning), a scanner's series shows ``analysis_id``, until a later one."""

    scanner_id: str
    analysis_id: str
    from_: AwareDatetime | None = Field(default=None, alias="from")
    sequence: int = Field(ge=0)

    @property
    def order(self) -> tuple[datetime, int, str]:
        """Later in this order wins."""
        return self.from_ or BEGINNING, self.sequence, self.analysis_id


PUBLICATIONS = Records("publications", Publication, "a publication", AnalysisError)


def analysis_of(info: DetectorInfo) -> Analysis:
    """The analysis that a detector makes, with today's algorithm."""
    from soilpipe.background import LAGS

    return Analysis(
        detector=info.version,
        detector_name=info.name,
        threshold=float(info.threshold),
        taxa=tuple(info.taxa),
        validation=info.validation,
        reference_lags_h=tuple(lag.total_seconds() / 3600 for lag in LAGS),
        algorithm_version=ALGORITHM_VERSION,
        # Through JSON, so that what is hashed here is what is read back later (tuples, numpy-free, string keys).
        settings=json.loads(json.dumps({"um_per_px": info.um_per_px, **_plain(info.settings)}, allow_nan=False)),
    )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): _plain(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def write_analysis(store: Store, analysis: Analysis) -> str:
    """Describe the analysis in the store; its id."""
    store.write_if_changed(layout.analysis(analysis.id), canonical_json(analysis.model_dump(mode="json")))
    return analysis.id


def read_analysis(store: Store, analysis_id: str) -> Analysis:
    """The description of an analysis. Raises AnalysisError when it is absent, damaged or does not hash to its id."""
    key = layout.analysis(analysis_id)
    try:
        analysis = Analysis.model_validate(store.read_json(key))
    except FileNotFoundError as error:
        raise AnalysisError(f"the store has no {key}, which a publication names; restore it from a backup") from error
    except ValidationError as error:
        raise AnalysisError(f"{key} is not an analysis ({error.error_count()} errors); was it edited?") from error
    if analysis.id != analysis_id:
        raise AnalysisError(f"{key} describes analysis {analysis.id}, not {analysis_id}; it was edited later")
    return analysis


def publish(store: Store, scanner_id: str, analysis_id: str, from_: datetime | None) -> Publication:
    """Let the scanner's series show ``analysis_id`` from ``from_`` on; nothing happens when it does already."""
    before = publications(store, scanner_id)
    if before and before[-1].analysis_id == analysis_id and before[-1].order[0] <= (from_ or BEGINNING):
        return before[-1]
    return _write_publication(store, scanner_id, analysis_id, from_, 1 + max((p.sequence for p in before), default=-1))


def _write_publication(
    store: Store, scanner_id: str, analysis_id: str, from_: datetime | None, sequence: int
) -> Publication:
    publication = Publication.model_validate(
        {"scanner_id": scanner_id, "analysis_id": analysis_id, "from": from_, "sequence": sequence}
    )
    # The name holds number and analysis: two runs that publish the same at once write one record, with the same bytes.
    PUBLICATIONS.add(store, f"{scanner_id}/{sequence:06d}-{analysis_id}", publication)
    return publication


def publish_between(store: Store, scanner_id: str, analysis_id: str, since: datetime, until: datetime | None) -> None:
    """Let the scanner's series show ``analysis_id`` for scans captured at or after ``since`` and before ``until``.

    What holds at ``until`` and later stays (None: there is nothing later). Records are added and none is changed. They
    come latest first, so that who is killed in between has published a later part of the period, and no more than it.
    """
    before = publications(store, scanner_id)
    inner = {p.from_ for p in before if p.from_ is not None and since < p.from_ and (until is None or p.from_ < until)}
    wanted = [(begin, analysis_id) for begin in sorted({since, *inner}, reverse=True)]
    if until is not None and not any(p.from_ == until for p in before):
        after = published_analysis(before, until)
        wanted = [*([(until, after)] if after is not None and after != analysis_id else []), *wanted]
    sequence = max((p.sequence for p in before), default=-1)
    for begin, shown in wanted:
        if begin == until or published_analysis(before, begin) != analysis_id:
            sequence += 1
            _write_publication(store, scanner_id, shown, begin, sequence)


def publications(store: Store, scanner_id: str) -> list[Publication]:
    """A scanner's publications; where several hold for a time, the last of this list counts."""
    return sorted(PUBLICATIONS.all(store, scanner_id), key=lambda p: p.order)


def published_analysis(published: Sequence[Publication], at: datetime) -> str | None:
    """The analysis that counts for a scan captured at ``at`` (for a slot without a scan: the slot's time)."""
    holding = [p for p in published if p.from_ is None or p.from_ <= at]
    return max(holding, key=lambda p: p.order).analysis_id if holding else None


def publish_current(
    store: Store, scanner_id: str, analysis_id: str, scans: Iterable[tuple[str, datetime]]
) -> list[Publication]:
    """Publish the analysis in use now, and give the scanner's publications.

    ``scans``: (scan_id, captured_at) of every accepted scan. The first analysis of a scanner holds from the beginning;
    a later one from the first scan after those that the one before has detected. With no such scan yet, nothing is
    published, and the run that brings it will.
    """
    published = publications(store, scanner_id)
    if not published:
        publish(store, scanner_id, analysis_id, None)
    elif published[-1].analysis_id != analysis_id:
        last = published[-1]
        done = detected_scans(store, last.analysis_id, scanner_id)
        held = sorted((at, scan_id) for scan_id, at in scans if last.from_ is None or at >= last.from_)
        newest_done = max((at for at, scan_id in held if scan_id in done), default=None)
        waiting = [at for at, _ in held if newest_done is None or at > newest_done]
        if not waiting:
            return published
        publish(store, scanner_id, analysis_id, last.from_ if newest_done is None else waiting[0])
    else:
        return published
    return publications(store, scanner_id)
