"""Scans of a time whose analysis can't be made any more, and counting that time by another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soilpipe.analyses import read_analysis
from soilpipe.counts.redetect import RedetectError, cannot_be_made, publish_again
from soilpipe.counts.undetected import Undetected, publish_and_list_undetected
from soilpipe.layout import image_zarr
from tests.counts.built import build, table

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
MITE = ("Acari", (100, 100, 120, 120))


def test_days_that_follow_one_another_are_one_sentence_with_the_command_for_them(season: Any) -> None:
    analysis = read_analysis(season.store, season.analysis())
    hours = (6, 12, 30, 36, 240)
    scans = [Undetected(f"scan{hour}", START + hour * HOUR, analysis.id) for hour in hours]
    (first, told), (second, other) = cannot_be_made(season.scanners[0], analysis, scans)
    assert (first, second) == ("scan6", "scan240")
    assert told.startswith("scan6, scan12, scan30 and 1 more: ") and analysis.id in told
    assert told.endswith("`soilpipe redetect --scanner A20 --since 2024-03-06 --until 2024-03-07`")
    assert other.startswith("scan240: ") and other.endswith("--since 2024-03-16 --until 2024-03-16`")


@pytest.fixture
def two_days(season: Any) -> Any:
    season.publish(season.analysis("first"))
    for hours in range(0, 48, 6):
        scan_id = season.scan(START + hours * HOUR, [MITE], analysis_id=season.analysis("first"))
        season.store.write_bytes(f"{image_zarr(scan_id)}/zarr.json", b"{}")
    return season


def test_a_day_is_counted_by_the_new_analysis_and_the_day_beside_it_by_its_own(two_days: Any) -> None:
    new = read_analysis(two_days.store, two_days.analysis("second"))
    scanner = two_days.scanners[0]
    scans = publish_again(two_days.store, scanner, new, START, START + 24 * HOUR)
    waiting = publish_and_list_undetected(two_days.store, scanner, new)
    assert [scan.scan_id for scan in waiting] == list(scans) and len(scans) == 4
    for scan_id in scans:
        two_days.detect(scan_id, [MITE, MITE], new.id)
    build(two_days, START + 43 * HOUR)
    counts = table(two_days, "counts")
    acari = counts[counts["taxon"] == "Acari"]
    assert acari["n"].tolist() == [2, 2, 2, 2, 1, 1, 1, 1]
    assert acari["analysis_id"].tolist() == [new.id] * 4 + [two_days.analysis("first")] * 4
    assert acari["n_new"].isna().tolist() == [True, False, False, False, True, False, False, False]


def test_a_day_without_pixels_keeps_the_counts_that_it_has(two_days: Any) -> None:
    new = read_analysis(two_days.store, two_days.analysis("second"))
    gone = sorted(key for key in (entry.key for entry in two_days.store.list("scans")) if "zarr.json" in key)[2]
    two_days.store.delete(gone)
    before = two_days.files()
    with pytest.raises(RedetectError, match=r"1 of the 4 scans .* Nothing was changed"):
        publish_again(two_days.store, two_days.scanners[0], new, START, START + 24 * HOUR)
    assert two_days.files() == before
    assert len(publish_again(two_days.store, two_days.scanners[0], new, START + 24 * HOUR, None)) == 4


def test_dates_that_were_exchanged_are_told(two_days: Any) -> None:
    new, before = read_analysis(two_days.store, two_days.analysis("second")), two_days.files()
    with pytest.raises(RedetectError, match="were --since and --until exchanged"):
        publish_again(two_days.store, two_days.scanners[0], new, START + 24 * HOUR, START)
    assert two_days.files() == before


def test_a_time_without_scans_is_told(two_days: Any) -> None:
    new = read_analysis(two_days.store, two_days.analysis("second"))
    with pytest.raises(RedetectError, match="no scan from 2024-03-10 03:00 UTC on; nothing"):
        publish_again(two_days.store, two_days.scanners[0], new, START + 99 * HOUR, None)
