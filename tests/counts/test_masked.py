"""What lies in the masked part of a window is listed but not counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.counts.series import build_series
from soilpipe.counts.verify import rebuild, verify
from soilpipe.ingest.mask_files import read_mask, write_mask
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import read_receipt, write_receipt
from soilpipe.ingest.window_mask import VEILED
from soilpipe.parquet import from_parquet

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLEAR, HIDDEN = ("Acari", (600, 600, 620, 620)), ("Acari", (100, 100, 120, 120))


def mask_scan(season: Any, scan_id: str, mask: np.ndarray) -> None:
    """Give an accepted scan a mask, as ingest would have."""
    receipt = read_receipt(season.store, scan_id)
    share = float((mask != 0).mean())
    quality = Quality(
        sharpness=10.0,
        usable_fraction=round(1 - share, 4),
        flat_bands=((100, 120), (300, 316)),
        level_mean=31.5,
        saturated_fraction=0.002,
        relative_detail=0.25,
        masked={"veiled or out of focus": share} if share else {},
        mask_cell_px=64,
    )
    files = (*receipt.files, write_mask(season.store, scan_id, mask))
    write_receipt(season.store, receipt.model_copy(update={"quality": quality, "files": files}))


@pytest.fixture
def masked_season(season: Any) -> Any:
    """One scan without a mask, one with the upper left quarter masked."""
    season.publish(season.analysis())
    season.scan(START, [CLEAR, HIDDEN])
    scan_id = season.scan(START + 6 * HOUR, [CLEAR, HIDDEN])
    mask = np.zeros((24, 16), np.uint8)
    mask[:12, :8] = VEILED
    mask_scan(season, scan_id, mask)
    build_series(season.project, season.store, "A20", START + 12 * HOUR)
    return season


def table(season: Any, name: str) -> list[dict[str, Any]]:
    return from_parquet(season.store.read_bytes(layout.series_file(name, "A20", 2024))).to_pylist()


def test_what_is_masked_is_listed_but_not_counted(masked_season: Any) -> None:
    n = [row["n"] for row in table(masked_season, "counts") if row["taxon"] == "Acari"][:2]
    assert n == [2, 1]
    told = [(row["x_min"], row["is_masked"]) for row in table(masked_season, "detections")]
    assert set(told) == {(100.0, None), (600.0, None), (100.0, True), (600.0, False)}
    assert verify(masked_season.project, masked_season.store) == []


def test_the_density_is_that_of_the_usable_part(masked_season: Any) -> None:
    first, second = [row for row in table(masked_season, "counts") if row["taxon"] == "Acari"][:2]
    assert first["n_per_m2_window"] == pytest.approx(2 / 0.062)
    assert second["n_per_m2_window"] == pytest.approx(1 / (0.062 * 0.75))


def test_the_slot_says_in_words_what_was_flagged(masked_season: Any) -> None:
    first, second = table(masked_season, "slots")[:2]
    assert first["reason"] is None
    assert second["usable_fraction"] == 0.75
    assert second["reason"] == (
        "rows 100 to 120 and 1 more are one colour from side to side; "
        "masked: 25.0% of the window veiled or out of focus"
    )


def test_the_slot_has_the_figures_of_its_receipts_quality(masked_season: Any) -> None:
    """Receipts from before they were measured have none."""
    names = ("level_mean", "saturated_fraction", "flat_rows", "relative_detail")
    first, second, third = ([row[name] for name in names] for row in table(masked_season, "slots")[:3])
    assert first == [None, None, 0, None]
    assert second == [31.5, 0.002, 36, 0.25]
    assert third == [None] * 4, "no scan"


def test_a_lost_mask_is_a_gap_with_its_reason_and_verify_finds_it(masked_season: Any) -> None:
    scan_id = table(masked_season, "slots")[1]["scan_id"]
    mask = masked_season.store.read_bytes(layout.window_mask(scan_id))
    masked_season.store.delete(layout.window_mask(scan_id))
    rebuild(masked_season.project, masked_season.store, START + 12 * HOUR)
    assert [row["n"] for row in table(masked_season, "counts") if row["taxon"] == "Acari"][:2] == [2, None]
    assert "mask.png" in table(masked_season, "slots")[1]["reason"]
    problems = verify(masked_season.project, masked_season.store)
    assert [problem.key for problem in problems] == [layout.window_mask(scan_id)]
    masked_season.store.write_bytes(layout.window_mask(scan_id), mask)  # from a backup
    build_series(masked_season.project, masked_season.store, "A20", START + 12 * HOUR)
    assert [row["n"] for row in table(masked_season, "counts") if row["taxon"] == "Acari"][:2] == [2, 1]
    assert verify(masked_season.project, masked_season.store) == []


def test_a_window_without_a_fault_needs_no_mask_to_be_read(season: Any) -> None:
    scan_id = season.scan(START, [CLEAR])
    mask_scan(season, scan_id, np.zeros((24, 16), np.uint8))
    season.store.delete(layout.window_mask(scan_id))
    assert read_mask(season.store, read_receipt(season.store, scan_id)) is None
