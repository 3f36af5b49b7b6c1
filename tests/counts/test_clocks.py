"""Which clocks are suspected, and which are not: every sign with the harmless thing that looks most like it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
import yaml

from soilpipe.config import ClockEntry
from soilpipe.config.clock import read_clock
from soilpipe.config.document import Document, Findings
from soilpipe.counts.clocks import ClockDoubt, clock_doubts, in_words
from soilpipe.counts.status import project_status
from soilpipe.counts.tables import scanner_timetable
from soilpipe.counts.truth import read_truth

START = datetime(2024, 3, 6, tzinfo=UTC)
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
SLOW = 5 * MINUTE  # from a scan to the end of its upload


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def season_of(
    season: Any,
    days: float,
    shown: Callable[[datetime], datetime] = naive,
    came: Callable[[datetime], datetime] = lambda at: at + SLOW,
    start: datetime = START,
    step: timedelta = 6 * HOUR,
) -> None:
    """Scans at every step: ``shown`` says what the device's clock showed, ``came`` when the file did."""
    at = start
    while at < start + days * DAY:
        season.receipt(at, shown=shown(at), came=came(at))
        at += step


def doubts(season: Any, now: datetime = START + 400 * DAY) -> list[ClockDoubt]:
    (scanner,) = season.scanners
    truth = read_truth(season.store, scanner)
    table = scanner_timetable(scanner, truth, now)
    return clock_doubts(scanner, list(truth.receipts.values()), table.slots, now)


def mended(season: Any, make_scanner: Any, line: str, **settings: Any) -> None:
    """The project again, with this line below `clock:`."""
    findings = Findings(Document(season.folder / "soilpipe.yaml", {}, {}, ()))
    (scanner,) = season.scanners
    entry = yaml.load(line.removeprefix("- "), Loader=yaml.BaseLoader)
    found = read_clock([entry], {"A20": scanner.zone}, findings)
    assert findings.problems == []
    season.refresh(make_scanner(clock=found["A20"], **settings))


def test_a_right_clock_is_not_suspected(season: Any) -> None:
    season_of(season, 30)
    assert doubts(season) == []


def test_a_month_of_silence_and_a_backlog_after_it_are_no_fault(season: Any) -> None:
    season_of(season, 10)
    season_of(season, 10, start=START + 40 * DAY)
    visit = START + 90 * DAY
    heap = iter(range(1000))
    season_of(season, 30, start=START + 52 * DAY, came=lambda at: visit + next(heap) * timedelta(seconds=2))
    assert doubts(season) == []


