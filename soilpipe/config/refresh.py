"""The `refresh` of a project file: when the weekly pretraining runs, and what it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from soilpipe.config.document import Findings
from soilpipe.config.errors import nearest, shown, suggestion
from soilpipe.config.frozen import FrozenModel
from soilpipe.config.values import number, parse_boolean, parse_size

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = get_args(Day)
NEVER = "never"
EXAMPLE = "refresh: {day: sunday, hour: 3, minutes: 120}, or refresh: never"
LEAST_MEMORY = 200_000_000
"""Bytes. A quarter of it holds a hundred crops of 7 x 256 x 256 on their way."""


class RefreshPlan(FrozenModel):
    """When, by the project's time zone, and with how much at most.

    minutes: of training, the rest (choosing crops, judging) comes on top; steps: of the optimiser; batch: crops of
    a step, halved where a GPU has no room for them; recompute: activations are computed again when they are needed,
    which saves memory and takes a third longer (it begins by itself where four crops have no room); crops: in the
    corpus, half of them new and half of the replay memory: they lie on the disk, half a megabyte each while they are
    learned from, and the remembered ones in the store, a quarter of one each. memory: bytes of RAM while crops are
    chosen: so many scans are read at a time, and so many crops of each, that their pixels take a quarter of it.
    """

    day: Day = "sunday"
    hour: int = 3
    minutes: float = 120.0
    steps: int = 2000
    batch: int = 64
    recompute: bool = False
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
    "batch": _whole(4, 65_536, "the crops of a step, 4 or more, such as 64"),
    "recompute": parse_boolean,
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
