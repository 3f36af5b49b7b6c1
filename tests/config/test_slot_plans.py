"""Slots that change: a list of plans, each from a day on."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from soilpipe.config import TEMPLATE, Scanner, load_project
from soilpipe.config.slot_plans import EarlierSlots

PLANS = """\
slots:
  - {slots: ["00:00", "12:00"]}
  - {from: 2024-05-01, slots: every 6h}
  - {from: 2024-06-01 12:00, slots: irregular}
"""
MAY = datetime(2024, 4, 30, 22, tzinfo=UTC)  # the first of May in Paris
JUNE = datetime(2024, 6, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("place", ["top", "scanner"])
def test_plans_hold_one_after_another(place: str, project_of) -> None:
    scanner = project_of(**{place: PLANS}).scanners[0]
    assert scanner.slots == "irregular"
    assert scanner.earlier_slots == (
        EarlierSlots(until=MAY, slots=(time(0), time(12))),
        EarlierSlots(until=JUNE, slots=timedelta(hours=6)),
    )
    second = timedelta(seconds=1)
    assert scanner.slots_at(MAY - second) == (time(0), time(12))
    assert scanner.slots_at(MAY) == scanner.slots_at(JUNE - second) == timedelta(hours=6)
    assert scanner.slots_at(JUNE) == "irregular"


def test_the_example_of_the_template_is_right(tmp_path: Path) -> None:
    lines = TEMPLATE.splitlines()
    start = lines.index("# slots:")
    lines[start : start + 3] = [line.removeprefix("# ") for line in lines[start : start + 3]]
    file = tmp_path / "soilpipe.yaml"
    file.write_text("\n".join(line for line in lines if not line.startswith("slots: [")), encoding="utf-8")
    (scanner,) = load_project(file).scanners
    assert (scanner.slots, len(scanner.earlier_slots)) == (timedelta(hours=6), 1)


def test_one_plan_alone_is_that_plan(project_of) -> None:
    scanner = project_of("slots: [{slots: every 6h}]").scanners[0]
    assert (scanner.slots, scanner.earlier_slots) == (timedelta(hours=6), ())


WRONG = [
    ('[{slots: "06:00"}, {slots: every 6h}]', ["plan 2 does not say from when it holds", "from: 2024-05-01"]),
    ('[{from: 2024-01-01, slots: "06:00"}]', ["the first plan holds from the beginning"]),
    ('[{slots: "06:00"}, {from: 2024-05-01}]', ["plan 2", "says no slots"]),
    ('["06:00", {from: 2024-05-01, slots: every 6h}]', ["plan 1, '06:00', says no slots"]),
    ('[{slots: "06:00"}, {form: 2024-05-01, slots: every 6h}]', ["unknown key form: did you mean from?"]),
    ('[{slots: "6 am"}]', ["'6 am' is no time of day"]),
    ('[{slots: "06:00"}, {from: May, slots: every 6h}]', ["'May' is no date"]),
    (
        '[{slots: "06:00"}, {from: 2024-05-02, slots: every 6h}, {from: 2024-05-01, slots: every 3h}]',
        ["Write the plans in order of time"],
    ),
]


@pytest.mark.parametrize(("written", "told"), WRONG)
def test_wrong_plans_are_told(written: str, told: list[str], told_by) -> None:
    text = told_by(scanner=f"slots: {written}")
    assert "slots" in text
    for part in told:
        assert part in text


def test_the_model_wants_its_plans_in_order() -> None:
    plans = (EarlierSlots(until=JUNE, slots="irregular"), EarlierSlots(until=MAY, slots="irregular"))
    with pytest.raises(ValidationError, match="not in order"):
        Scanner(id="A20", site="wood", inbox="/in", timezone="UTC", earlier_slots=plans)
