"""Values of the `clock:` entries: signed durations, drifts, and times as the device's clock shows them."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from soilpipe.config.errors import shown
from soilpipe.config.values import DAY, parse_moment, sum_of_parts

_FARTHEST = timedelta(days=36_600)  # a clock reset to 1970 is half a century behind
_FASTEST = timedelta(hours=6)  # a day: less than a day, so that later times of the device stay later


def parse_shift(value: object) -> timedelta:
    """ "+1h30min", "-3d": a duration that says by its sign whether it is added or taken away."""
    if isinstance(value, timedelta):
        return _bounded_shift(value, value)
    text = value.strip().replace("\N{MINUS SIGN}", "-") if isinstance(value, str) else ""
    if text[:1] not in ("+", "-"):
        raise ValueError(
            f"{shown(value)} does not say in which direction. Write it with its sign: +1h30min when the clock was slow "
            "(it is added to the time that the device showed), -1h30min when it was fast"
        )
    span = sum_of_parts(text[1:], value)
    return _bounded_shift(-span if text[0] == "-" else span, value)


def _bounded_shift(span: timedelta, value: object) -> timedelta:
    if abs(span) > _FARTHEST:
        raise ValueError(f"{shown(value)} is out of bounds. Write at most {_FARTHEST.days}d")
    return span


def parse_drift(value: object) -> timedelta:
    """ "+12s a day", or the number of seconds a day, "+12"; the timedelta is that of one day."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str):
        text = re.sub(r"\s*(?:(?:a|per)\s+|/\s*)(?:d|day)$", "", text)
        text = f"{text}s" if re.fullmatch(r"[-+\N{MINUS SIGN}]\d+(?:\.\d+)?", text) else text
    span = parse_shift(text)
    if abs(span) > _FASTEST:
        raise ValueError(
            f"{shown(value)} is more than {_FASTEST // timedelta(hours=1)}h a day. Write less, or an offset"
        )
    return span


def parse_device_time(value: object) -> datetime:
    """A time as the device's clock shows it: naive; a date is its first moment."""
    moment = parse_moment(value)
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is not None:
        raise ValueError(
            f"{shown(value)} has a time zone. Write the time as the clock shows it, such as 2024-03-06 06:00"
        )
    return moment


def parse_device_end(value: object) -> datetime:
    """The same, but a date is its end: that day is included, as everywhere in the file."""
    moment = parse_moment(value)
    if isinstance(moment, datetime):
        return parse_device_time(moment)
    try:
        return datetime.combine(moment + DAY, time())
    except OverflowError:
        raise ValueError(f"{moment} is beyond the calendar. Write a date such as 2024-03-06") from None
