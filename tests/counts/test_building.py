"""Building the series: again, from nothing, late, while scans arrive, and from a damaged truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soilpipe import layout
from soilpipe.counts import series
from soilpipe.counts.series import SeriesError, stored_as_of
from soilpipe.counts.verify import rebuild, verify
from tests.counts.built import HOUR, MITE, SPRINGTAIL, START, build, counts, table


def test_running_twice_changes_no_byte(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    season.scan(START + 6 * HOUR, [SPRINGTAIL])
    assert build(season, START + 7 * HOUR).changed
    before = season.files()
    assert build(season, START + 7 * HOUR).changed == ()
    assert build(season, START + 11 * HOUR).changed == ()
    assert season.files() == before


def test_rebuilt_from_nothing_it_is_the_same_bytes_whenever_that_is(season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(until=START + 48 * HOUR))
    season.publish(season.analysis())
    for hours in (0, 6, 18, 30):
        season.scan(START + hours * HOUR, [MITE, SPRINGTAIL])
    build(season, START + 100 * HOUR)
    season.scan(START + 36 * HOUR, [MITE])  # comes days later
    build(season, START + 101 * HOUR)
    before = season.files()
    for key in before:
        if key.startswith("series/"):
            season.store.delete(key)
    rebuild(season.project, season.store, START + 5000 * HOUR)
    assert season.files() == before
    assert verify(season.project, season.store) == []


def test_a_clock_that_goes_back_takes_nothing_back(season: Any) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    build(season, START + 72 * HOUR)
    before = season.files()
    assert build(season, START + 10 * HOUR).as_of == START + 72 * HOUR
    assert season.files() == before
    assert stored_as_of(season.store, "A20") == START + 72 * HOUR


def test_a_scan_that_comes_weeks_later_fills_its_slot_and_the_counts_follow(season: Any) -> None:
    season.publish(season.analysis())
    for hours in (0, 12):
        season.scan(START + hours * HOUR, [MITE])
    build(season, START + 40 * HOUR)
    assert list(table(season, "slots")["state"])[:3] == ["observed", "missing", "observed"]
    assert counts(season, "Acari")[:3] == [1, None, 1] and counts(season, "Acari", "n_new")[2:3] == [None]
    late = season.scan(START + 6 * HOUR, [MITE, MITE])
    build(season, START + 1000 * HOUR)
    slots = table(season, "slots")
    assert list(slots["state"])[:3] == ["observed"] * 3 and slots["scan_id"][1] == late
    assert counts(season, "Acari")[:3] == [1, 2, 1] and counts(season, "Acari", "n_new")[2:3] == [0]


def test_a_scan_that_arrives_during_the_build_is_in_it(season: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    honest, calls = series.scanner_tables, []

    def interrupted(*args: Any) -> Any:
        if not calls:
            season.scan(START + 6 * HOUR, [SPRINGTAIL])
        calls.append(1)
        return honest(*args)

    monkeypatch.setattr(series, "scanner_tables", interrupted)
    build(season, START + 6 * HOUR)
    assert len(calls) == 2
    assert counts(season, "Collembola") == [0, 1]


def test_a_truth_that_never_rests_is_told(season: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    season.publish(season.analysis())
    season.scan(START, [MITE])
    honest = series.scanner_tables
    scans = iter(range(1000))

    def restless(*args: Any) -> Any:
        season.receipt(START + next(scans) * timedelta(seconds=1), content="again")
        return honest(*args)

    monkeypatch.setattr(series, "scanner_tables", restless)
    with pytest.raises(SeriesError, match="A20 changed in each of 20 attempts"):
        build(season, START)


def test_a_damaged_detection_file_costs_its_own_slot_only(season: Any) -> None:
    analysis = season.analysis()
    season.publish(analysis)
    season.scan(START, [MITE])
    broken = season.scan(START + 6 * HOUR, [MITE])
    key = layout.detection_file(analysis, broken)
    season.store.write_bytes(key, season.store.read_bytes(key)[:-40])
    summary = build(season, START + 6 * HOUR)
    assert len(summary.problems) == 1 and key in summary.problems[0]
    assert counts(season, "Acari") == [1, None]
    assert key in table(season, "slots")["reason"].iloc[1]


def test_a_year_that_follows_from_nothing_any_more_is_removed(season: Any, make_scanner: Any) -> None:
    season.publish(season.analysis())
    season.scan(datetime(2023, 12, 31, 18, tzinfo=UTC), [MITE])
    season.scan(datetime(2024, 1, 1, tzinfo=UTC), [MITE])
    build(season, datetime(2024, 1, 1, tzinfo=UTC))
    assert season.store.exists(layout.series_file("slots", "A20", 2023))
    season.refresh(make_scanner(from_=datetime(2024, 1, 1, tzinfo=UTC)))
    summary = build(season, datetime(2024, 1, 1, tzinfo=UTC))
    assert layout.series_file("slots", "A20", 2023) in summary.changed
    assert not season.store.exists(layout.series_file("slots", "A20", 2023))
    assert [u.scan_id[:12] for u in summary.unslotted] == ["A20-20231231"]
