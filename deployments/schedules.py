"""When deployments run: a scanner's a few minutes after each of its slots, by the clock of its own time zone; the
refresh and the upkeep once a week, by the project's."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from prefect.schedules import Cron, Interval, Schedule

if TYPE_CHECKING:
    from soilpipe.config import RefreshPlan, Scanner

AFTER_SLOT = timedelta(minutes=5)
"""A scan takes minutes and is named by its beginning; its upload takes minutes more."""
LONGEST_SPREAD = timedelta(minutes=30)
DAY = 24 * 60
WEEK = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
"""As cron counts, from 0."""


def schedules_of(scanner: Scanner) -> tuple[Schedule, ...]:
    """One schedule per slot, or one for a scanner of equal intervals; irregular scanners run hourly.

    Each has a slug that says what it is, by which an older schedule of the same deployment is found again.
    """
    slots = scanner.slots
    if isinstance(slots, timedelta):
        return (_every(slots, scanner),)
    if isinstance(slots, str):
        return (Cron(f"{spread(scanner.id, timedelta(hours=1))} * * * *", timezone=scanner.timezone, slug="hourly"),)
    offset = _offset_minutes(scanner, smallest_gap(slots))
    return tuple(_daily(slot, offset, scanner.timezone) for slot in sorted(slots))


def refresh_schedule(plan: RefreshPlan, timezone: str) -> Schedule:
    """Once a week, at the full hour that the project file says."""
    return Cron(f"0 {plan.hour} * * {WEEK.index(plan.day)}", timezone=timezone, slug="weekly")


def upkeep_schedule(timezone: str) -> Schedule:
    """Once a week, in the night after that in which most refreshes run."""
    return Cron("30 4 * * 1", timezone=timezone, slug="weekly")


def smallest_gap(slots: tuple[time, ...]) -> timedelta:
    """The shortest time between two neighbouring slots of a day, the one over midnight included."""
    minutes = sorted(slot.hour * 60 + slot.minute for slot in slots)
    following = [*minutes[1:], minutes[0] + DAY]
    return timedelta(minutes=min(after - before for before, after in zip(minutes, following, strict=True)))


def spread(scanner_id: str, width: timedelta) -> int:
    """A whole number of minutes in [0, width), always the same for a scanner.

    It keeps hundreds of scanners with the same slots from starting in the same minute.
    """
    digest = int.from_bytes(hashlib.sha256(scanner_id.encode()).digest()[:8])
    return digest % max(1, int(width / timedelta(minutes=1)))


def _offset_minutes(scanner: Scanner, gap: timedelta) -> int:
    # Half the gap at most, so that a slot's run still comes before the next slot's scan.
    settled = math.ceil((scanner.settle + AFTER_SLOT) / timedelta(minutes=1))
    width = min(LONGEST_SPREAD, gap / 2)
    return min(settled, int(gap / timedelta(minutes=2))) + spread(scanner.id, width)


def _daily(slot: time, offset: int, timezone: str) -> Schedule:
    hour, minute = divmod((slot.hour * 60 + slot.minute + offset) % DAY, 60)
    return Cron(f"{minute} {hour} * * *", timezone=timezone, slug=f"slot-{slot:%H%M}")


def _every(interval: timedelta, scanner: Scanner) -> Schedule:
    """Local clock times where the interval divides the hour or the day, else steps from a fixed midnight."""
    minutes, rest = divmod(interval, timedelta(minutes=1))
    offset = _offset_minutes(scanner, interval)
    slug = f"every-{_words(interval)}"
    if not rest and minutes and 60 % minutes == 0:
        at = ",".join(str(minute) for minute in sorted((start + offset) % 60 for start in range(0, 60, minutes)))
        return Cron(f"{at} * * * *", timezone=scanner.timezone, slug=slug)
    if not rest and minutes % 60 == 0 and DAY % minutes == 0:
        starts = [(start + offset) % DAY for start in range(0, DAY, minutes)]
        hours = ",".join(str(hour) for hour in sorted(start // 60 for start in starts))
        return Cron(f"{offset % 60} {hours} * * *", timezone=scanner.timezone, slug=slug)
    # Prefect refuses to schedule more often than it can start a flow run; a run takes everything there is anyway.
    step = max(interval, timedelta(minutes=1))
    midnight = datetime(2024, 1, 1, tzinfo=scanner.zone)
    return Interval(step, anchor_date=midnight + timedelta(minutes=offset), timezone=scanner.timezone, slug=slug)


def _words(interval: timedelta) -> str:
    seconds = int(interval.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
