"""The tables' schemas: every field says what it is, in the design's order, and survives Parquet."""

from __future__ import annotations

import pyarrow as pa
import pytest

from soilpipe.parquet import from_parquet, metadata_of, to_parquet
from soilpipe.schemas import (
    COUNTS,
    DETECTION_FILE,
    DETECTIONS,
    SCANNERS,
    SCHEMA_VERSION,
    SITES,
    SLOTS,
    TAXA,
    descriptions,
    units,
)

ALL = (SLOTS, COUNTS, DETECTIONS, DETECTION_FILE, SITES, SCANNERS, TAXA)
DESIGN = {
    "slots": "site_id scanner_id slot state scan_id captured_at delay_s dpi width_px height_px window_cm2 "
    "usable_fraction sharpness reason level_mean saturated_fraction flat_rows relative_detail "
    "references_used",
    "detections": "detection_id scan_id site_id scanner_id slot x_min y_min x_max y_max score taxon rank stage "
    "probability alternatives is_unknown change length_mm width_mm area_mm2 review analysis_id is_masked",
    "counts": "site_id scanner_id slot date_local taxon rank state n n_total n_new n_stationary expected_n n_low "
    "n_high n_per_m2_window validation dpi analysis_id complete_through",
}


@pytest.mark.parametrize("schema", [SLOTS, COUNTS, DETECTIONS])
def test_columns_are_those_of_the_design_in_its_order(schema: pa.Schema) -> None:
    assert schema.names == DESIGN[schema.metadata[b"table"].decode()].split()


@pytest.mark.parametrize("schema", ALL)
def test_every_field_is_described_and_every_schema_has_its_version(schema: pa.Schema) -> None:
    assert all(descriptions(schema).values())
    assert schema.metadata[b"schema_version"].decode() == SCHEMA_VERSION


@pytest.mark.parametrize("schema", ALL)
def test_a_unit_in_a_name_is_the_unit_in_the_metadata(schema: pa.Schema) -> None:
    told = units(schema)
    for suffix, unit in (("_px", "px"), ("_mm", "mm"), ("_mm2", "mm2"), ("_cm2", "cm2"), ("_s", "s"), ("_cm", "cm")):
        for name in schema.names:
            if name.endswith(suffix):
                assert told[name] == unit
    assert all(told[f.name] == "UTC" for f in schema if pa.types.is_timestamp(f.type))


@pytest.mark.parametrize("schema", ALL)
def test_a_table_read_back_is_the_table_written(schema: pa.Schema) -> None:
    table = schema.empty_table()
    assert from_parquet(to_parquet(table)).equals(table, check_metadata=True)


def test_no_id_is_a_number() -> None:
    for schema in ALL:
        assert all(f.type == pa.string() for f in schema if f.name.endswith("_id"))


def test_what_an_audit_would_tell_says_that_there_is_none() -> None:
    for name in ("expected_n", "n_low", "n_high"):
        assert "audit" in descriptions(COUNTS)[name]


def test_equal_tables_are_equal_bytes_however_they_were_put_together() -> None:
    rows = [
        {"taxon": f"t{i}", "rank": "class", "parent": None, "synonyms": ["a", "b"], "background": False}
        for i in range(50)
    ]
    whole = pa.Table.from_pylist(rows, schema=TAXA)
    parts = pa.concat_tables([pa.Table.from_pylist([row], schema=TAXA) for row in rows])
    assert to_parquet(whole, {"b": "2", "a": "1"}) == to_parquet(parts, {"a": "1", "b": "2"})
    assert metadata_of(to_parquet(whole, {"a": "1"}))["a"] == "1"


def test_a_null_where_none_may_be_is_refused() -> None:
    row = {"taxon": None, "rank": "class", "parent": None, "synonyms": [], "background": False}
    with pytest.raises(pa.ArrowInvalid):
        to_parquet(pa.Table.from_pylist([row], schema=TAXA))
