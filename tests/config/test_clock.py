"""`clock:` entries: what they mean, and what a wrong one is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from soilpipe.config import TEMPLATE, ClockEntry, Scanner, load_project

RESET = "{scanner: DIAMS_A20_O, from: 2000-01-01, until: 2000-01-07, set: 2024-03-06 06:00, reason: battery}"


def entries(project_of, *written: str) -> tuple[ClockEntry, ...]:
    text = "".join(f"  - {entry}\n" for entry in written)
    return project_of(f"clock:\n{text}").scanners[0].clock


def test_a_reset_is_one_line(project_of) -> None:
    (entry,) = entries(project_of, RESET)
    assert entry == ClockEntry(
        from_=datetime(2000, 1, 1), until=datetime(2000, 1, 8), set_=datetime(2024, 3, 6, 6), reason="battery"
    )


def test_a_day_as_end_is_included_and_a_time_is_not(project_of) -> None:
    day, time = entries(
        project_of,
        "{scanner: DIAMS_A20_O, from: 2024-03-06, until: 2024-03-07, offset: +1h, reason: x}",
        "{scanner: DIAMS_A20_O, from: 2024-03-08 06:00, until: 2024-03-09 06:00, offset: -1h, reason: x}",
    )
    assert day.covers(datetime(2024, 3, 7, 23, 59, 59)) and not day.covers(datetime(2024, 3, 8))
    assert time.covers(datetime(2024, 3, 8, 6)) and not time.covers(datetime(2024, 3, 9, 6))
    assert not time.covers(datetime(2024, 3, 8, 5, 59, 59))


@pytest.mark.parametrize(
    ("written", "key", "span"),
    [
        ("offset: +1h30min", "offset", timedelta(hours=1, minutes=30)),
        ("offset: -3d", "offset", timedelta(days=-3)),
        ("offset: \N{MINUS SIGN}90s", "offset", timedelta(seconds=-90)),
        ("offset: +0s", "offset", timedelta()),
        ("drift: +12s a day", "drift", timedelta(seconds=12)),
        ("drift: -1.5s per day", "drift", timedelta(seconds=-1.5)),
        ("drift: +2min/day", "drift", timedelta(minutes=2)),
        ("drift: +12", "drift", timedelta(seconds=12)),
    ],
)
def test_directions_and_units(written: str, key: str, span: timedelta, project_of) -> None:
    (entry,) = entries(
        project_of, f"{{scanner: DIAMS_A20_O, from: 2024-03-06, until: 2024-04-06, {written}, reason: x}}"
    )
    assert getattr(entry, key) == span


def test_entries_stand_in_order_of_time_and_belong_to_their_scanner(project_of) -> None:
    second = "  - {id: B, site: truffiere, inbox: ./inbox/B}\n"
    clock = (
        "clock:\n"
        "  - {scanner: DIAMS_A20_O, from: 2024-05-01, until: 2024-05-02, offset: +1h, reason: later}\n"
        "  - {scanner: B, from: 2024-05-01, until: 2024-05-02, offset: +2h, reason: other}\n"
        "  - {scanner: DIAMS_A20_O, from: 2024-04-01, until: 2024-04-30, offset: +3h, reason: earlier}\n"
    )
    first, other = project_of(behind=second, top=clock).scanners
    assert [entry.reason for entry in first.clock] == ["earlier", "later"]
    assert [entry.reason for entry in other.clock] == ["other"]


def test_two_resets_to_the_same_time_are_told_apart_by_when_the_files_came(project_of) -> None:
    one, other = entries(
        project_of,
        RESET[:-1] + ", arrived_until: 2024-03-31}",
        RESET.replace("2024-03-06", "2024-09-01")[:-1] + ", arrived_from: 2024-04-01}",
    )
    end = datetime(2024, 3, 31, 22, tzinfo=UTC)  # the end of that day in Paris
    assert (one.arrived_until, other.arrived_from) == (end, end)
    device = datetime(2000, 1, 2)
    assert one.covers(device, end.timestamp() - 1) and not one.covers(device, end.timestamp())
    assert other.covers(device, end.timestamp()) and not other.covers(device, end.timestamp() - 1)
    assert not one.covers(device) and one.spans(device)


@pytest.mark.parametrize("written", ["clock:", "clock: []", ""])
def test_no_entry_is_no_entry(written: str, project_of) -> None:
    assert project_of(written).scanners[0].clock == ()


def test_the_example_of_the_template_is_right(tmp_path) -> None:
    lines = TEMPLATE.splitlines()
    start = lines.index("clock:")
    for i in range(start + 1, len(lines)):
        if not lines[i].startswith("#"):
            break
        lines[i] = lines[i].replace("#", "", 1)
    file = tmp_path / "soilpipe.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    (entry,) = load_project(file).scanners[0].clock
    assert (entry.from_, entry.until) == (datetime(2000, 1, 1), datetime(2000, 1, 9))
    assert entry.set_ == datetime(2024, 3, 6, 6)


WHOLE = {"scanner": "DIAMS_A20_O", "from": "2024-03-06", "until": "2024-04-06", "offset": "+1h", "reason": "x"}
WRONG = [
    ({"scanner": "DIAMS_A20"}, ["clock[0].scanner: no scanner is called 'DIAMS_A20': did you mean DIAMS_A20_O?"]),
    ({"scanner": None}, ["`scanner` is missing"]),
    ({"from": None}, ["`from` is missing", "set: 2024-03-06 06:00"]),
    ({"from": "last winter"}, ["clock[0].from: 'last winter' is no date"]),
    ({"from": "2024-03-06T06:00Z"}, ["has a time zone", "as the clock shows it"]),
    ({"until": "2024-03-05"}, ["clock[0].until: 2024-03-06 00:00:00 is not after `from`"]),
    ({"until": "9999-12-31"}, ["beyond the calendar"]),
    ({"offset": None}, ["clock[0].from: is corrected by nothing", "set:", "offset: +1h30min", "drift: +12s a day"]),
    ({"offset": "1h30min"}, ["does not say in which direction", "+1h30min when the clock was slow"]),
    ({"offset": "+1"}, ["is no duration"]),
    ({"offset": "+2m"}, ["minutes or months"]),
    ({"offset": "+99999d"}, ["out of bounds", "36600d"]),
    ({"offset": "+" + "99999999999d " * 3}, ["too long"]),
    ({"set": "2024-03-06 07:00"}, ["clock[0].set: says the same as `offset`"]),
    ({"drift": "+7h a day"}, ["more than 6h a day"]),
    ({"reason": None}, ["`reason` is missing"]),
    ({"reason": "' '"}, ["clock[0].reason: says nothing"]),
    ({"until": None, "offset": "+8831d"}, ["has no end", "8.83e+03 days", "Write until:"]),
    ({"untill": "2024-04-06"}, ["clock[0].untill: is an unknown key: did you mean until?"]),
    ({"arrived_from": "2024-05-01", "arrived_until": "2024-04-01"}, ["is not after `arrived_from`"]),
]


@pytest.mark.parametrize(("changes", "told"), WRONG)
def test_a_wrong_entry_is_told(changes: dict, told: list[str], told_by) -> None:
    entry = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    text = told_by("clock:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in entry.items()))
    for part in told:
        assert part in text


def test_overlapping_entries_are_told_with_the_line_of_the_other(told_by) -> None:
    other = RESET.replace("from: 2000-01-01", "from: 2000-01-07 23:00").replace(
        "until: 2000-01-07", "until: 2000-02-01"
    )
    text = told_by(f"clock:\n  - {RESET}\n  - {other}")
    assert "line 8, clock[1]: overlaps the entry on line 7" in text and "arrived_from" in text


@pytest.mark.parametrize("written", ["clock: tomorrow", "clock: {scanner: A20}", "clock: [tomorrow]"])
def test_what_is_no_list_of_entries_is_told(written: str, told_by) -> None:
    assert "- {scanner: A20, from: 2000-01-01 00:00" in told_by(written)


def test_an_entry_in_a_scanners_block_is_told_where_it_belongs(told_by) -> None:
    assert "clock (DIAMS_A20_O): belongs to the whole project" in told_by(scanner="clock: []")


def test_the_model_holds_by_itself() -> None:
    start = datetime(2024, 3, 6)
    hour = timedelta(hours=1)
    for wrong in (
        {"reason": "x"},
        {"offset": hour, "reason": " "},
        {"offset": hour, "until": start, "reason": "x"},
        {"offset": hour, "set": start + hour, "reason": "x"},
        {"offset": timedelta(days=2), "reason": "x"},
        {"offset": hour, "arrived_from": start, "reason": "x"},
    ):
        with pytest.raises(ValidationError):
            ClockEntry(from_=start, **wrong)
    entry = ClockEntry(from_=start, offset=hour, reason="x")
    with pytest.raises(ValidationError, match="overlap"):
        Scanner(id="A20", site="wood", inbox="/in", timezone="UTC", clock=(entry, entry))
    with pytest.raises(ValidationError):
        entry.offset = timedelta()
