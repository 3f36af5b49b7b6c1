"""What a run makes of the little that has changed is, to the byte, what is made from everything."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe import layout, touched
from soilpipe.analyses import read_analysis
from soilpipe.config import ClockEntry
from soilpipe.counts import series
from soilpipe.counts.series import stored_as_of
from soilpipe.counts.truth import read_truth
from soilpipe.counts.undetected import list_undetected, publish_and_list_undetected
from soilpipe.counts.verify import rebuild, verify
from soilpipe.ingest.quarantine import Decision, write_decision
from soilpipe.store import Store
from tests.counts.built import HOUR, MITE, SPRINGTAIL, build, table

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = (-300, -54, -48, -42, -36, -30, -24, -18, -12, -6, 0, 6, 12, 18)
"""From New Year: scans of two years, most of them so near that one year looks back into the other."""
BASE = tuple(hour for hour in HOURS if hour not in (-6, 18))
FOUND = ([], [MITE], [MITE, SPRINGTAIL], [SPRINGTAIL])

HOUR_OF = st.sampled_from(HOURS)
EVENT = st.one_of(
    st.tuples(st.just("scan"), HOUR_OF, st.sampled_from((*FOUND, None))),
    st.tuples(st.just("scan"), HOUR_OF, st.sampled_from(FOUND)),
    st.tuples(st.just("detect"), HOUR_OF, st.sampled_from(FOUND)),
    st.tuples(st.sampled_from(["damage", "lose detections", "lose receipt", "put aside"]), HOUR_OF, st.none()),
    st.tuples(st.sampled_from(["refuse", "publish", "token alone"]), HOUR_OF, st.none()),
    st.tuples(st.just("clock"), st.sampled_from([-13, 0, 8, 30]), st.none()),
    st.tuples(st.just("time passes"), st.sampled_from([1, 3, 5, 25]), st.none()),
    st.tuples(st.just("run"), st.just(0), st.none()),
    st.tuples(st.just("killed run"), st.integers(0, 12), st.none()),
)


class Killed(BaseException):
    """The process ends here."""


class Mortal(Store):
    """A store under which the process is killed at one of its writes or deletions."""

    def __init__(self, root: str, writes: int) -> None:
        super().__init__(root)
        self.left = writes

    def write_bytes(self, key: str, data: bytes) -> None:
        self._once()
        super().write_bytes(key, data)

    def delete(self, key: str) -> None:
        self._once()
        super().delete(key)

    def _once(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


@dataclass
class Play:
    """A season in which things happen, and the hour that the machine's clock shows.

    damaged: the scans whose detections the last run could not read
    """

    season: Any
    make_scanner: Any
    hours: float = 14.0
    n: int = 0
    dated: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return NEW_YEAR + self.hours * HOUR

    @property
    def any_analysis(self) -> str:
        """One of two, in turn."""
        return str(self.season.analysis("second" if self.n % 2 else "first"))

    def clock(self) -> float:
        """Of the machine, epoch seconds."""
        return self.now.timestamp()

    def do(self, kind: str, number: int, found: Any) -> None:
        self._do(kind, number, found)
        for entry in self.season.store.list(layout.touched_prefix("A20")):
            if entry.key not in self.dated:  # files are of the time of this play, not of the disk it is played on
                self.dated.add(entry.key)
                os.utime(self.season.folder / "store" / entry.key, (touched.clock(), touched.clock()))

    def _do(self, kind: str, number: int, found: Any) -> None:
        self.n += 1
        at = NEW_YEAR + number * HOUR
        scans = [e.key.rpartition("/")[2][:-5] for e in self.season.store.list("receipts")]
        of_time = [scan for scan in scans if f"{at:%Y%m%dT%H%M%S}" in scan]
        if kind == "scan":
            self.season.scan(at, found, content=str(self.n % 2))
        elif kind == "refuse":
            self.season.refuse(at)
        elif kind == "publish":
            self.season.publish(self.any_analysis, at)
        elif kind == "token alone":
            touched.touch(self.season.store, "A20", at)
        elif kind == "clock":
            begin, end = NEW_YEAR - 40 * HOUR, NEW_YEAR + 20 * HOUR
            entry = ClockEntry(
                from_=begin.replace(tzinfo=None), until=end.replace(tzinfo=None), offset=number * HOUR, reason="wrong"
            )
            self.season.refresh(self.make_scanner(clock=(entry,) if number else ()))
        elif kind == "time passes":
            self.hours += number
        elif kind == "run":
            self.run(self.season.store)
        elif kind == "killed run":
            try:
                self.run(Mortal(self.season.store.root, number))
            except Killed:
                touched._written.clear()  # what is in memory dies too
        elif of_time:
            self.change(kind, of_time[0], found)

    def change(self, kind: str, scan_id: str, found: Any) -> None:
        """What happens to one scan; by a program, that is after a token."""
        store = self.season.store
        detections = [e.key for e in store.list("detections") if scan_id in e.key]
        touched.touch_scan(store, scan_id)
        if kind == "detect":
            self.season.detect(scan_id, found, self.any_analysis)
        elif kind == "damage":
            for key in detections:
                store.write_bytes(key, store.read_bytes(key)[:-20])
        elif kind == "lose detections":
            for key in detections:
                store.delete(key)
        elif kind == "lose receipt":
            store.delete(layout.receipt(scan_id))
        else:
            decision = Decision(
                scanner_id="A20",
                sha256="0" * 64,
                captured_at=None,
                outcome="kept",
                sets_aside=(scan_id,),
                decided_at=self.now,
            )
            write_decision(store, decision)

    def run(self, store: Store) -> None:
        """What a run does: which scans to detect, then the series."""
        (scanner,) = self.season.scanners
        current = self.season.analysis()
        publish_and_list_undetected(store, scanner, read_analysis(store, current), now=self.now)
        kept, self.season.store = self.season.store, store
        try:
            problems = build(self.season, self.now).problems
            self.damaged = {problem.partition(".parquet ")[0].rpartition("/")[2] for problem in problems}
        finally:
            self.season.store = kept


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def same_from_everything(play: Play) -> None:
    """What runs have made is what `rebuild` makes, beside it and from nothing."""
    made = play.season.files()
    rebuild(play.season.project, play.season.store, play.now)
    assert play.season.files() == made
    told = stored_as_of(play.season.store, "A20") or play.now  # later than now where a clock was ahead; never goes back
    for key in made:
        if key.startswith("series/"):
            play.season.store.delete(key)
    rebuild(play.season.project, play.season.store, max(play.now, told))
    assert play.season.files() == made


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, min_size=1, max_size=12))
def test_what_runs_make_bit_by_bit_is_what_is_made_from_everything(
    season: Any, make_scanner: Any, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, int, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play = Play(type(season)(Path(folder)), make_scanner)
        monkeypatch.setattr(touched, "clock", play.clock)
        for number in BASE:
            play.do("scan", number, [MITE])
        for kind, number, found in [("run", 0, None), *events, ("run", 0, None)]:
            play.do(kind, number, found)
        truth = read_truth(play.season.store, play.season.scanners[0])
        assert publish_and_list_undetected(
            play.season.store, play.season.scanners[0], read_analysis(play.season.store, play.season.analysis())
        ) == (list_undetected(truth, damaged=play.damaged) if truth.receipts else ())
        assert [p for p in verify(play.season.project, play.season.store) if p.kind == "series"] == []
        same_from_everything(play)


def test_a_scan_of_a_new_year_is_compared_with_the_last_scans_of_the_old_one(season: Any, make_scanner: Any) -> None:
    play = Play(season, make_scanner)
    for hour in range(-72, 6, 6):
        play.do("scan", hour, [MITE])
    play.run(season.store)
    play.do("scan", 6, [MITE, SPRINGTAIL])
    summary = build(season, play.now)
    assert {key.split("/")[2] for key in summary.changed} == {"year=2024"}
    same_from_everything(play)


@pytest.mark.parametrize("writes", range(18))
def test_a_run_killed_at_any_write_is_made_good_by_the_next(
    season: Any, make_scanner: Any, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Also where what changed is taken back before the next run, of a year at which nothing else makes it look."""
    play = Play(season, make_scanner)
    monkeypatch.setattr(touched, "clock", play.clock)
    for hour in (-12, -6, 0, 6):
        play.do("scan", hour, [MITE])
    events = [
        ("run", 0),
        ("time passes", 3),
        ("run", 0),
        ("clock", 8),
        ("killed run", writes),
        ("clock", 0),
        ("run", 0),
    ]
    for kind, number in events:
        play.do(kind, number, None)
    same_from_everything(play)


@pytest.mark.parametrize("killed", [False, True])
def test_of_two_runs_at_once_the_slower_one_leaves_nothing_old(
    season: Any, make_scanner: Any, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Both write the same year; the one with the older truth writes last, and may be killed right after."""
    play = Play(season, make_scanner)
    monkeypatch.setattr(touched, "clock", play.clock)
    for kind, number in [("scan", -6), ("scan", 0), ("run", 0), ("time passes", 3), ("run", 0), ("scan", 6)]:
        play.do(kind, number, [MITE])
    honest, begun = series.scanner_tables, []

    def slow(*args: Any) -> Any:
        tables = list(honest(*args))
        if not begun:
            begun.append(True)
            play.do("scan", 12, [SPRINGTAIL])
            play.do("run", 0, None)
            yield from tables
            if killed:
                raise Killed
        else:
            yield from tables

    monkeypatch.setattr(series, "scanner_tables", slow)
    try:
        build(season, play.now)
    except Killed:
        assert killed
        assert list(table(season, "slots")["state"]).count("observed") == 2  # the older truth, so far
        play.do("run", 0, None)
    assert list(table(season, "slots")["state"]).count("observed") == 3
    same_from_everything(play)
