"""Scanner and time from a file's name: four presets for names in use, or one's own regular expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath

from soilpipe.errors import SoilpipeError

_DATE = r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
PRESETS = {
    # DIAMS_A20_O_2024-03-06_06H00M.jp2, scan106_2023-06-16_08H00M24S.tiff
    "soil_scan": rf"(?P<scanner>.+)_{_DATE}_(?P<hour>\d{{2}})H(?P<minute>\d{{2}})M(?:(?P<second>\d{{2}})S)?",
    # 08038ade.2020-07-08_10-48-38.jpg
    "stickypi": rf"(?P<scanner>[^.]+)\.{_DATE}_(?P<hour>\d{{2}})-(?P<minute>\d{{2}})-(?P<second>\d{{2}})",
    # PD_T088_L004_17.10.18_140056_014_SS_crop.tiff: experiment, tube, window; day.month.year, time, session, initials.
    # A scanner is one window of one tube, here PD_T088_L004: the place whose scans are compared through time.
    "ci600": (
        r"(?P<scanner>.+_T\d+_L\d+)_(?P<day>\d{2})\.(?P<month>\d{2})\.(?P<year>\d{2}|\d{4})"
        r"_(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?:_.*)?"
    ),
    # A20_2024-03-06T06:00:00, 20240306T060000, 2024-03-06_06-00; what stands before the time is not looked at.
    "iso": (
        r"(?:.*[_.-])?(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
        r"[T_ ](?P<hour>\d{2})[:-]?(?P<minute>\d{2})(?:[:-]?(?P<second>\d{2}))?"
    ),
}
_TIME_GROUPS = ("year", "month", "day", "hour", "minute")


class NameError_(SoilpipeError):  # noqa: N801, N818 - NameError is Python's own
    """A file name that does not say what its pattern should find."""


@dataclass(frozen=True)
class NameParts:
    """``scanner``: None where the pattern has no such group. ``time``: naive, the device's own clock; None likewise."""

    scanner: str | None
    time: datetime | None


def parse_name(name: str, pattern: str) -> NameParts:
    """Read a file name by a preset or an expression with the groups year month day hour minute second scanner.

    An expression must match the whole name, with or without its extension. One without any time group leaves the
    time to the file, and so do names in which none of them is found. Raises NameError_ when it does not match, when
    only a part of the time is found (`(?P<hour>...)?` allows that), or when the time does not exist.
    """
    match = _match(name, pattern)
    return NameParts(match.groupdict().get("scanner"), _time(match, name))


def begin_and_time(name: str, pattern: str) -> tuple[str, datetime] | None:
    """What stands before the time in a name, and the time: of the names that begin so, later times sort later.

    None where the name does not follow the pattern, or where times are not written from the year to the smallest unit.
    """
    try:
        match = _match(name, pattern)
        time = _time(match, name)
    except NameError_:
        return None
    if time is None:
        return None
    places = [match.start(group) for group in (*_TIME_GROUPS, "second") if group in match.re.groupindex]
    places = [place for place in places if place >= 0]
    return (name[: places[0]], time) if places == sorted(places) else None


def _match(name: str, pattern: str) -> re.Match[str]:
    expression = _compiled(PRESETS.get(pattern, pattern))
    match = expression.fullmatch(PurePosixPath(name).stem) or expression.fullmatch(name)
    if match is None:
        raise NameError_(f"the name {name!r} does not follow the pattern {pattern!r}")
    return match


def _time(match: re.Match[str], name: str) -> datetime | None:
    groups = match.groupdict()
    found = {group: groups[group] for group in _TIME_GROUPS if groups.get(group) is not None}
    if not found:
        return None
    if missing := [group for group in _TIME_GROUPS if group not in found]:
        raise NameError_(f"the name {name!r} follows its pattern, but leaves out the {', '.join(missing)}")
    try:
        year = int(found["year"])
        return datetime(  # noqa: DTZ001 - the device's own clock
            year + 2000 if len(found["year"]) == 2 else year,
            int(found["month"]),
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            int(groups.get("second") or 0),
        )
    except (ValueError, OverflowError) as error:
        raise NameError_(f"the name {name!r} holds a time that does not exist ({error})") from error


@lru_cache(maxsize=256)
def _compiled(expression: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise NameError_(f"`filename` {expression!r} is neither a preset nor a regular expression: {error}") from error
    found = set(compiled.groupindex)
    missing = [group for group in _TIME_GROUPS if group not in found]
    if missing and len(missing) < len(_TIME_GROUPS):
        raise NameError_(f"`filename` {expression!r} has groups for a time but none called {', '.join(missing)}")
    return compiled
