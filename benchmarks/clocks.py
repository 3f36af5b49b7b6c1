"""How often `soilpipe status` cries wolf over a device's clock, and how often it sees a wrong one: drawn seasons.

Harmless seasons differ in slots, time zone, clock changes, jitter, outages and in how the files come: at once, in daily
or weekly heaps, on memory cards with dates of their own, as a backlog that drains. Faults are then put into such
seasons. Run: python benchmarks/clocks.py [--seasons N] [--days N] [--seed N]
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

from soilpipe import layout
from soilpipe.config import Scanner
from soilpipe.counts.clocks import ClockDoubt, clock_doubts
from soilpipe.counts.expected import expected_slots
from soilpipe.counts.slots import timetable
from soilpipe.ingest.clock import shown_utc, to_utc
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import Receipt

START = datetime(2024, 1, 20, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Shown = Callable[[datetime, Scanner], datetime]
UPLOADS = ("at once", "daily", "weekly", "monthly visit", "card, right dates", "card, other zone", "backlog", "undated")


def wall(at: datetime, scanner: Scanner) -> datetime:
    return at.astimezone(scanner.zone).replace(tzinfo=None)


def draw_scanner(chance: random.Random) -> Scanner:
    slots = chance.choice([(time(0), time(6), time(12), time(18)), (time(8),), HOUR, 20 * MINUTE, "irregular"])
    zone = chance.choice(["Europe/Paris", "UTC", "America/New_York", "Australia/Lord_Howe", "America/Cayenne"])
    return Scanner(id="A20", site="wood", inbox="/nowhere", timezone=zone, slots=slots)


def draw_times(chance: random.Random, scanner: Scanner, days: int) -> list[datetime]:
    """When scans are taken: on the slots with some jitter, some missed, two outages of up to 40 days."""
    end = START + days * DAY
    if scanner.slots == "irregular":
        times = [START]
        while times[-1] < end:
            times.append(times[-1] + chance.expovariate(1 / 8) * HOUR + 10 * MINUTE)
    else:
        times = expected_slots(scanner, START, end)
    jitter = chance.choice([0, 0, 1, 8]) * MINUTE
    outages = [(START + chance.uniform(0, days) * DAY, chance.expovariate(1 / 6) * DAY) for _ in range(2)]
    kept = [at for at in times if not any(begin <= at < begin + min(span, 40 * DAY) for begin, span in outages)]
    return [at + chance.uniform(0, 1) * jitter for at in kept if chance.random() > 0.03]


def draw_arrivals(chance: random.Random, times: list[datetime]) -> tuple[str, list[datetime | None]]:
    """How the files come, and when each was last changed."""
    kind = chance.choice(UPLOADS)
    slow = chance.choice([1, 5, 40])
    came: list[datetime | None] = []
    ready = START
    gap = sorted(after - before for before, after in pairwise(times))[len(times) // 2]
    for at in times:
        if kind == "at once":
            came.append(at + (1 + chance.expovariate(1 / slow)) * MINUTE)
        elif kind in ("daily", "weekly", "monthly visit"):
            every = {"daily": DAY, "weekly": 7 * DAY, "monthly visit": 30 * DAY}[kind]
            heap = START + ((at - START) // every + 1) * every
            ready = max(ready, heap) + chance.uniform(1, 20) * timedelta(seconds=1)
            came.append(ready)
        elif kind == "card, right dates":
            came.append(at + chance.uniform(0, 60) * timedelta(seconds=1))
        elif kind == "card, other zone":
            came.append(at - 9 * HOUR)
        elif kind == "backlog":  # a weak line, silent at times, that then carries two scans in the time of one
            if chance.random() < 0.03 * (gap / DAY):
                ready = max(ready, at) + chance.uniform(0, 12) * DAY
            ready = max(ready + gap / 2, at + MINUTE)
            came.append(ready)
        else:
            came.append(None)
    return kind, came


def doubts_of(scanner: Scanner, shown: list[datetime], came: list[datetime | None], now: datetime) -> list[ClockDoubt]:
    receipts = [receipt(scanner, n, *pair) for n, pair in enumerate(zip(shown, came, strict=True))]
    scans = [(r.scan_id, to_utc(r.device_time, scanner, r.source_modified)) for r in receipts]
    return clock_doubts(scanner, receipts, timetable(scanner, scans, [], now).slots, now)


def receipt(scanner: Scanner, number: int, shown: datetime, came: datetime | None) -> Receipt:
    shown = shown.replace(microsecond=0)
    sha256 = f"{number:064x}"
    return Receipt.model_construct(
        scan_id=layout.make_scan_id(scanner.id, shown, f"{number:08x}" + sha256[8:]),
        scanner_id=scanner.id,
        device_time=shown,
        captured_at=shown_utc(shown, scanner),
        source_modified=came.timestamp() if came else 0.0,
        quality=Quality.model_construct(),
    )


def fault(kind: str, begin: datetime, span: timedelta, size: float) -> Shown:
    """What the clock shows: ``size`` in days for a jump, in seconds a day for a drift."""

    def shown(at: datetime, scanner: Scanner) -> datetime:
        if kind == "drift":
            return wall(at + size * ((at - START) / DAY) * timedelta(seconds=1), scanner)
        if not begin <= at < begin + span:
            return wall(at, scanner)
        if kind == "reset":
            return datetime(2000, 1, 1) + (at - begin)  # noqa: DTZ001 - as the device shows it
        return wall(at, scanner) + size * DAY

    return shown


FAULTS: dict[str, tuple[str, float, float]] = {
    # name: kind, days that it lasts, size
    "reset, 7 days": ("reset", 7, 0),
    "behind by 40 days, for 7 days": ("jump", 7, -40),
    "behind by 40 days, for 2 days": ("jump", 2, -40),
    "ahead by 40 days, for 7 days": ("jump", 7, 40),
    "behind by 3 days, for 20 days": ("jump", 20, -3),
    "drift of 10 s a day": ("drift", 0, 10),
    "drift of -10 s a day": ("drift", 0, -10),
    "drift of 60 s a day": ("drift", 0, 60),
}


def season(seed: int, days: int, name: str | None) -> tuple[str, set[str]]:
    """The kinds of signs in one season, and how its files came."""
    chance = random.Random(seed)
    scanner = draw_scanner(chance)
    times = draw_times(chance, scanner, days)
    upload, came = draw_arrivals(chance, times)
    follows = chance.random() < 0.7  # the clock changes by itself in spring and autumn
    shown: Shown = wall
    if name is not None:
        kind, lasts, size = FAULTS[name]
        begin = times[int(len(times) * chance.uniform(0.2, 0.8))]
        shown = fault(kind, begin, lasts * DAY, size)
    winter = START.astimezone(scanner.zone).utcoffset() or timedelta()
    told = [
        shown(at, scanner)
        if follows
        else shown(at, scanner) - ((at.astimezone(scanner.zone).utcoffset() or winter) - winter)
        for at in times
    ]
    return upload, {doubt.kind for doubt in doubts_of(scanner, told, came, START + (days + 3) * DAY)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seasons", type=int, default=400)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    seeds = range(given.seed * 1_000_000, given.seed * 1_000_000 + given.seasons)
    alarms: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for seed in seeds:
        upload, kinds = season(seed, given.days, None)
        seen[upload] += 1
        alarms[upload] += bool(kinds)
        if kinds:
            print("  false alarm:", seed, upload, kinds)
    print(f"harmless: {sum(alarms.values())} of {given.seasons} seasons of {given.days} days are suspected")
    for upload in UPLOADS:
        print(f"  files come {upload:17s} {alarms[upload]:4d} of {seen[upload]}")
    for name in FAULTS:
        found: Counter[str] = Counter()
        of: Counter[str] = Counter()
        by: Counter[str] = Counter()
        for seed in seeds[: given.seasons // 2]:
            upload, kinds = season(seed, given.days, name)
            of[upload] += 1
            found[upload] += bool(kinds)
            by.update(kinds)
        told = ", ".join(f"{upload} {found[upload]}/{of[upload]}" for upload in UPLOADS)
        print(f"{name}: seen in {sum(found.values())} of {sum(of.values())} ({dict(by)}); {told}")


if __name__ == "__main__":
    main()
