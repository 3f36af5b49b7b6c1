"""`slots:` as a list of plans, each from a day on: when scans are expected changes, and the past stays as it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator

from soilpipe.config import values
from soilpipe.config.errors import shown, suggestion
from soilpipe.config.frozen import FrozenModel, UtcTime

EXAMPLE = '- {slots: ["00:00", "12:00"]} and - {from: 2024-05-01, slots: every 6h}'

SlotTimes = Annotated[values.Slots, BeforeValidator(values.parse_slots)]


class EarlierSlots(FrozenModel):
    """A plan of slots that held until `until` (UTC, not included): since the one before it, or the beginning."""

    until: UtcTime
    slots: SlotTimes


@dataclass(frozen=True)
class WrittenPlans:
    """The plans as written, in order; the first has no beginning. Local times, until the scanner's zone is known."""

    plans: tuple[tuple[date | datetime | None, values.Slots], ...]

    def in_zone(self, zone: ZoneInfo) -> tuple[tuple[EarlierSlots, ...], values.Slots]:
        """The earlier plans and the last one. ValueError where a plan does not begin after the one before it."""
        starts = [values.in_zone(start, zone) for start, _ in self.plans if start is not None]
        for before, after in pairwise(starts):
            if after <= before:
                raise ValueError(f"has a plan from {after} behind one from {before}. Write the plans in order of time")
        held = zip(starts, (slots for _, slots in self.plans[:-1]), strict=True)
        return tuple(EarlierSlots(until=until, slots=slots) for until, slots in held), self.plans[-1][1]


def parse_slot_plans(value: object) -> values.Slots | WrittenPlans:
    """Slots, or a list of {from, slots} of which the first holds from the beginning."""
    if isinstance(value, WrittenPlans):
        return value
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return values.parse_slots(value)
    plans: list[tuple[date | datetime | None, values.Slots]] = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict) or item.get("slots") is None:
            raise ValueError(f"plan {number}, {shown(item)}, says no slots. Write {EXAMPLE}")
        for key in item:
            if key not in ("from", "slots"):
                raise ValueError(f"plan {number} has the unknown key {key}: {suggestion(str(key), ('from', 'slots'))}")
        start = item.get("from")
        if number > 1 and start is None:
            raise ValueError(f"plan {number} does not say from when it holds. Write {EXAMPLE}")
        if number == 1 and start is not None:
            raise ValueError(f"the first plan holds from the beginning: take its `from` out. Write {EXAMPLE}")
        plans.append((None if start is None else values.parse_moment(start), values.parse_slots(item["slots"])))
    return WrittenPlans(tuple(plans))
