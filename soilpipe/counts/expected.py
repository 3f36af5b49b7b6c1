"""When scans of a scanner are expected.

Slots given as local times follow the clock on the wall: a time that does not exist on the day the clock goes forward is
skipped, and one that comes twice is taken the first time. Slots given as an interval follow elapsed time, from midnight
of 1 January 2000 in the scanner's zone, so that neither a clock change nor an older scan found later moves them. Every
scan of an irregular scanner is its own slot. Where the project file has several plans, each holds in its own time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from soilpipe.config import Scanner
from soilpipe.config.values import Slots

DAY = timedelta(days=1)


def smallest_gap(scanner: Scanner, moment: datetime | None = None) -> timedelta | None:
    """The smallest time between two slots by the clock on the wall; None where each scan is its own slot.

    Of the plan that holds at ``moment``; without one, of the last plan.
    """
    slots = scanner.slots if moment is None else scanner.slots_at(moment)
    if isinstance(slots, timedelta):
        return slots
    if isinstance(slots, str):
        return None
    offsets = [_since_midnight(at) for at in sorted(set(slots))]
    following = [*offsets[1:], offsets[0] + DAY]
    return min(after - before for before, after in zip(offsets, following, strict=True))


def expected_slots(scanner: Scanner, start: datetime, end: datetime) -> list[datetime]:
    """The slots of a scanner with start <= slot <= end (UTC), in order; none while it is irregular."""
    found = []
    begin = start
    for plan in scanner.earlier_slots:
        # Up to the end of the plan, which itself is the next one's.
        found += [
            slot for slot in _slots_of(plan.slots, scanner.zone, begin, min(plan.until, end)) if slot < plan.until
        ]
        begin = max(begin, plan.until)
    return found + _slots_of(scanner.slots, scanner.zone, begin, end)


def _slots_of(slots: Slots, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The slots of one plan with start <= slot <= end."""
    if isinstance(slots, str) or start > end:
        return []
    if isinstance(slots, timedelta):
        origin = datetime(2000, 1, 1, tzinfo=zone).astimezone(UTC)
        first = -((origin - start) // slots)
        last = (end - origin) // slots
        return [origin + k * slots for k in range(first, last + 1)]
    day, last_day = start.astimezone(zone).date(), end.astimezone(zone).date()
    found = set()
    while day <= last_day:
        found |= {slot for at in slots if (slot := _on_the_wall(zone, day, at)) and start <= slot <= end}
        day += DAY
    return sorted(found)


def _since_midnight(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond)


def _on_the_wall(zone: ZoneInfo, day: date, at: time) -> datetime | None:
    """The first moment at which the clock shows this, in UTC; None when it never does."""
    local = datetime.combine(day, at.replace(tzinfo=None), tzinfo=zone)
    moment = local.astimezone(UTC)
    shown = moment.astimezone(zone)
    return moment if shown.replace(tzinfo=None) == local.replace(tzinfo=None) else None
