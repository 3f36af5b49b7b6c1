"""When scans of a scanner are expected.

Slots given as local times follow the clock on the wall: a time that does not exist on the day the clock goes forward is
skipped, and one that comes twice is taken the first time. Slots given as an interval follow elapsed time, from midnight
of 1 January 2000 in the scanner's zone, so that neither a clock change nor an older scan found later moves them. Every
scan of an irregular scanner is its own slot.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from soilpipe.config import Scanner

DAY = timedelta(days=1)


def smallest_gap(scanner: Scanner) -> timedelta | None:
    """The smallest time between two slots by the clock on the wall; None for irregular scanners."""
    if isinstance(scanner.slots, timedelta):
        return scanner.slots
    if isinstance(scanner.slots, str):
        return None
    offsets = [_since_midnight(at) for at in _times(scanner)]
    following = [*offsets[1:], offsets[0] + DAY]
    return min(after - before for before, after in zip(offsets, following, strict=True))


def expected_slots(scanner: Scanner, start: datetime, end: datetime) -> list[datetime]:
    """The slots of a scanner with start <= slot <= end (UTC), in order; [] for irregular scanners."""
    if isinstance(scanner.slots, str) or start > end:
        return []
    if isinstance(scanner.slots, timedelta):
        origin = datetime(2000, 1, 1, tzinfo=scanner.zone).astimezone(UTC)
        first = -((origin - start) // scanner.slots)
        last = (end - origin) // scanner.slots
        return [origin + k * scanner.slots for k in range(first, last + 1)]
    day, last_day = start.astimezone(scanner.zone).date(), end.astimezone(scanner.zone).date()
    found = []
    while day <= last_day:
        found += [slot for at in _times(scanner) if (slot := _on_the_wall(scanner, day, at)) and start <= slot <= end]
        day += DAY
    return sorted(set(found))


def _times(scanner: Scanner) -> list[time]:
    assert isinstance(scanner.slots, tuple)
    return sorted(set(scanner.slots))


def _since_midnight(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond)


def _on_the_wall(scanner: Scanner, day: date, at: time) -> datetime | None:
    """The first moment at which the clock shows this, in UTC; None when it never does."""
    local = datetime.combine(day, at.replace(tzinfo=None), tzinfo=scanner.zone)
    moment = local.astimezone(UTC)
    shown = moment.astimezone(scanner.zone)
    return moment if shown.replace(tzinfo=None) == local.replace(tzinfo=None) else None
