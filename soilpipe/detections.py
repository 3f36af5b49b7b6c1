"""Detection files: what one analysis found on one scan.

A file with the full schema and no row says "looked, found nothing". They are the truth: never changed once written,
except by the same analysis of the same scan, which gives the same bytes. They are sealed, since Parquet without a
checksum reads one flipped bit in ten as another number, and says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from soilpipe import layout
from soilpipe.errors import SoilpipeError
from soilpipe.parquet import from_parquet, to_parquet
from soilpipe.schemas import DETECTION_FILE
from soilpipe.seals import UNSEALED, is_damaged, sealed
from soilpipe.store import Store
from soilpipe.touched import touch_scan

METADATA_KEY = b"soilpipe"
NEAR_MISSES = "near_misses"
"""In the metadata: [x, y, gap] of what was nearly found, px at full resolution, and by how much its score was too low.
Files of earlier releases lack it."""
REMEDY = "`soilpipe verify` names the command that detects the scan again"


class DetectionFileError(SoilpipeError):
    """A detection file cannot be read, or does not have the schema."""


class DamagedDetectionsError(DetectionFileError):
    """A detection file that is there is not what was written. ``what``: what is wrong with it, without a remedy."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(key, what)
        self.key = key
        self.what = what

    def __str__(self) -> str:
        return f"{self.key} {self.what}; {REMEDY}"


class DetectionFile(NamedTuple):
    """Rows by schema ``DETECTION_FILE``, sorted by (y_min, x_min), and what made them: references, scan size."""

    table: pa.Table
    metadata: dict[str, Any]


def detection_table(
    scan_id: str,
    analysis_id: str,
    *,
    boxes: np.ndarray,
    scores: np.ndarray,
    taxa: Sequence[str | None],
    ranks: Sequence[str | None],
    stages: Sequence[str | None] | None = None,
    probabilities: Sequence[float | None] | None = None,
    alternatives: Sequence[Sequence[Mapping[str, Any]] | None] | None = None,
    is_unknown: Sequence[bool] | None = None,
    length_mm: Iterable[float | None] | None = None,
    width_mm: Iterable[float | None] | None = None,
    area_mm2: Iterable[float | None] | None = None,
) -> pa.Table:
    """A table by schema ``DETECTION_FILE``, sorted and numbered, from columns in any order of rows.

    ``boxes`` (n, 4) float32 px x_min y_min x_max y_max, full resolution, half-open; ``scores`` (n,) float32. Sizes that
    are not finite become null.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    order = np.lexsort((np.asarray(scores, np.float32), boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1]))

    def column(values: Iterable[Any] | None, default: Any = None) -> list[Any]:
        given = [default] * n if values is None else list(values)
        if len(given) != n:
            raise ValueError(f"{len(given)} values for {n} boxes")
        return [given[i].item() if isinstance(given[i], np.generic) else given[i] for i in order]

    def size(values: Iterable[float | None] | None) -> list[float | None]:
        return [v if v is not None and np.isfinite(v) else None for v in column(values)]

    columns = {
        "detection_id": [f"{scan_id}-{analysis_id[:8]}-{i:04d}" for i in range(n)],
        **{name: boxes[order, k] for k, name in enumerate(("x_min", "y_min", "x_max", "y_max"))},
        "score": np.asarray(scores, np.float32).reshape(n)[order],
        "taxon": column(taxa),
        "rank": column(ranks),
        "stage": column(stages),
        "probability": column(probabilities),
        "alternatives": [list(a) if a is not None else None for a in column(alternatives)],
        "is_unknown": column(is_unknown, False),
        "length_mm": size(length_mm),
        "width_mm": size(width_mm),
        "area_mm2": size(area_mm2),
    }
    return pa.table([pa.array(columns[field.name], type=field.type) for field in DETECTION_FILE], schema=DETECTION_FILE)


def write_detection_file(
    store: Store, analysis_id: str, scan_id: str, table: pa.Table, metadata: Mapping[str, Any]
) -> str:
    """Write ``table`` (schema ``DETECTION_FILE``, sorted by y_min then x_min) and return its key."""
    if table.schema.names != DETECTION_FILE.names:
        raise DetectionFileError(
            f"detections of {scan_id}: columns {table.schema.names}, expected {DETECTION_FILE.names}; "
            "build the table with detection_table()"
        )
    table = table.cast(DETECTION_FILE)
    y, x = (table[name].to_numpy() for name in ("y_min", "x_min"))
    if not np.array_equal(np.lexsort((np.arange(len(y)), x, y)), np.arange(len(y))):
        raise DetectionFileError(f"detections of {scan_id}: rows are not sorted by y_min, x_min; use detection_table()")
    told = json.dumps(
        {**metadata, "scan_id": scan_id, "analysis_id": analysis_id},
        sort_keys=True,
        allow_nan=False,
        ensure_ascii=False,
    )
    key = layout.detection_file(analysis_id, scan_id)
    touch_scan(store, scan_id)
    data = to_parquet(table, {METADATA_KEY.decode(): told, **UNSEALED}, small=True)
    store.write_if_changed(key, sealed(data))
    return key


def read_detection_file(store: Store, analysis_id: str, scan_id: str) -> DetectionFile:
    """Read one file and check its schema.

    Raises FileNotFoundError when the scan was not analysed, DamagedDetectionsError when the file is damaged or foreign.
    """
    key = layout.detection_file(analysis_id, scan_id)
    return parse_detection_file(store.read_bytes(key), key)


def parse_detection_file(data: bytes, key: str) -> DetectionFile:
    """The file's table and metadata; ``key`` is where it lies. Columns of later releases are left out.

    Raises DamagedDetectionsError when it is not, to the byte, what was written (files from before the seal: when it
    cannot be read), or holds what another analysis or scan has there.
    """
    if is_damaged(data):
        raise DamagedDetectionsError(key, "is not as it was written: its seal is broken")
    try:
        table = from_parquet(data)
        metadata = json.loads((table.schema.metadata or {})[METADATA_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DamagedDetectionsError(key, f"is not a whole detection file ({type(error).__name__}: {error})") from error
    absent = [f.name for f in DETECTION_FILE if f.name not in table.schema.names]
    if absent:
        raise DamagedDetectionsError(key, f"lacks the columns {', '.join(absent)}")
    try:
        if not table.schema.equals(DETECTION_FILE):
            table = table.select(DETECTION_FILE.names).cast(DETECTION_FILE)
    except (pa.ArrowException, ValueError) as error:
        raise DamagedDetectionsError(key, f"does not have the columns' types ({error})") from error
    nulls = [f.name for f in DETECTION_FILE if not f.nullable and table[f.name].null_count]
    if nulls:
        raise DamagedDetectionsError(key, f"has nulls in {', '.join(nulls)}")
    if not isinstance(metadata, dict):
        raise DamagedDetectionsError(key, "does not tell what made it")
    analysis_id, scan_id = metadata.get("analysis_id"), metadata.get("scan_id")
    _, lies_under, *_, name = key.split("/")
    if (analysis_id or lies_under, f"{scan_id}.parquet" if scan_id else name) != (lies_under, name):
        raise DamagedDetectionsError(key, f"holds the detections of scan {scan_id} under analysis {analysis_id}")
    return DetectionFile(table, metadata)


def detected_scans(store: Store, analysis_id: str, scanner_id: str) -> frozenset[str]:
    """The scans of a scanner that have a detection file under this analysis."""
    entries = store.list(layout.detections_prefix(analysis_id, scanner_id), ".parquet")
    return frozenset(entry.key.rsplit("/", 1)[1].removesuffix(".parquet") for entry in entries)
