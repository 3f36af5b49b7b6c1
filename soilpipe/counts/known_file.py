"""What is known of a scanner's truth, as the bytes of one object: a digest, then a Parquet file.

It is no truth. Whatever is not as this code wrote it counts as absent, and everything is read again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import pyarrow as pa

from soilpipe import layout
from soilpipe.code_digest import code_digest
from soilpipe.ingest.quarantine import Decision, Quarantined
from soilpipe.ingest.receipts import KnownScan
from soilpipe.parquet import from_parquet, to_parquet
from soilpipe.store import Store

_FIELDS = {
    "scan_id": pa.string(),
    "device_time": pa.timestamp("us"),
    "source_name": pa.string(),
    "source_modified": pa.float64(),
    "dpi": pa.float64(),
    "width_px": pa.int64(),
    "height_px": pa.int64(),
    "told_quality": pa.string(),
}
_DETECTED = "detected "
_DIGEST_BYTES = 32


@dataclass
class KnownYear:
    """One device-clock year: its scans, the mark of each receipt, and, by analysis, the marks of detection files.

    ``checked``: when its objects were last listed, epoch seconds.
    """

    checked: float
    scans: dict[str, KnownScan] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    detected: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class KnownRefusals:
    """Everything in quarantine, and every decision; ``checked`` as above."""

    checked: float
    refused: list[Quarantined] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


@dataclass
class Knowledge:
    """All that is known of a scanner's truth."""

    years: dict[int, KnownYear]
    refusals: KnownRefusals


def load(store: Store, scanner_id: str) -> Knowledge | None:
    """What is known; None when nothing is, or it was written by other code or damaged."""
    try:
        data = store.read_bytes(layout.known_truth(scanner_id))
    except FileNotFoundError:
        return None
    payload = data[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != data[:_DIGEST_BYTES]:
        return None
    try:
        table = from_parquet(payload)
        told = json.loads((table.schema.metadata or {})[b"known"])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return _parsed(table, told) if told["code"] == code_digest() else None


def save(store: Store, scanner_id: str, known: Knowledge) -> None:
    """Keep it for the next run."""
    payload = _table(known)
    store.write_bytes(layout.known_truth(scanner_id), hashlib.sha256(payload).digest() + payload)


def _table(known: Knowledge) -> bytes:
    scans = [scan for _, year in sorted(known.years.items()) for scan in year.scans.values()]
    columns = {name: pa.array([getattr(scan, name) for scan in scans], kind) for name, kind in _FIELDS.items()}
    columns["mark"] = pa.array(
        [mark for _, year in sorted(known.years.items()) for mark in year.marks.values()], pa.string()
    )
    for analysis_id in sorted({a for year in known.years.values() for a in year.detected}):
        columns[_DETECTED + analysis_id] = pa.array(
            [
                year.detected.get(analysis_id, {}).get(scan_id)
                for _, year in sorted(known.years.items())
                for scan_id in year.scans
            ],
            pa.string(),
        )
    told = {
        "code": code_digest(),
        "years": {
            year: {"checked": of_year.checked, "scans": len(of_year.scans), "analyses": sorted(of_year.detected)}
            for year, of_year in sorted(known.years.items())
        },
        "checked": known.refusals.checked,
        "refused": [refused.model_dump(mode="json") for refused in known.refusals.refused],
        "decisions": [decision.model_dump(mode="json") for decision in known.refusals.decisions],
    }
    return to_parquet(pa.table(columns), {"known": json.dumps(told)})


def _parsed(table: pa.Table, told: dict) -> Knowledge:
    columns = {name: table[name].to_pylist() for name in table.schema.names}
    scans = [KnownScan(*fields) for fields in zip(*(columns[name] for name in _FIELDS), strict=True)]
    years: dict[int, KnownYear] = {}
    begin = 0
    for year, of_year in told["years"].items():
        end = begin + of_year["scans"]
        mine = scans[begin:end]
        ids = [scan.scan_id for scan in mine]
        years[int(year)] = KnownYear(
            checked=of_year["checked"],
            scans=dict(zip(ids, mine, strict=True)),
            marks=dict(zip(ids, columns["mark"][begin:end], strict=True)),
            detected={
                analysis_id: {
                    scan_id: mark
                    for scan_id, mark in zip(ids, columns[_DETECTED + analysis_id][begin:end], strict=True)
                    if mark is not None
                }
                for analysis_id in of_year["analyses"]
            },
        )
        begin = end
    refusals = KnownRefusals(
        checked=told["checked"],
        refused=[Quarantined.model_validate(one) for one in told["refused"]],
        decisions=[Decision.model_validate(one) for one in told["decisions"]],
    )
    return Knowledge(years, refusals)
