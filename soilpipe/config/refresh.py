"""The `refresh` of a project file: when the weekly pretraining runs, and what it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from soilpipe.config.document import Findings
from soilpipe.config.errors import nearest, shown, suggestion
from soilpipe.config.frozen import FrozenModel
from soilpipe.config.values import number, parse_size

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = get_args(Day)
NEVER = "never"
EXAMPLE = "refresh: {day: sunday, hour: 3, minutes: 120}, or refresh: never"
LEAST_MEMORY = 200_000_000
"""Bytes. A few thousand crops of 7 x 96 x 96 and the smallest network with its batch."""


class RefreshPlan(FrozenModel):
    """When, by the project's time zone, and with how much at most.

    minutes: of training, the rest (choosing crops, judging) comes on top; steps: of the optimiser; crops: in the corpus
    and in its replay memory together; memory: bytes, for the crops of a batch and what is chosen from.
    """

    day: Day = "sunday"
    hour: int = 3
    minutes: float = 120.0
    steps: int = 2000
    crops: int = 20_000
    memory: int = 4_000_000_000


def parse_day(value: object) -> str:
    """The day of the week, in English, or its first three letters."""
    text = str(value).strip().casefold()
    for day in DAYS:
        if text in (day, day[:3]):
            return day
    near = nearest(text, DAYS)
    raise ValueError(f"{shown(value)} is no day of the week. Write {near or 'one such as sunday'}")


def _whole(low: int, high: int, what: str) -> Callable[[object], int]:
    parse = number(low, high, what)

    def whole(value: object) -> int:
        read = parse(value)
        if read != int(read):
            raise ValueError(f"{shown(value)} is not whole. Write {what}")
        return int(read)

    return whole


def _memory(value: object) -> int:
    size = parse_size(value)
    if size < LEAST_MEMORY:
        raise ValueError(f"{shown(value)} is too little to learn with. Write 200MB or more, such as 4GB")
    return size


PARSERS: Mapping[str, Callable[[object], Any]] = {
    "day": parse_day,
    "hour": _whole(0, 23, "the full hour at which it begins, 0 to 23, in local time"),
    "minutes": number(0.1, 7 * 24 * 60, "how long it may train at most, such as 120"),
    "steps": _whole(1, 10_000_000, "the training steps at most, such as 2000"),
    "crops": _whole(32, 10_000_000, "the number of pictures to learn from, 32 or more, such as 20000"),
    "memory": _memory,
}


def read_refresh(value: Any, findings: Findings) -> RefreshPlan | None:
    """The plan; None for `never`, or where something was wrong with it, which then is told. Left out: the defaults."""
    if value is None:
        return RefreshPlan()
    if isinstance(value, str) and value.strip().casefold() == NEVER:
        return None
    if not isinstance(value, dict):
        findings.tell(("refresh",), f"{shown(value)} is no block of `key: value`. Write {EXAMPLE}")
        return None
    read: dict[str, Any] = {}
    for key, written in value.items():
        if key not in PARSERS:
            findings.tell(("refresh", key), f"is an unknown key: {suggestion(key, PARSERS)}")
        elif written is None:
            findings.tell(("refresh", key), "has no value. Write one behind the colon, or take it out")
        else:
            try:
                read[key] = PARSERS[key](written)
            except ValueError as error:
                findings.tell(("refresh", key), str(error))
    return RefreshPlan(**read)
