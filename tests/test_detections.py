"""Detection files: the truth of what was found on a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from soilpipe import layout
from soilpipe.detections import (
    DamagedDetectionsError,
    DetectionFileError,
    detected_scans,
    detection_table,
    parse_detection_file,
    read_detection_file,
    write_detection_file,
)
from soilpipe.parquet import to_parquet
from soilpipe.schemas import DETECTION_FILE
from soilpipe.seals import sealed
from soilpipe.store import Store

SCAN = "A20-20240306T060000-1a2b3c4d"
ANALYSIS = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def two() -> pa.Table:
    return detection_table(
        SCAN,
        ANALYSIS,
        boxes=np.array([[5, 9, 8, 12], [4, 1, 6, 3]], np.float32),
        scores=np.array([0.25, 0.5], np.float32),
        taxa=["Acari", None],
        ranks=["subclass", None],
        length_mm=np.array([np.nan, 0.5]),
        alternatives=[[{"taxon": "Collembola", "probability": 0.25}], []],
    )


def empty() -> pa.Table:
    return detection_table(SCAN, ANALYSIS, boxes=np.zeros((0, 4)), scores=np.zeros(0), taxa=[], ranks=[])


def test_rows_are_sorted_and_numbered_from_the_top() -> None:
    table = two()
    assert table["detection_id"].to_pylist() == [f"{SCAN}-01234567-0000", f"{SCAN}-01234567-0001"]
    assert table["y_min"].to_pylist() == [1.0, 9.0]
    assert table["taxon"].to_pylist() == [None, "Acari"]
    assert table["length_mm"].to_pylist() == [0.5, None]


def test_what_is_written_is_read_again(store: Store) -> None:
    key = write_detection_file(store, ANALYSIS, SCAN, two(), {"references": [{"scan_id": "x", "ok": True}]})
    assert key == f"detections/{ANALYSIS}/A20/2024/{SCAN}.parquet"
    table, metadata = read_detection_file(store, ANALYSIS, SCAN)
    assert table.select(DETECTION_FILE.names).to_pylist() == two().to_pylist()
    assert metadata == {"references": [{"scan_id": "x", "ok": True}], "scan_id": SCAN, "analysis_id": ANALYSIS}


def test_an_empty_file_says_looked_and_found_nothing(store: Store) -> None:
    write_detection_file(store, ANALYSIS, SCAN, empty(), {})
    table = read_detection_file(store, ANALYSIS, SCAN).table
    assert table.num_rows == 0 and table.schema.names == DETECTION_FILE.names
    assert detected_scans(store, ANALYSIS, "A20") == {SCAN}
    assert detected_scans(store, "f" * 16, "A20") == frozenset()


def test_a_scan_that_was_not_analysed_has_no_file(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        read_detection_file(store, ANALYSIS, SCAN)


def test_the_same_detections_are_the_same_bytes(store: Store) -> None:
    key = write_detection_file(store, ANALYSIS, SCAN, two(), {"b": 1, "a": 2})
    first = store.read_bytes(key)
    write_detection_file(store, ANALYSIS, SCAN, two(), {"a": 2, "b": 1})
    assert store.read_bytes(key) == first


@pytest.mark.parametrize("cut", [0, 3, 40, 900])
def test_a_file_cut_short_is_told_with_a_remedy(store: Store, cut: int) -> None:
    key = write_detection_file(store, ANALYSIS, SCAN, two(), {})
    store.write_bytes(key, store.read_bytes(key)[:cut])
    with pytest.raises(DamagedDetectionsError, match="`soilpipe verify` names the command"):
        read_detection_file(store, ANALYSIS, SCAN)


def test_no_flipped_bit_passes_for_another_number(store: Store) -> None:
    key = write_detection_file(store, ANALYSIS, SCAN, two(), {"references": [{"scan_id": "x", "dy": 0.25}]})
    whole, good = store.read_bytes(key), read_detection_file(store, ANALYSIS, SCAN)
    told = 0
    for place in range(0, len(whole), 11):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        try:
            table, metadata = parse_detection_file(bytes(flipped), key)
        except DamagedDetectionsError:
            told += 1
        else:  # in the word that says where the seal is
            assert (table.equals(good.table), metadata) == (True, good.metadata)
    assert told > len(range(0, len(whole), 11)) - 5


def test_a_file_from_before_the_seal_is_read(store: Store) -> None:
    told = f'{{"scan_id": "{SCAN}", "analysis_id": "{ANALYSIS}"}}'
    store.write_bytes(layout.detection_file(ANALYSIS, SCAN), to_parquet(two(), {"soilpipe": told}, small=True))
    assert read_detection_file(store, ANALYSIS, SCAN).table.num_rows == 2
    for strange in (told.replace("20240306", "2024x306"), "[]"):
        data = to_parquet(two(), {"soilpipe": strange}, small=True)
        with pytest.raises(DamagedDetectionsError):
            parse_detection_file(data, layout.detection_file(ANALYSIS, SCAN))


def test_a_file_that_lies_where_another_belongs_is_told(store: Store) -> None:
    key = write_detection_file(store, ANALYSIS, SCAN, two(), {})
    other = SCAN.replace("T06", "T12")
    store.write_bytes(layout.detection_file(ANALYSIS, other), store.read_bytes(key))
    with pytest.raises(DamagedDetectionsError, match=f"holds the detections of scan {SCAN}"):
        read_detection_file(store, ANALYSIS, other)


def test_only_what_left_a_place_for_the_seal_is_sealed() -> None:
    with pytest.raises(ValueError, match="this has 0"):
        sealed(b"no place")


def test_a_foreign_parquet_file_is_told(store: Store) -> None:
    key = layout.detection_file(ANALYSIS, SCAN)
    store.write_bytes(key, to_parquet(pa.table({"x": [1]})))
    with pytest.raises(DetectionFileError, match="not a whole detection file"):
        read_detection_file(store, ANALYSIS, SCAN)
    store.write_bytes(key, to_parquet(pa.table({"x": [1]}), {"soilpipe": "{}"}))
    with pytest.raises(DetectionFileError, match="lacks the columns detection_id"):
        read_detection_file(store, ANALYSIS, SCAN)


def test_columns_of_a_later_release_are_left_out(store: Store) -> None:
    later = two().append_column("colour", pa.array(["red", "blue"]))
    store.write_bytes(layout.detection_file(ANALYSIS, SCAN), to_parquet(later, {"soilpipe": "{}"}))
    assert read_detection_file(store, ANALYSIS, SCAN).table.schema.names == DETECTION_FILE.names


def test_rows_out_of_order_and_other_columns_are_refused(store: Store) -> None:
    with pytest.raises(DetectionFileError, match="not sorted"):
        write_detection_file(store, ANALYSIS, SCAN, two().take([1, 0]), {})
    with pytest.raises(DetectionFileError, match="columns"):
        write_detection_file(store, ANALYSIS, SCAN, two().drop_columns(["score"]), {})


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 2 boxes"):
        detection_table(SCAN, ANALYSIS, boxes=np.zeros((2, 4)), scores=np.zeros(2), taxa=["Acari"], ranks=[None, None])
