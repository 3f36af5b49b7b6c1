from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilpipe import layout

scanner_ids = st.from_regex(r"[A-Za-z0-9_-]*[A-Za-z_][A-Za-z0-9_-]*", fullmatch=True)
sha256s = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)


@given(scanner_ids, st.datetimes(), sha256s)
def test_a_scan_id_says_who_when_and_what(scanner: str, time: datetime, sha256: str) -> None:
    time = time.replace(microsecond=0)
    parts = layout.parse_scan_id(layout.make_scan_id(scanner, time, sha256))
    assert parts == layout.ScanIdParts(scanner, time, sha256[:8])


def test_paths_are_those_of_the_design() -> None:
    scan = layout.make_scan_id("DIAMS_A20_O", datetime(2024, 3, 6, 6), "1a2b3c4d" * 8)
    assert scan == "DIAMS_A20_O-20240306T060000-1a2b3c4d"
    assert layout.image_zarr(scan) == f"scans/DIAMS_A20_O/2024/{scan}/image.zarr"
    assert layout.original(scan, ".jp2") == f"scans/DIAMS_A20_O/2024/{scan}/original.jp2"
    assert layout.receipt(scan) == f"receipts/DIAMS_A20_O/2024/{scan}.json"
    assert layout.detection_file("ab12", scan) == f"detections/ab12/DIAMS_A20_O/2024/{scan}.parquet"
    assert layout.series_file("slots", "DIAMS_A20_O", 2024) == "series/slots/year=2024/DIAMS_A20_O.parquet"
    assert layout.index("DIAMS_A20_O") == ".index/DIAMS_A20_O.json"


@pytest.mark.parametrize(
    "wrong", ["", "a-20240306T060000", "a-20241306T060000-1a2b3c4d", "../a-20240306T060000-1a2b3c4d"]
)
def test_what_is_no_scan_id_is_refused(wrong: str) -> None:
    with pytest.raises(layout.LayoutError, match="no scan id"):
        layout.scan_folder(wrong)


def test_a_scan_id_holds_no_zone() -> None:
    with pytest.raises(layout.LayoutError, match="without a zone"):
        layout.make_scan_id("a", datetime(2024, 1, 1, tzinfo=UTC), "0" * 64)
