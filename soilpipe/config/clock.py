"""The `clock:` entries of a project file: what was wrong with the clock of a device, as data.

An entry corrects the times of one scanner that its clock showed from `from` until `until`. `from`, `until` and `set`
are times without a zone, as a clock on the wall of the scanner shows them. How they are applied: `ingest/clock.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from soilpipe.config import values
from soilpipe.config.clock_values import parse_device_end, parse_device_time, parse_drift, parse_shift
from soilpipe.config.document import Findings
from soilpipe.config.errors import Where, shown, suggestion
from soilpipe.config.frozen import FrozenModel, UtcTime

EXAMPLE = (
    "- {scanner: A20, from: 2000-01-01 00:00, until: 2000-01-08 00:00, set: 2024-03-06 06:00, reason: empty battery}"
)
MAX_OPEN = timedelta(days=1)
"""Without an end, an entry may move times by this much at most: more would move the right times after the fault."""


def parse_reason(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            "says nothing. Write in a few words how it is known, such as: empty battery, seen at the visit"
        )
    return value.strip()


DeviceEnd = Annotated[datetime, BeforeValidator(parse_device_end)]
DeviceTime = Annotated[datetime, BeforeValidator(parse_device_time)]
Shift = Annotated[timedelta, BeforeValidator(parse_shift)]
Drift = Annotated[timedelta, BeforeValidator(parse_drift)]


class ClockEntry(FrozenModel):
    """One fault of a device's clock, and what mends it. Half-open: `from` belongs to it, `until` does not.

    offset        what is added to the time that the device showed
    set           instead of an offset: what the time `from` of the device really was, by a right clock beside it
    drift         what is added besides for every day (24 h of the device's clock) since `from`
    arrived_from, arrived_until
                  only files last changed in this span (UTC, half-open): needed where the clock showed the same times
                  twice, such as after two resets
    """

    model_config = ConfigDict(populate_by_name=True)

    from_: DeviceTime = Field(alias="from")
    until: DeviceEnd | None = None
    offset: Shift | None = None
    set_: DeviceTime | None = Field(default=None, alias="set")
    drift: Drift | None = None
    arrived_from: UtcTime | None = None
    arrived_until: UtcTime | None = None
    reason: Annotated[str, BeforeValidator(parse_reason)]

    @model_validator(mode="after")
    def _consistent(self) -> ClockEntry:
        for key, what in entry_problems(self.model_dump(by_alias=True)):
            raise ValueError(f"{key}: {what}")
        return self

    def covers(self, device_time: datetime, modified: float | None = None) -> bool:
        """Whether a file is one of this entry's: ``device_time`` naive, ``modified`` in epoch seconds, if known."""
        if not self.spans(device_time):
            return False
        if not self.needs_arrival:
            return True
        if modified is None:
            return False
        after = self.arrived_from is None or modified >= self.arrived_from.timestamp()
        return after and (self.arrived_until is None or modified < self.arrived_until.timestamp())

    def spans(self, device_time: datetime) -> bool:
        """Whether a file of that time is one of this entry's, if it came when the entry says."""
        return device_time >= self.from_ and (self.until is None or device_time < self.until)

    @property
    def needs_arrival(self) -> bool:
        """Whether the time alone does not say if a file is one of this entry's."""
        return self.arrived_from is not None or self.arrived_until is not None

    @property
    def says_right(self) -> bool:
        """An entry that changes nothing: somebody has looked, and the clock was right."""
        return self.set_ in (None, self.from_) and not self.offset and not self.drift


def entry_problems(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) of the values of one entry, by their names in the file; absent and None are the same."""
    start, end, offset, real = (entry.get(key) for key in ("from", "until", "offset", "set"))
    if start is not None and end is not None and end <= start:
        yield "until", f"{end} is not after `from`, {start}: both are times that the device showed. Mend one of the two"
    if offset is not None and real is not None:
        yield "set", "says the same as `offset`. Keep one of them"
    if offset is None and real is None and entry.get("drift") is None:
        yield (
            "from",
            "is corrected by nothing. Write set: and what the time `from` really was, or offset: +1h30min "
            "(+ when the clock was slow), or drift: +12s a day",
        )
    move = real - start if real is not None and start is not None else offset
    if end is None and move is not None and abs(move) > MAX_OPEN:
        yield (
            "from",
            f"has no end, but times are moved by {_in_days(move)}: those of the right clock would be moved as well. "
            "Write until: and a time of the device after the last wrong one",
        )
    first, last = entry.get("arrived_from"), entry.get("arrived_until")
    if first is not None and last is not None and last <= first:
        yield "arrived_until", "is not after `arrived_from`. Mend one of the two"


def overlapping(one: ClockEntry, other: ClockEntry) -> bool:
    """Whether some file could be one of both."""
    return _meet(one.from_, one.until, other.from_, other.until) and _meet(
        one.arrived_from, one.arrived_until, other.arrived_from, other.arrived_until
    )


def check_apart(entries: Sequence[ClockEntry]) -> None:
    """Raises ValueError where two entries of a scanner overlap."""
    for one, other in combinations(entries, 2):
        if overlapping(one, other):
            raise ValueError(f"two clock entries overlap, from {one.from_} and from {other.from_}. Mend one of the two")


def _meet(start: datetime | None, end: datetime | None, other: datetime | None, other_end: datetime | None) -> bool:
    return (end is None or other is None or other < end) and (other_end is None or start is None or start < other_end)


def _in_days(span: timedelta) -> str:
    return f"{span / values.DAY:.3g} days"


PARSERS = {
    "scanner": values.parse_id,
    "from": parse_device_time,
    "until": parse_device_end,
    "offset": parse_shift,
    "set": parse_device_time,
    "drift": parse_drift,
    "arrived_from": values.parse_moment,
    "arrived_until": values.parse_moment,
    "reason": parse_reason,
}


def read_clock(value: Any, zones: Mapping[str, ZoneInfo], findings: Findings) -> dict[str, tuple[ClockEntry, ...]]:
    """The entries of a file by scanner, in order of time. ``zones``: the scanners declared. What is wrong is told."""
    if value is None or value == []:
        return {}
    if not isinstance(value, list):
        findings.tell(("clock",), f"is no list. Begin each entry with a dash: {EXAMPLE}")
        return {}
    found: dict[str, list[tuple[Where, ClockEntry]]] = {}
    for i, item in enumerate(value):
        entry = _read_entry(item, ("clock", i), zones, findings)
        if entry is not None:
            found.setdefault(item["scanner"], []).append((("clock", i), entry))
    for entries in found.values():
        for (where, one), (later, other) in combinations(entries, 2):
            if overlapping(one, other):
                findings.tell(
                    later,
                    f"overlaps the entry on line {findings.document.line(where)}: a time is corrected once. Mend "
                    "`from` or `until`; where the clock showed the same times twice, tell the files apart by "
                    "`arrived_from` and `arrived_until`",
                )
    return {scanner: tuple(sorted((e for _, e in entries), key=_order)) for scanner, entries in found.items()}


def _order(entry: ClockEntry) -> tuple[datetime, datetime]:
    return entry.from_, entry.arrived_from or datetime.min.replace(tzinfo=UTC)


def _read_entry(item: Any, where: Where, zones: Mapping[str, ZoneInfo], findings: Findings) -> ClockEntry | None:
    """One entry; None where something was wrong."""
    before = len(findings.problems)
    if not isinstance(item, dict):
        findings.tell(where, f"is no block of `key: value` lines. Write {EXAMPLE}")
        return None
    parsed: dict[str, Any] = {}
    for key, written in item.items():
        if key not in PARSERS:
            findings.tell((*where, key), f"is an unknown key: {suggestion(key, PARSERS)}")
        elif written is None:
            findings.tell((*where, key), "has no value. Write one behind the colon, or take the line out")
        else:
            try:
                parsed[key] = PARSERS[key](written)
            except ValueError as error:
                findings.tell((*where, key), str(error))
    for key in ("scanner", "from", "reason"):
        if key not in item:
            findings.tell(where, f"`{key}` is missing. Write {EXAMPLE}")
    scanner = parsed.pop("scanner", None)
    if scanner is not None and scanner not in zones:
        findings.tell((*where, "scanner"), f"no scanner is called {shown(scanner)}: {suggestion(scanner, zones)}")
    elif scanner is not None:
        _settle_arrivals(parsed, where, zones[scanner], findings)
    if len(findings.problems) > before:
        return None
    for key, what in entry_problems(parsed):
        findings.tell((*where, key), what)
    return ClockEntry(**parsed) if len(findings.problems) == before else None


def _settle_arrivals(parsed: dict[str, Any], where: Where, zone: ZoneInfo, findings: Findings) -> None:
    for key in ("arrived_from", "arrived_until"):
        moment = parsed.get(key)
        if isinstance(moment, date):
            try:
                parsed[key] = values.in_zone(moment, zone, end_of_day=key == "arrived_until")
            except ValueError as error:
                findings.tell((*where, key), str(error))


def clock_snapshot(scanner_id: str, entry: ClockEntry) -> dict[str, str]:
    """The entry in the words of the project file."""
    written = {
        "scanner": scanner_id,
        "from": entry.from_.isoformat(),
        "until": entry.until.isoformat() if entry.until else None,
        "offset": _signed(entry.offset),
        "set": entry.set_.isoformat() if entry.set_ else None,
        "drift": _signed(entry.drift),
        "arrived_from": entry.arrived_from.isoformat() if entry.arrived_from else None,
        "arrived_until": entry.arrived_until.isoformat() if entry.arrived_until else None,
        "reason": entry.reason,
    }
    return {key: text for key, text in written.items() if text is not None}


def _signed(span: timedelta | None) -> str | None:
    if span is None:
        return None
    whole, rest = divmod(abs(span), timedelta(seconds=1))
    fraction = f"{rest.microseconds:06d}".rstrip("0")
    return f"{'-' if span < timedelta() else '+'}{whole}{'.' + fraction if fraction else ''}s"
