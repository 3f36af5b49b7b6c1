"""Which scans wait for a detector, and from when a new model counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soilpipe import layout
from soilpipe.analyses import read_analysis
from soilpipe.counts.series import build_series
from soilpipe.counts.undetected import Undetected, publish_and_list_undetected

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def listed(season: Any, name: str, **options: Any) -> list[tuple[str, str]]:
    analysis = read_analysis(season.store, season.analysis(name))
    (scanner,) = season.scanners
    found: tuple[Undetected, ...] = publish_and_list_undetected(season.store, scanner, analysis, **options)
    return [(scan.scan_id, scan.analysis_id) for scan in found]


def test_a_new_model_starts_with_the_next_scan_and_a_late_one_gets_the_model_of_its_time(season: Any) -> None:
    first, second = season.analysis("first"), season.analysis("second")
    season.publish(first)
    season.scan(START, analysis_id=first)
    season.scan(START + 12 * HOUR, analysis_id=first)
    late = season.scan(START + 6 * HOUR, None)
    new = season.scan(START + 18 * HOUR, None)
    assert listed(season, "second") == [(late, first), (new, second)]


def test_one_file_from_the_future_does_not_keep_a_new_model_out_for_good(season: Any) -> None:
    first, second = season.analysis("first"), season.analysis("second")
    season.publish(first)
    season.scan(START, analysis_id=first)
    season.scan(datetime(2099, 1, 1, tzinfo=UTC), analysis_id=first)
    new = season.scan(START + 6 * HOUR, None)
    assert (new, second) in listed(season, "second", now=START + 7 * HOUR)


def test_only_what_lies_before_a_waiting_file_and_within_the_period_is_listed(season: Any) -> None:
    first = season.analysis("first")
    scans = [season.scan(START + hours * HOUR, None) for hours in (0, 6, 12, 18)]
    assert [s for s, _ in listed(season, "first", since=START + 6 * HOUR, before=START + 18 * HOUR)] == scans[1:3]
    assert [s for s, _ in listed(season, "first", until=START + 6 * HOUR)] == scans[:1]
    assert listed(season, "first")[0][1] == first


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-700], lambda data: data[:99] + b"x" + data[100:]]
)
def test_a_damaged_file_that_the_series_met_is_made_again(season: Any, damage: Any) -> None:
    first = season.analysis("first")
    season.publish(first)
    good, bad = (season.scan(START + hours * HOUR, analysis_id=first) for hours in (0, 6))
    key = layout.detection_file(first, bad)
    season.store.write_bytes(key, damage(season.store.read_bytes(key)))
    summary = build_series(season.project, season.store, "A20", START + 24 * HOUR)
    assert len(summary.problems) == 1 and key in summary.problems[0]
    assert "the next run detects the scan again" in summary.problems[0]
    assert listed(season, "first") == [(bad, first)]
    season.detect(bad, (), first)
    assert listed(season, "first") == []
    assert build_series(season.project, season.store, "A20", START + 24 * HOUR).problems == ()
    assert good


def test_of_a_period_that_is_named_every_file_is_read(season: Any) -> None:
    first = season.analysis("first")
    season.publish(first)
    scans = [season.scan(START + hours * HOUR, analysis_id=first) for hours in (0, 6, 12)]
    build_series(season.project, season.store, "A20", START + 24 * HOUR)
    for scan_id in scans:
        season.store.write_bytes(layout.detection_file(first, scan_id), b"")
    assert listed(season, "first") == []
    assert listed(season, "first", since=START + 6 * HOUR, until=START + 7 * HOUR) == [(scans[1], first)]
