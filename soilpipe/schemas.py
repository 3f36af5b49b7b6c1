"""Every table's pyarrow schema, with a description and a unit in the metadata of each field.

Rules (they keep old files readable in pandas, DuckDB and R): a new column is added at the end and is nullable; anything
else is a new ``SCHEMA_VERSION``. Times are UTC, microseconds. Ids are strings. A column that is not nullable is the
writer's promise, and pyarrow refuses to write a null into it.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "1"

TIME = pa.timestamp("us", tz="UTC")
_ALTERNATIVE = pa.struct([pa.field("taxon", pa.string()), pa.field("probability", pa.float32())])

STATES = ("observed", "late", "pending", "missing", "quarantined")
CHANGES = ("new", "persistent", "stationary")
REVIEWS = ("none", "confirmed", "corrected", "rejected")
VALIDATIONS = ("none", "simulated", "local")


def _list(kind: pa.DataType) -> pa.DataType:
    # "element" is Parquet's own name for what a list holds; under pyarrow's, "item", a table read back is another one.
    return pa.list_(pa.field("element", kind))


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", *, required: bool = False) -> pa.Field:
    metadata = {b"description": description.encode()}
    if unit:
        metadata[b"unit"] = unit.encode()
    return pa.field(name, kind, nullable=not required, metadata=metadata)


def _schema(table: str, *fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={b"schema_version": SCHEMA_VERSION.encode(), b"table": table.encode()})


def units(schema: pa.Schema) -> dict[str, str]:
    """The unit of every field that has one."""
    return {f.name: f.metadata[b"unit"].decode() for f in schema if f.metadata and b"unit" in f.metadata}


def descriptions(schema: pa.Schema) -> dict[str, str]:
    """What every field means, in a sentence."""
    return {f.name: f.metadata[b"description"].decode() for f in schema}


_SITE = _field("site_id", pa.string(), "the place", required=True)
_SCANNER = _field("scanner_id", pa.string(), "the device", required=True)
_SLOT = _field(
    "slot", TIME, "the expected time of the scan; for irregular scanners the scan's own time", "UTC", required=True
)
_STATE = _field(
    "state",
    pa.string(),
    "observed; late (observed, but long after its slot); pending (may still come); missing; quarantined (a file was "
    "refused, or two files claim the slot, and nobody has decided yet)",
    required=True,
)
_DPI = _field(
    "dpi", pa.float64(), "resolution of the scan; counts at different dpi must not be pooled", "dots per inch"
)

SLOTS = _schema(
    "slots",
    _SITE,
    _SCANNER,
    _SLOT,
    _STATE,
    _field("scan_id", pa.string(), "the scan that took the slot; null without one"),
    _field("captured_at", TIME, "when the scan was taken: the device's clock, mended by the project file", "UTC"),
    _field("delay_s", pa.float64(), "captured_at minus slot; negative when the scan came before its slot", "s"),
    _DPI,
    _field("width_px", pa.int32(), "width of the scan as stored in the file", "px"),
    _field("height_px", pa.int32(), "height of the scan as stored in the file", "px"),
    _field("window_cm2", pa.float64(), "area of the scanner's window, from the project file", "cm2"),
    _field("usable_fraction", pa.float64(), "share of the window in which animals can be seen", "1"),
    _field("sharpness", pa.float64(), "sharpness of the scan; comparable within one scanner and dpi only", "1"),
    _field("reason", pa.string(), "why there is no count here, or why there are doubts; null when all is well"),
    _field("level_mean", pa.float64(), "mean grey level of the window, 0 to 255: the exposure", "1"),
    _field("saturated_fraction", pa.float64(), "share of the pixels at the sensor's upper end", "1"),
    _field("flat_rows", pa.int32(), "rows that are one colour from side to side, of runs of 16 and more", "px"),
    _field(
        "relative_detail",
        pa.float64(),
        "fine detail (below 0.34 mm) relative to the level; fog and loss of focus lower it, exposure does not; null "
        "where the window is too dark to tell, and when the scan's receipt is from before it",
        "1",
    ),
    _field(
        "references_used",
        pa.int32(),
        "earlier scans that the scan was compared with when it was detected; 0: fewer than two could be used, so it "
        "was compared with nothing, and more animals are missed (reason says why); null without detections, with a "
        "detector that compares nothing, and when the detection file does not tell",
        "scans",
    ),
)

_BOX = tuple(
    _field(
        name, pa.float32(), f"{what} of the box, in the file's frame at full resolution, half-open", "px", required=True
    )
    for name, what in (
        ("x_min", "left side"),
        ("y_min", "upper side"),
        ("x_max", "right side"),
        ("y_max", "lower side"),
    )
)
_SCORE = _field("score", pa.float32(), "the detector's score; comparable within one analysis only", "1", required=True)
_TAXON = _field("taxon", pa.string(), "the taxon; null when nothing can be said")
_RANK = _field("rank", pa.string(), "rank of the taxon")
_IDENTITY = (
    _field("stage", pa.string(), "life stage, such as larva; null when not told"),
    _field("probability", pa.float32(), "calibrated probability of the taxon; null without a classifier", "1"),
    _field("alternatives", _list(_ALTERNATIVE), "other taxa it may be, with probabilities, likeliest first"),
    _field("is_unknown", pa.bool_(), "it is far from everything the classifier knows", required=True),
)
_SIZE = (
    _field(
        "length_mm", pa.float32(), "longer side of the animal's minimum-area rectangle; null when not measured", "mm"
    ),
    _field("width_mm", pa.float32(), "shorter side of the animal's minimum-area rectangle", "mm"),
    _field("area_mm2", pa.float32(), "area of the animal's silhouette", "mm2"),
)
_DETECTION_ID = _field("detection_id", pa.string(), "<scan_id>-<first 8 of analysis_id>-<number>", required=True)

DETECTION_FILE = _schema("detection_file", _DETECTION_ID, *_BOX, _SCORE, _TAXON, _RANK, *_IDENTITY, *_SIZE)

DETECTIONS = _schema(
    "detections",
    _DETECTION_ID,
    _field("scan_id", pa.string(), "the scan it was found on", required=True),
    _SITE,
    _SCANNER,
    _SLOT,
    *_BOX,
    _SCORE,
    _TAXON,
    _RANK,
    *_IDENTITY,
    _field(
        "change",
        pa.string(),
        "new: nothing of its kind was at this place in the 11 scans before; persistent: something was; stationary: it "
        "was there, scan after scan, in 12 consecutive scans; null when no earlier scan can be compared (the first "
        "one, or the first under another dpi or analysis)",
    ),
    *_SIZE,
    _field("review", pa.string(), "what a person said: none, confirmed, corrected, rejected", required=True),
    _field("analysis_id", pa.string(), "what made it; see analyses/ in the store", required=True),
    _field(
        "is_masked",
        pa.bool_(),
        "its centre lies in the part of the window that is masked on this scan: it is not counted; null when the "
        "scan's receipt is from before the mask",
    ),
)

_NO_AUDIT = "null until the project has an audited random sample"

COUNTS = _schema(
    "counts",
    _SITE,
    _SCANNER,
    _SLOT,
    _field("date_local", pa.date32(), "the slot's date in the scanner's time zone", required=True),
    _field("taxon", pa.string(), "a taxon that the analysis can report, or one that holds such a taxon", required=True),
    _RANK,
    _STATE,
    _field(
        "n",
        pa.int32(),
        "individuals told to be exactly this taxon; null unless the slot was observed or late, analysed, and at least "
        "half its window usable: a gap is not a zero",
        "individuals",
    ),
    _field("n_total", pa.int32(), "individuals of this taxon and of all taxa in it; null where n is", "individuals"),
    _field(
        "n_new",
        pa.int32(),
        "of n_total, those that the scans before do not show at this place; null unless the slot before was observed, "
        "at the same dpi and under the same analysis",
        "individuals",
    ),
    _field(
        "n_stationary",
        pa.int32(),
        "of n_total, those at the same place in 12 consecutive scans: resting, dead, or not an animal",
        "individuals",
    ),
    _field("expected_n", pa.float64(), f"n_total corrected for the detector's errors; {_NO_AUDIT}", "individuals"),
    _field("n_low", pa.float64(), f"lower end of the 95 % interval of expected_n; {_NO_AUDIT}", "individuals"),
    _field("n_high", pa.float64(), f"upper end of the 95 % interval of expected_n; {_NO_AUDIT}", "individuals"),
    _field(
        "n_per_m2_window",
        pa.float64(),
        "n_total per square metre of usable window (a vertical face of soil, not the ground's surface); null when the "
        "project file gives no window_cm2",
        "1/m2",
    ),
    _field(
        "validation",
        pa.string(),
        "what stands behind the numbers: none; simulated (the model was judged on simulated scenes only); local "
        "(judged on a random sample of this project's scans)",
        required=True,
    ),
    _DPI,
    _field("analysis_id", pa.string(), "what made the count; see analyses/ in the store", required=True),
    _field(
        "complete_through",
        TIME,
        "last slot of this scanner, up to this year's last, before which nothing is pending; null when the first is",
        "UTC",
    ),
)

SITES = _schema(
    "sites",
    _SITE,
    _field("latitude", pa.float64(), "WGS 84", "degrees north"),
    _field("longitude", pa.float64(), "WGS 84", "degrees east"),
)

SCANNERS = _schema(
    "scanners",
    _SCANNER,
    _SITE,
    _field("timezone", pa.string(), "IANA name of the time zone that the device's clock follows", required=True),
    _field("slots", pa.string(), "expected local times, an interval, or irregular", required=True),
    _field("dpi", pa.float64(), "resolution where the file does not say", "dots per inch"),
    _field("window_cm2", pa.float64(), "area of the window", "cm2"),
    _field("depth_cm", pa.float64(), "depth of the window's middle below ground", "cm"),
    _field(
        "orientation", pa.int32(), "clockwise turn that shows a scan upright; boxes stay in the file's frame", "degrees"
    ),
    _field("late_after_s", pa.float64(), "a scan captured later than this after its slot is late", "s", required=True),
    _field("missing_after_s", pa.float64(), "a slot without a scan is missing after this", "s", required=True),
    _field("from", TIME, "start of the series; null: its first scan", "UTC"),
    _field("until", TIME, "end of the series; null: still running", "UTC"),
)

TAXA = _schema(
    "taxa",
    _field("taxon", pa.string(), "name", required=True),
    _field("rank", pa.string(), "rank", required=True),
    _field("parent", pa.string(), "the taxon that holds it; null for the root"),
    _field("synonyms", _list(pa.string()), "other names"),
    _field("background", pa.bool_(), "not an animal (root, hyphae, organic matter): never counted", required=True),
)

SERIES = {"slots": SLOTS, "counts": COUNTS, "detections": DETECTIONS}
"""The tables kept per scanner and year."""

SERIES_OF_PROJECT = {"sites": SITES, "scanners": SCANNERS, "taxa": TAXA}
"""The tables that come from the project file."""
