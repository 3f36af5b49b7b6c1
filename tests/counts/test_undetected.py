"""Which scans wait for a detector, and from when a new model counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from soilpipe.analyses import read_analysis
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
