"""Signs that the clock of a device is wrong, or was. They accuse nobody: a person looks, and writes a `clock:` entry.

What the signs are made of: the times of scans as the project file corrects them, so that what is mended is not told
again; the slots that they took; and when their files were last changed in the inbox, which is when they came unless
whoever copied them kept older dates. What is told, and why not more:

reset   a year before 2001. No soil scanner is so old, and clocks that lose their power begin there.
ahead   the file is more than a day older than its picture. Less can be a wrong time zone of a memory card.
jump    at least four files came one by one at the pace at which they were taken, but more than a day late, and so from
        one file to the next. Files that were collected come in heaps and a backlog shrinks as it is worked off, so a
        visit, a weak line or a month of silence is no jump; and a jump behind files that come in heaps is not seen.
drift   over at most 90 days, the files come ever later or earlier after their times, or, where that cannot be told, the
        scans after their slots: steadily, by 10 minutes or an eighth of the gap between slots in all. A bad clock
        crystal (100 ppm) is 9 s a day off and gets there in 10 weeks, when nothing is in a wrong slot yet; uploads and
        scans that take longer now and then do not grow steadily, and a clock change is one step.

`python benchmarks/clocks.py` counts false alarms and what is seen, by the way in which files come.

An entry with `offset: +0s` says that somebody has looked and the clock was right: its scans give no sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from soilpipe.config import Scanner
from soilpipe.counts.expected import smallest_gap
from soilpipe.counts.slots import Slot
from soilpipe.ingest.clock import NEVER_BEFORE, entry_for, to_utc
from soilpipe.ingest.receipts import Scanned

FAR = timedelta(days=1)
JUMP_SCANS = 4
LEVEL = timedelta(hours=3)
DRIFT_SCANS = 12
DRIFT_SPAN = timedelta(days=90)
DRIFT_SHORTEST = timedelta(days=3)
DRIFT_MOVED = timedelta(minutes=10)
DRIFT_FASTEST = timedelta(minutes=5)
"""A day. What comes ever later by more than this waits in a queue."""
DRIFT_STEADY = 4
"""How many times what moved is larger than what scatters about the line."""
MOST_POINTS = 300


@dataclass(frozen=True)
class ClockDoubt:
    """One sign. ``kind``: reset, ahead, jump or drift; ``seconds``: how far off, for drift a day, None where unknown.

    ``entry`` is a line for `clock:` to begin with: what it takes for the real time is when files came.
    """

    kind: str
    first_scan_id: str
    last_scan_id: str
    n_scans: int
    seconds: float | None
    sentence: str
    entry: str


class Shown(NamedTuple):
    """One scan: what its clock showed, when its file came (epoch seconds), and when it was taken (UTC) as of now."""

    scan_id: str
    device_time: datetime
    source_modified: float
    captured_at: datetime


def clock_doubts(
    scanner: Scanner, receipts: Sequence[Scanned], slots: Sequence[Slot], now: datetime
) -> list[ClockDoubt]:
    """The signs, most serious first."""
    looked_at = [_shown(receipt, scanner) for receipt in receipts if not _said_right(scanner, receipt)]
    believed = [r for r in looked_at if NEVER_BEFORE <= r.captured_at <= now + FAR]
    dated = [r for r in believed if r.source_modified >= NEVER_BEFORE.timestamp()]
    doubts = [*_resets(scanner, looked_at), *_ahead(scanner, dated), *_jumps(scanner, dated)]
    # A clock that jumped is not judged for its drift: the line would go through two clocks.
    return doubts or _drift(scanner, believed, dated, slots)


def _shown(receipt: Scanned, scanner: Scanner) -> Shown:
    at = to_utc(receipt.device_time, scanner, receipt.source_modified)
    return Shown(receipt.scan_id, receipt.device_time, receipt.source_modified, at)


def _said_right(scanner: Scanner, receipt: Scanned) -> bool:
    entry = entry_for(receipt.device_time, scanner, receipt.source_modified)
    return entry is not None and entry.says_right


def _resets(scanner: Scanner, receipts: Sequence[Shown]) -> Iterator[ClockDoubt]:
    wrong = sorted((r for r in receipts if r.captured_at < NEVER_BEFORE), key=lambda r: r.device_time)
    for _, group in groupby(wrong, key=lambda r: r.device_time.year):
        scans = list(group)
        first = scans[0]
        came = _came(first, scanner)
        line = _line(scanner, scans, f"set: {came or 'YYYY-MM-DD HH:MM'}", "the clock was reset")
        known = f"; its file was last changed {came}" if came else ""
        yield _doubt(
            "reset",
            scans,
            None,
            f"{_these(scanner, scans)} tell a year in which no scanner was there: the clock was reset. They have no "
            f"slot and no counts until `clock:` in the project file says when the first was really taken{known}",
            line,
        )


def _ahead(scanner: Scanner, dated: Sequence[Shown]) -> Iterator[ClockDoubt]:
    scans = [r for r in dated if _lag(r) < -FAR.total_seconds()]
    if scans:
        ahead = -float(np.median([_lag(r) for r in scans]))
        yield _doubt(
            "ahead",
            scans,
            ahead,
            f"{_these(scanner, scans)} tell times {in_words(ahead)} after their files were last changed: the clock of "
            "the device was ahead, or the dates of the files are wrong",
            _line(scanner, scans, f"offset: -{in_words(ahead)}", "the clock was ahead"),
        )


def _jumps(scanner: Scanner, dated: Sequence[Shown]) -> Iterator[ClockDoubt]:
    ordered = sorted(dated, key=lambda r: (r.source_modified, r.captured_at))
    for scans in _fallen_back(ordered):
        behind = float(np.median([_lag(r) for r in scans]))
        yield _doubt(
            "jump",
            scans,
            -behind,
            f"{_these(scanner, scans)} came one by one as if just taken, but {in_words(behind)} after the times "
            "that they tell: the clock of the device was behind",
            _line(scanner, scans, f"offset: +{in_words(behind)}", "the clock was behind"),
        )


def _fallen_back(ordered: Sequence[Shown]) -> Iterator[list[Shown]]:
    """Scans, in order of arrival, that came live but a day or more late, all at once so and about equally late.

    A queue of files that is worked off comes late as well, but its delay begins with one file and shrinks with each.
    """
    far = FAR.total_seconds()
    before: Shown | None = None
    for scans in _levels(ordered):
        late = float(np.median([_lag(r) for r in scans]))
        begins_at_once = before is None or abs(late - _lag(before)) > far
        if late > far and begins_at_once and max(map(len, _live_runs(scans))) >= JUMP_SCANS:
            yield scans
        before = scans[-1]


def _levels(ordered: Sequence[Shown]) -> Iterator[list[Shown]]:
    """The scans in runs that came about as late as the first of the run."""
    level: list[Shown] = []
    for receipt in ordered:
        if level and abs(_lag(receipt) - _lag(level[0])) > LEVEL.total_seconds():
            yield level
            level = []
        level.append(receipt)
    if level:
        yield level


def _live_runs(ordered: Sequence[Shown]) -> Iterator[list[Shown]]:
    """The scans, in order of arrival, in runs whose files came at the pace at which they were taken, to a quarter."""
    run = list(ordered[:1])
    for before, after in pairwise(ordered):
        taken = (after.captured_at - before.captured_at).total_seconds()
        if not (taken > 0 and abs(_lag(after) - _lag(before)) <= taken / 4):
            yield run
            run = []
        run.append(after)
    if run:
        yield run


def _drift(
    scanner: Scanner, believed: Sequence[Shown], dated: Sequence[Shown], slots: Sequence[Slot]
) -> list[ClockDoubt]:
    """Judged by the files where they come steadily enough to tell, since it is then the clock and not the schedule."""
    gap = smallest_gap(scanner)
    enough = (min(DRIFT_MOVED, gap / 8) if gap is not None else DRIFT_MOVED).total_seconds()
    lags = _trend([(r, _lag(r)) for r in dated])
    by_files = lags is not None and (lags.moves(enough) or lags.scatter_s * DRIFT_STEADY <= enough)
    trend = lags if by_files else _trend(_behind_slots(scanner, believed, slots))
    if trend is None or not trend.moves(enough):
        return []
    loses = trend.per_day_s > 0
    what = (
        f"come {'ever later' if loses else 'ever earlier'} after the times that they tell"
        if by_files
        else f"tell times {'ever earlier' if loses else 'ever later'} than their slots: its schedule drifts, or"
    )
    rate = f"{abs(trend.per_day_s):.1f}s a day"
    return [
        _doubt(
            "drift",
            trend.scans,
            -trend.per_day_s,
            f"{_these(scanner, trend.scans)} {what}{':' if by_files else ''} the clock of the device "
            f"{'loses' if loses else 'gains'} {rate} ({in_words(abs(trend.moved_s))} by now)",
            _line(scanner, trend.scans, f"drift: {'+' if loses else '-'}{rate}", "the clock drifts", lasting=True),
        )
    ]


@dataclass(frozen=True)
class _Trend:
    """A line through points: ``per_day_s`` its slope, ``moved_s`` from end to end, ``scatter_s`` about it."""

    scans: list[Shown]
    per_day_s: float
    moved_s: float
    scatter_s: float

    def moves(self, enough_s: float) -> bool:
        """Whether that is a drift: enough, plain beside what scatters, and no faster than a clock can be wrong."""
        slow = abs(self.per_day_s) <= DRIFT_FASTEST.total_seconds()
        return slow and abs(self.moved_s) >= max(enough_s, DRIFT_STEADY * self.scatter_s)


def _behind_slots(scanner: Scanner, believed: Sequence[Shown], slots: Sequence[Slot]) -> list[tuple[Shown, float]]:
    """By how many seconds the time of each scan lies before its slot.

    A clock that has drifted past half the gap puts scans into the next slot. Where slots are equally far apart, that
    is followed, as if they had stayed with their own.
    """
    by_id = {receipt.scan_id: receipt for receipt in believed}
    found = [(by_id[s.scan_id], -s.delay_s) for s in slots if s.scan_id in by_id and s.delay_s is not None]
    gap = smallest_gap(scanner)
    even = isinstance(scanner.slots, timedelta) or (gap is not None and gap * len(scanner.slots) == timedelta(days=1))
    if gap is None or not even:
        return found
    behind = np.unwrap([seconds for _, seconds in found], period=gap.total_seconds())
    return [(receipt, float(seconds)) for (receipt, _), seconds in zip(found, behind, strict=True)]


def _trend(points: Sequence[tuple[Shown, float]]) -> _Trend | None:
    """The median slope of all pairs (Theil 1950, Sen 1968) of the last 90 days: a few odd points do not turn it."""
    points = sorted(points, key=lambda point: point[0].captured_at)
    points = [point for point in points if point[0].captured_at >= points[-1][0].captured_at - DRIFT_SPAN]
    if len(points) < DRIFT_SCANS or points[-1][0].captured_at - points[0][0].captured_at < DRIFT_SHORTEST:
        return None
    scans = [receipt for receipt, _ in points]
    points = [points[i] for i in np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int))]
    day = np.array([receipt.captured_at.timestamp() for receipt, _ in points]) / 86_400
    day -= day[0]
    value = np.array([value for _, value in points])
    one, other = np.triu_indices(len(points), 1)
    apart = day[other] - day[one]
    slopes = (value[other] - value[one])[apart > 0] / apart[apart > 0]
    slope = float(np.median(slopes))
    off = value - slope * day
    scatter = float(np.quantile(np.abs(off - np.median(off)), 0.9))
    return _Trend(scans, slope, slope * float(day[-1]), scatter)


def _lag(receipt: Shown) -> float:
    """Seconds from a scan to the last change of its file."""
    return receipt.source_modified - receipt.captured_at.timestamp()


def _came(receipt: Shown, scanner: Scanner) -> str | None:
    """When its file was last changed, in local time to the minute; None where its date says nothing."""
    if receipt.source_modified < NEVER_BEFORE.timestamp():
        return None
    return f"{datetime.fromtimestamp(receipt.source_modified, UTC).astimezone(scanner.zone):%Y-%m-%d %H:%M}"


def _these(scanner: Scanner, scans: Sequence[Shown]) -> str:
    times = [r.device_time for r in scans]
    span = (
        f"of {min(times):%Y-%m-%d %H:%M}"
        if len(scans) == 1
        else f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M}"
    )
    return f"{len(scans)} scan{'s' if len(scans) > 1 else ''} of {scanner.id} ({span} by its clock)"


def _line(scanner: Scanner, scans: Sequence[Shown], what: str, reason: str, lasting: bool = False) -> str:
    times = [r.device_time for r in scans]
    until = "" if lasting else f" until: {max(times) + timedelta(minutes=1):%Y-%m-%d %H:%M},"
    return f"- {{scanner: {scanner.id}, from: {min(times):%Y-%m-%d %H:%M},{until} {what}, reason: {reason}}}"


def _doubt(kind: str, scans: Sequence[Shown], seconds: float | None, sentence: str, entry: str) -> ClockDoubt:
    advice = f"{sentence}. When that is so, write below `clock:`, with the real times: {entry}"
    return ClockDoubt(kind, scans[0].scan_id, scans[-1].scan_id, len(scans), seconds, advice, entry)


def in_words(seconds: float) -> str:
    """A span as the project file spells it, to the minute where it is long: "430d 2h 5min"; seconds below an hour."""
    left = round(seconds / 60) * 60 if seconds >= 3600 else round(seconds)
    parts = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        n, left = divmod(left, size)
        parts += [f"{n}{name}"] if n else []
    return " ".join(parts) or "0s"