def test_files_that_a_visitor_collects_or_that_kept_the_dates_of_the_device_are_no_fault(season: Any) -> None:
    week = 7 * DAY
    season_of(season, 60, came=lambda at: START + ((at - START) // week + 1) * week + (at - START) / 5000)
    assert doubts(season) == []
    season_of(season, 60, start=START + 70 * DAY, came=lambda at: at)
    assert doubts(season) == []


def test_a_queue_that_is_worked_off_or_grows_is_no_fault(season: Any) -> None:
    season_of(season, 10)
    silent = START + 10 * DAY
    season_of(season, 15, start=silent, came=lambda at: max(silent + 6 * DAY + (at - silent) / 2, at + SLOW))
    assert doubts(season) == []
    grows = START + 30 * DAY
    season_of(season, 20, start=grows, came=lambda at: at + SLOW + (at - grows) / 40)
    assert doubts(season) == []


def test_an_old_file_that_comes_weeks_later_is_no_fault(season: Any) -> None:
    season_of(season, 30, came=lambda at: at + (20 * DAY if at == START + 30 * HOUR else SLOW))
    assert doubts(season) == []


@pytest.mark.parametrize("slots", [(time(0), time(6), time(12), time(18)), 6 * HOUR, "irregular"])
@pytest.mark.parametrize("device_changes", [True, False])
def test_the_clock_change_is_no_fault(slots: Any, device_changes: bool, season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(timezone="Europe/Paris", slots=slots))
    (scanner,) = season.scanners
    summer = datetime(2024, 3, 31, 1, tzinfo=UTC)

    def shown(at: datetime) -> datetime:
        wall = at.astimezone(scanner.zone).replace(tzinfo=None)
        return wall if device_changes or at < summer else wall - HOUR

    for days in (20, 60):
        season_of(season, days, shown=shown)
        assert doubts(season) == []


def test_irregular_scanners_and_uploads_are_not_suspected(season: Any, make_scanner: Any) -> None:
    chance = random.Random(3)
    season.refresh(make_scanner(slots="irregular"))
    at = START
    for _ in range(150):
        at += chance.uniform(0.2, 40) * HOUR
        season.receipt(at, came=at + chance.uniform(0, 300) * MINUTE)
    assert doubts(season) == []


@pytest.mark.parametrize(
    "begin", [datetime(1970, 1, 1), datetime(1980, 1, 1), datetime(1980, 1, 6), datetime(2000, 1, 1)]
)
def test_a_reset_clock_is_told_with_the_line_that_mends_it(begin: datetime, season: Any, make_scanner: Any) -> None:
    season_of(season, 5)
    reset = START + 5 * DAY
    season_of(season, 7, start=reset, shown=lambda at: begin + (at - reset))
    season_of(season, 5, start=START + 12 * DAY)
    (doubt,) = doubts(season)
    assert (doubt.kind, doubt.n_scans) == ("reset", 28)
    assert f"{begin:%Y-%m-%d %H:%M}" in doubt.sentence and doubt.entry in doubt.sentence
    end = START + 17 * DAY - HOUR
    (status,) = project_status(season.project, season.store, end)
    assert doubt.sentence in status.needs_person and status.clock == (doubt,)
    assert {scan.reason for scan in status.unslotted} == {
        "no scanner was there in that year: the clock of the device was reset"
    }
    assert status.slots["missing"] == 28 and sum(status.slots.values()) == 68
    mended(season, make_scanner, doubt.entry)
    assert doubts(season) == []
    (status,) = project_status(season.project, season.store, end)
    assert status.slots["observed"] == 68 and status.unslotted == ()


@pytest.mark.parametrize("behind", [430 * DAY + 2 * HOUR, 3 * DAY])
def test_a_clock_that_fell_behind_is_told(behind: timedelta, season: Any, make_scanner: Any) -> None:
    season_of(season, 20)
    season_of(season, 7, start=START + 20 * DAY, shown=lambda at: naive(at - behind) + 3 * MINUTE)
    season_of(season, 20, start=START + 27 * DAY)
    (doubt,) = doubts(season)
    assert (doubt.kind, doubt.n_scans) == ("jump", 28)
    assert doubt.seconds == pytest.approx(-behind.total_seconds(), abs=600)
    assert f"offset: +{in_words(-doubt.seconds)}" in doubt.entry
    if behind > 300 * DAY:  # else the entry would move right scans of the same days as well
        mended(season, make_scanner, doubt.entry)
        assert doubts(season) == []


def test_three_scans_that_came_late_one_by_one_are_not_yet_a_fault(season: Any) -> None:
    season_of(season, 10)
    season_of(season, 0.75, start=START + 20 * DAY, shown=lambda at: naive(at - 15 * DAY) + HOUR)
    assert doubts(season) == []


def test_a_clock_that_ran_ahead_is_told(season: Any, make_scanner: Any) -> None:
    season_of(season, 10)
    season_of(season, 2, start=START + 10 * DAY, shown=lambda at: naive(at + 40 * DAY))
    (doubt,) = doubts(season)
    assert (doubt.kind, doubt.n_scans) == ("ahead", 8)
    assert doubt.seconds == pytest.approx(40 * 86_400, abs=600)
    mended(season, make_scanner, doubt.entry)
    assert doubts(season) == []


def test_a_memory_card_in_another_time_zone_is_no_fault(season: Any) -> None:
    season_of(season, 20, came=lambda at: at - 11 * HOUR)
    assert doubts(season) == []


def test_what_is_from_the_future_is_told_once(season: Any) -> None:
    season_of(season, 3)
    season.receipt(datetime(2099, 1, 1, tzinfo=UTC), came=START)
    (status,) = project_status(season.project, season.store, START + 3 * DAY)
    assert status.clock == ()
    assert sum("2099" in need for need in status.needs_person) == 1


@pytest.mark.parametrize("rate", [-20, 20])
@pytest.mark.parametrize("dated", [True, False])
def test_a_drifting_clock_is_told(rate: int, dated: bool, season: Any, make_scanner: Any) -> None:
    """By its files where they are dated, whether scans are started by that clock or not; else by its slots."""
    chance = random.Random(5)
    long_ago = datetime(1980, 1, 1, tzinfo=UTC)
    season_of(
        season,
        60,
        shown=lambda at: naive(at + rate * ((at - START) / DAY) * timedelta(seconds=1)),
        came=lambda at: at + chance.uniform(60, 150) * timedelta(seconds=1) if dated else long_ago,
    )
    (doubt,) = doubts(season)
    assert (doubt.kind, doubt.seconds) == ("drift", pytest.approx(rate, abs=1))
    mended(season, make_scanner, doubt.entry)
    assert doubts(season) == []


def test_a_schedule_that_drifts_beside_a_right_clock_is_no_clock(season: Any) -> None:
    season_of(season, 60, step=6 * HOUR + timedelta(seconds=5))
    assert doubts(season) == []


def test_scans_that_start_when_they_like_do_not_drift(season: Any) -> None:
    chance = random.Random(7)
    season_of(season, 60, shown=lambda at: naive(at + chance.uniform(0, 30) * MINUTE), came=lambda at: START)
    assert [doubt.kind for doubt in doubts(season) if doubt.kind == "drift"] == []


@pytest.mark.parametrize("gap_min", [20, 60])
def test_short_gaps_are_watched_more_closely(gap_min: int, season: Any, make_scanner: Any) -> None:
    season.refresh(make_scanner(slots=gap_min * MINUTE))
    season_of(
        season, 10, shown=lambda at: naive(at + 25 * ((at - START) / DAY) * timedelta(seconds=1)), step=gap_min * MINUTE
    )
    assert [doubt.kind for doubt in doubts(season)] == (["drift"] if gap_min == 20 else [])


def test_somebody_has_looked_and_the_clock_was_right(season: Any, make_scanner: Any) -> None:
    season_of(season, 20)
    season_of(season, 7, start=START + 20 * DAY, shown=lambda at: naive(at - 430 * DAY))
    assert len(doubts(season)) == 1
    first = naive(START + 20 * DAY - 430 * DAY)
    looked = ClockEntry(from_=first, until=first + 8 * DAY, offset=timedelta(), reason="scanned from old pictures")
    season.refresh(make_scanner(clock=(looked,)))
    assert doubts(season) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (45, "45s"), (725, "12min 5s"), (5400, "1h 30min"), (37_159_500.4, "430d 2h 5min")],
)
def test_spans_are_spelled_as_the_project_file_reads_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
