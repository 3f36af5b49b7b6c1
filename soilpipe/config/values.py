"""What single values of a project file may be. Each parser takes the text a person wrote, or the value itself.

All raise ValueError with a message of two halves: what is wrong, and what would be right. All are idempotent: what
they return, they accept.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from soilpipe.config.errors import nearest, shown

Slots = tuple[time, ...] | timedelta | Literal["irregular"]
"""Local times of day, sorted; or the interval from one scan to the next; or "irregular": each scan is its own slot."""

DAY = timedelta(days=1)
_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("min", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), DAY),
}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*[a-zA-Z]+\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")
_LONGEST = timedelta(days=3660)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ID_LENGTH = 64
_NOT_A_WORD = {"true", "false", "yes", "no", "on", "off", "null", "none", "nil", "na", "nan", "inf", "infinity"}


def parse_id(value: object) -> str:
    """A project, site or scanner id: as a folder, a file name and a value in tables it must stay what it is."""
    if not isinstance(value, str):
        raise ValueError(
            f"{shown(value)} is no text. Quote it, and put a letter into it: ids may not look like numbers"
        )
    remedy = "Ids are letters, digits, _ and -, and begin with a letter or a digit, such as DIAMS_A20_O"
    if not _ID.fullmatch(value):
        # A leading "_" would hide the scanner's tables from every Parquet reader, a leading "-" reads as an option.
        raise ValueError(f"{shown(value)} cannot be an id. {remedy}")
    if len(value) > _ID_LENGTH:
        raise ValueError(f"{shown(value)} has {len(value)} characters. Ids have at most {_ID_LENGTH}")
    kind = _other_reading(value)
    if kind is not None:
        raise ValueError(
            f"{shown(value)} reads as {kind} in tables and paths, and quoting it does not help. "
            f"Put letters into it, such as {shown('s' + value)}: ids may not look like numbers"
        )
    return value


def _other_reading(text: str) -> str | None:
    """What a reader of CSV, YAML or a Hive path could take this id for, or None: only for itself."""
    if text.casefold() in _NOT_A_WORD:
        return "a missing value, a number or yes or no"
    digits = text.replace("_", "") if text[0].isdigit() else text  # YAML skips every underscore in a number
    with contextlib.suppress(ValueError):
        float(digits)
        return "a number"
    with contextlib.suppress(ValueError):
        int(digits, 0)
        return "a number"
    with contextlib.suppress(ValueError):
        datetime.fromisoformat(text)
        return "a date"
    if not re.search("[A-Za-z]", text):
        return "a date or a number"
    return None


def number(low: float, high: float, what: str) -> Callable[[object], float]:
    """A parser of finite numbers within low..high, both included; `what` ends the sentence "Write ..."."""

    def parse(value: object) -> float:
        try:
            read = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            read = math.nan
        if not math.isfinite(read):
            raise ValueError(f"{shown(value)} is not a number. Write {what}")
        if not low <= read <= high:
            raise ValueError(f"{shown(value)} is out of bounds ({low:g} to {high:g}). Write {what}")
        return read

    return parse


parse_latitude = number(-90, 90, "decimal degrees, such as 43.61")
parse_longitude = number(-180, 180, "decimal degrees, such as 3.87")
parse_dpi = number(10, 30_000, "the scanner's resolution in dots per inch, such as 1200")
parse_window = number(0.01, 100_000, "the area that a scan shows in cm², such as 620")
parse_depth = number(0, 100_000, "the depth below the surface in cm, such as 20")
_parse_count = number(1, 1e12, "a number of pixels, such as 1.2e9")


def parse_pixels(value: object) -> int:
    return round(_parse_count(value))


def parse_boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError(f"{shown(value)} is neither true nor false. Write true or false")
    return words[value.lower()]


def parse_orientation(value: object) -> int:
    turns = {str(degrees): degrees for degrees in (0, 90, 180, 270)}
    if isinstance(value, bool) or str(value) not in turns:
        raise ValueError(f"{shown(value)} is no quarter turn. Write 0, 90, 180 or 270 (degrees clockwise)")
    return turns[str(value)]


def parse_colours(value: object) -> Literal["as_is", "srgb"]:
    """ "as_is", or "srgb": converted by the profile in the file, where it has one."""
    text = str(value).strip().lower()
    if text == "as_is":
        return "as_is"
    if text == "srgb":
        return "srgb"
    raise ValueError(f"{shown(value)} is no way to treat colours. Write as_is (as in the file) or srgb")


def parse_duration(value: object) -> timedelta:
    """ "2h", "90s", "2min", "3d", "1h 30min"."""
    span = value if isinstance(value, timedelta) else sum_of_parts(value, value)
    if not timedelta() <= span <= _LONGEST:
        raise ValueError(f"{shown(value)} is out of bounds. Write a duration from 0s to {_LONGEST.days}d")
    return span


def sum_of_parts(text: object, value: object) -> timedelta:
    """ "1h 30min" without limits; ``value`` is what an error shows."""
    right = "Write a number and a unit: 90s, 2min, 2h or 3d"
    if not isinstance(text, str) or not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{shown(value)} is no duration. {right}")
    span = timedelta()
    for number, unit in _DURATION_PART.findall(text):
        if unit.lower() == "m":
            raise ValueError(f"{shown(value)} could be minutes or months. Write {number}min for minutes")
        if unit.lower() not in _UNITS:
            raise ValueError(f"{shown(value)} has the unknown unit {unit!r}. {right}")
        with contextlib.suppress(OverflowError):
            span += float(number) * _UNITS[unit.lower()]
            continue
        raise ValueError(f"{shown(value)} is too long. Write at most {_LONGEST.days}d")
    return span


def parse_size(value: object) -> int:
    """ "4GB" (10^9), "4GiB" (2^30), in bytes."""
    right = "Write a number and a unit, such as 4GB or 800MB"
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", value.strip()) if isinstance(value, str) else None
        if found is None or found[2].lower() not in _BYTES:
            raise ValueError(f"{shown(value)} is no size. {right}")
        size = int(Decimal(found[1]) * _BYTES[found[2].lower()])
    if not 0 < size <= 10**15:
        raise ValueError(f"{shown(value)} is out of bounds. {right}")
    return size


def parse_timezone(value: object) -> str:
    """A name of the IANA time zone database that this machine knows."""
    if isinstance(value, str) and value not in ("localtime", "posixrules"):
        # OSError: "Europe" is a folder in the database.
        with contextlib.suppress(ValueError, KeyError, OSError):
            return ZoneInfo(value).key
    text = str(value).strip()
    zones = sorted(available_timezones())
    city = text.replace(" ", "_").casefold()
    near = next((zone for zone in zones if city in (zone.casefold(), zone.casefold().split("/")[-1])), None)
    near = near or nearest(text, zones) or "Europe/Paris or UTC"
    raise ValueError(f"{shown(value)} is no time zone. Write a name such as {near}")


def parse_slots(value: object) -> Slots:
    """Local times ("06:00" or a list), "every 20min", or "irregular"."""
    right = 'Write local times such as ["00:00", "06:00"], or every 20min, or irregular'
    if value == "irregular":
        return "irregular"
    if isinstance(value, timedelta):
        return _interval(value, value)
    if isinstance(value, str) and value.strip().lower().startswith("every"):
        return _interval(parse_duration(value.strip()[len("every") :].strip()), value)
    if isinstance(value, str | time):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} are no slots. {right}")
    if not value:
        raise ValueError(f"there is no time in the list. {right}")
    times = sorted(_time_of_day(item, right) for item in value)
    for earlier, later in itertools.pairwise(times):
        if earlier == later:
            raise ValueError(f"{later.isoformat('minutes')} stands twice. Keep one of them")
    return tuple(times)


def _interval(span: timedelta, value: object) -> timedelta:
    if not timedelta(seconds=10) <= span <= 366 * DAY:
        raise ValueError(f"{shown(value)} is out of bounds. Write every 10s to every 366d, or irregular")
    return span


def _time_of_day(value: object, right: str) -> time:
    if isinstance(value, time) and value.tzinfo is None:
        return value
    found = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{shown(value)} is no time of day. {right}")
    try:
        return time(int(found[1]), int(found[2]), int(found[3] or 0))
    except ValueError:
        raise ValueError(f"{shown(value)} is no time of day: they run from 00:00 to 23:59. {right}") from None


def parse_moment(value: object) -> date | datetime:
    """A date, or a date and time; naive ones are local to the scanner, which `in_zone` settles."""
    if isinstance(value, date):  # a datetime is a date too
        return value
    if isinstance(value, str):
        text = value.strip()
        with contextlib.suppress(ValueError):
            return date.fromisoformat(text)
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text)
    raise ValueError(f"{shown(value)} is no date. Write 2024-03-06, or 2024-03-06 06:00 in the scanner's own time")


def in_zone(moment: date | datetime, zone: ZoneInfo, *, end_of_day: bool = False) -> datetime:
    """A moment in UTC: naive ones are local in `zone`, a date is its first instant, or with `end_of_day` its end."""
    try:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment + DAY if end_of_day else moment, time())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} is beyond the calendar. Write a date such as 2024-03-06") from None
