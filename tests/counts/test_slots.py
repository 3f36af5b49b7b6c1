"""Which slots a scanner has, which scan takes which, and what state each is in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.config import Scanner
from soilpipe.config.slot_plans import EarlierSlots
from soilpipe.counts.slots import (
    Timetable,
    complete_through,
    expected_slots,
    smallest_gap,
    timetable,
    told_until,
)

PARIS = "Europe/Paris"
DAY = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_scanner(**changes: Any) -> Scanner:
    given_settings = {
        "id": "A20",
        "site": "wood",
        "inbox": "/nowhere",
        "timezone": "UTC",
        "slots": (time(0), time(6), time(12), time(18)),
    }
    return Scanner(**{**given_settings, **changes})


@dataclass(frozen=True)
class Bad:
    captured_at: datetime | None
    conflicts_with: str | None = None
    code: str = "truncated"
    reason: str = "the file ends too early"


def states(table: Timetable) -> list[str]:
    return [slot.state for slot in table.slots]


def local_times(scanner: Scanner, year: int, month: int, day: int) -> list[str]:
    start = datetime(year, month, day, tzinfo=scanner.zone).astimezone(UTC)
    end = datetime(year, month, day, 23, 59, tzinfo=scanner.zone).astimezone(UTC)
    return [slot.astimezone(scanner.zone).strftime("%H:%M") for slot in expected_slots(scanner, start, end)]


def test_slots_follow_the_clock_on_the_wall_through_both_changes() -> None:
    scanner = make_scanner(timezone=PARIS)
    for day in ((2024, 3, 30), (2024, 3, 31), (2024, 4, 1), (2024, 10, 27), (2024, 10, 28)):
        assert local_times(scanner, *day) == ["00:00", "06:00", "12:00", "18:00"]
    before = expected_slots(scanner, datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 4, tzinfo=UTC))
    assert before == [datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 4, tzinfo=UTC)]  # five hours


def test_a_local_time_that_does_not_exist_has_no_slot() -> None:
    scanner = make_scanner(timezone=PARIS, slots=(time(1, 30), time(2, 30), time(3, 30)))
    assert local_times(scanner, 2024, 3, 31) == ["01:30", "03:30"]
    assert local_times(scanner, 2024, 4, 1) == ["01:30", "02:30", "03:30"]


def test_a_local_time_that_comes_twice_is_taken_the_first_time() -> None:
    scanner = make_scanner(timezone=PARIS, slots=(time(2, 30),))
    slots = expected_slots(scanner, datetime(2024, 10, 26, 12, tzinfo=UTC), datetime(2024, 10, 27, 12, tzinfo=UTC))
    assert slots == [datetime(2024, 10, 27, 0, 30, tzinfo=UTC)]  # still summer time


def test_the_southern_hemisphere_changes_its_clocks_too() -> None:
    scanner = make_scanner(timezone="Australia/Lord_Howe", slots=(time(2, 15), time(12)))
    assert local_times(scanner, 2024, 10, 6) == ["12:00"]  # half an hour is skipped, from 02:00 to 02:30


def test_an_interval_follows_elapsed_time_through_a_change_of_the_clock() -> None:
    scanner = make_scanner(timezone=PARIS, slots=timedelta(minutes=20))
    slots = expected_slots(scanner, datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 22, tzinfo=UTC))
    assert {b - a for a, b in pairwise(slots)} == {timedelta(minutes=20)}
    assert slots[0] == datetime(2024, 3, 30, 23, tzinfo=UTC)


def test_an_interval_that_does_not_divide_the_day_runs_on_over_midnight() -> None:
    scanner = make_scanner(slots=timedelta(hours=7))
    slots = expected_slots(scanner, DAY, DAY + 7 * timedelta(days=1))
    assert {b - a for a, b in pairwise(slots)} == {timedelta(hours=7)}
    assert set(expected_slots(scanner, DAY + 50 * HOUR, DAY + 60 * HOUR)) <= set(slots)


def test_the_smallest_gap_goes_over_midnight() -> None:
    assert smallest_gap(make_scanner(slots=(time(23), time(5), time(14)))) == timedelta(hours=6)
    assert smallest_gap(make_scanner(slots=(time(8),))) == timedelta(hours=24)
    assert smallest_gap(make_scanner(slots="irregular")) is None


def test_a_scan_takes_the_nearest_slot_and_of_two_equally_near_the_earlier() -> None:
    table = timetable(make_scanner(), [("a", DAY + 7 * HOUR), ("b", DAY + 15 * HOUR)], [], DAY + 18 * HOUR)
    assert [(s.slot - DAY, s.scan_id) for s in table.slots] == [
        (6 * HOUR, "a"),
        (12 * HOUR, "b"),
        (18 * HOUR, None),
    ]


def test_the_nearest_scan_wins_then_the_earlier_and_the_others_are_listed() -> None:
    scans = [
        ("far", DAY - HOUR),
        ("early", DAY - timedelta(minutes=5)),
        ("after", DAY + timedelta(minutes=5)),
    ]
    table = timetable(make_scanner(), scans, [], DAY + HOUR)
    assert [s.scan_id for s in table.slots] == ["early"]
    assert [(u.scan_id, "early is nearer" in u.reason) for u in table.unslotted] == [("far", True), ("after", True)]


def test_a_scan_further_than_half_the_smallest_gap_has_no_slot() -> None:
    scanner = make_scanner(slots=(time(6), time(8)))
    table = timetable(scanner, [("a", DAY + 6 * HOUR), ("b", DAY + 15 * HOUR)], [], DAY + 20 * HOUR)
    assert [u.scan_id for u in table.unslotted] == ["b"]
    assert "half the smallest gap" in table.unslotted[0].reason


def test_the_series_begins_with_its_first_scan_and_ends_now() -> None:
    table = timetable(make_scanner(), [("a", DAY + timedelta(hours=5, minutes=58))], [], DAY + 13 * HOUR)
    assert [s.slot for s in table.slots] == [DAY + 6 * HOUR, DAY + 12 * HOUR]
    assert timetable(make_scanner(), [], [], DAY).slots == ()


def test_from_and_until_bound_the_series_and_until_is_outside() -> None:
    scanner = make_scanner(from_=DAY, until=DAY + 12 * HOUR)
    scans = [("a", DAY - 6 * HOUR), ("b", DAY + 12 * HOUR), ("c", DAY - timedelta(minutes=2))]
    table = timetable(scanner, scans, [], DAY + 100 * HOUR)
    assert [(s.slot, s.state) for s in table.slots] == [(DAY, "observed"), (DAY + 6 * HOUR, "missing")]
    assert {u.scan_id: "`from`" in u.reason for u in table.unslotted} == {"a": True, "b": False}


def test_states_depend_on_delay_and_on_what_is_told_when() -> None:
    scans = [("a", DAY), ("b", DAY + 6 * HOUR + timedelta(hours=2, seconds=1))]
    table = timetable(make_scanner(), scans, [], DAY + 36 * HOUR)
    assert states(table) == ["observed", "late", "missing", "pending", "pending", "pending", "pending"]
    assert table.slots[1].delay_s == 7201
    assert complete_through(table.slots) == DAY + 12 * HOUR


def test_exactly_late_after_is_still_on_time_and_exactly_missing_after_is_missing() -> None:
    table = timetable(make_scanner(), [("a", DAY + 2 * HOUR)], [], DAY + 30 * HOUR)
    assert table.slots[0].state == "observed"
    assert table.slots[1].state == "missing"


def test_a_scan_that_comes_before_its_slot_has_it_at_once() -> None:
    table = timetable(make_scanner(), [("a", DAY), ("b", DAY + 5 * HOUR)], [], DAY + 5 * HOUR)
    assert [(s.slot, s.state) for s in table.slots] == [(DAY, "observed"), (DAY + 6 * HOUR, "observed")]
    assert table.slots[1].delay_s == -3600


def test_a_clock_far_ahead_makes_no_slots_for_a_century() -> None:
    table = timetable(make_scanner(), [("a", DAY), ("b", DAY.replace(year=2099))], [], DAY + HOUR)
    assert [s.scan_id for s in table.slots] == ["a"]
    assert [(u.scan_id, "from the future" in u.reason) for u in table.unslotted] == [("b", True)]


def test_a_device_whose_clock_is_some_hours_ahead_is_taken_at_its_word() -> None:
    scans = [("a", DAY + 6 * HOUR), ("b", DAY + 12 * HOUR)]
    table = timetable(make_scanner(), scans, [], DAY + 5 * HOUR)
    assert [s.scan_id for s in table.slots] == ["a", "b"]


def test_every_irregular_scan_is_its_own_slot_and_nothing_is_missing() -> None:
    scanner = make_scanner(slots="irregular")
    table = timetable(scanner, [("a", DAY), ("b", DAY + timedelta(seconds=90))], [], DAY + 1000 * HOUR)
    assert [(s.slot, s.state, s.scan_id) for s in table.slots] == [
        (DAY, "observed", "a"),
        (DAY + timedelta(seconds=90), "observed", "b"),
    ]


def test_a_refused_file_closes_its_slot_until_a_good_scan_has_it() -> None:
    bad = Bad(DAY + 6 * HOUR + timedelta(minutes=1))
    table = timetable(make_scanner(), [("a", DAY)], [bad], DAY + 100 * HOUR)
    assert table.slots[1].state == "quarantined"
    assert table.slots[1].reason == "truncated: the file ends too early"
    good = timetable(make_scanner(), [("a", DAY), ("b", DAY + 6 * HOUR)], [bad], DAY + 100 * HOUR)
    assert good.slots[1].state == "observed"


def test_a_conflict_closes_the_slot_of_the_scan_it_disputes_and_its_own() -> None:
    same_time = Bad(DAY, conflicts_with="a", code="conflict")
    assert states(timetable(make_scanner(), [("a", DAY)], [same_time], DAY)) == ["quarantined"]
    other_time = Bad(DAY + 6 * HOUR, conflicts_with="a", code="conflict")
    table = timetable(make_scanner(), [("a", DAY)], [other_time], DAY + 12 * HOUR)
    assert states(table) == ["quarantined", "quarantined", "pending"]


def test_a_refused_file_without_a_time_closes_nothing() -> None:
    assert states(timetable(make_scanner(), [("a", DAY)], [Bad(None)], DAY)) == ["observed"]


def test_a_refused_irregular_file_is_a_slot_of_its_own() -> None:
    table = timetable(make_scanner(slots="irregular"), [("a", DAY)], [Bad(DAY + HOUR)], DAY + 9 * HOUR)
    assert states(table) == ["observed", "quarantined"]


ZONES = st.sampled_from([PARIS, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"])
TIMES = st.lists(st.times().map(lambda t: t.replace(second=0, microsecond=0)), min_size=1, max_size=6, unique=True)
SLOTS = st.one_of(
    TIMES.map(lambda times: tuple(sorted(times))),
    st.integers(20, 2000).map(lambda minutes: timedelta(minutes=minutes)),
    st.just("irregular"),
)
MOMENTS = st.integers(0, 9 * 24 * 60).map(lambda m: datetime(2024, 3, 27, tzinfo=UTC) + timedelta(minutes=m))
SCANS = st.lists(MOMENTS, max_size=25).map(lambda moments: [(f"scan{i}", at) for i, at in enumerate(moments)])


@settings(max_examples=150, deadline=None)
@given(zone=ZONES, slots=SLOTS, scans=SCANS, as_of=MOMENTS, shuffle=st.randoms(use_true_random=False))
def test_every_scan_has_at_most_one_slot_every_slot_at_most_one_scan_in_any_order(
    zone: str, slots: Any, scans: list[tuple[str, datetime]], as_of: datetime, shuffle: Any
) -> None:
    scanner = make_scanner(timezone=zone, slots=slots)
    table = timetable(scanner, scans, [], as_of)
    taken = [slot.scan_id for slot in table.slots if slot.scan_id is not None]
    listed = [scan.scan_id for scan in table.unslotted]
    assert sorted(taken + listed) == sorted(scan_id for scan_id, _ in scans)
    times = [slot.slot for slot in table.slots]
    assert times == sorted(set(times))
    gap = smallest_gap(scanner)
    for slot in table.slots:
        if slot.captured_at is not None:
            assert gap is None or abs(slot.captured_at - slot.slot) <= gap / 2
        else:
            assert slot.slot <= max([as_of, *(at for _, at in scans)])
    again = list(scans)
    shuffle.shuffle(again)
    assert timetable(scanner, again, [], as_of) == table


@settings(max_examples=100, deadline=None)
@given(zone=ZONES, slots=SLOTS, start=MOMENTS, days=st.integers(0, 5))
def test_slots_of_a_span_are_those_of_its_parts(zone: str, slots: Any, start: datetime, days: int) -> None:
    scanner = make_scanner(timezone=zone, slots=slots)
    end, middle = start + timedelta(days=days), start + timedelta(days=days) / 2
    whole = expected_slots(scanner, start, end)
    assert whole == sorted({*expected_slots(scanner, start, middle), *expected_slots(scanner, middle, end)})
    assert all(start <= slot <= end for slot in whole)


@settings(max_examples=150, deadline=None)
@given(slots=SLOTS, scans=SCANS, as_of=MOMENTS, missing_h=st.integers(1, 40), later=st.integers(0, 5000))
def test_a_timetable_made_as_of_what_it_tells_is_the_same(
    slots: Any, scans: list[tuple[str, datetime]], as_of: datetime, missing_h: int, later: int
) -> None:
    scanner = make_scanner(slots=slots, missing_after=timedelta(hours=missing_h))
    table = timetable(scanner, scans, [], as_of)
    told = told_until(table.slots, scanner)
    if told is not None:
        assert timetable(scanner, scans, [], told).slots == table.slots
        after = timetable(scanner, scans, [], as_of + timedelta(minutes=later))
        missing = {slot.slot for slot in table.slots if slot.state == "missing"}
        assert missing <= {slot.slot for slot in after.slots if slot.state == "missing"}


def test_a_new_plan_leaves_the_past_as_it_was() -> None:
    change = DAY + 48 * HOUR
    old = make_scanner(slots=(time(0), time(12)))
    new = make_scanner(slots=6 * HOUR, earlier_slots=(EarlierSlots(until=change, slots=(time(0), time(12))),))
    scans = [(f"scan{hours}", DAY + hours * HOUR) for hours in (0, 12, 24, 36, 48, 54, 60, 66)]
    before, after = timetable(old, scans, [], change + 18 * HOUR), timetable(new, scans, [], change + 18 * HOUR)
    past = [slot for slot in after.slots if slot.slot < change]
    assert past == [slot for slot in before.slots if slot.slot < change] and len(past) == 4
    assert [slot.scan_id for slot in after.slots] == [scan_id for scan_id, _ in scans] and after.unslotted == ()
    assert len(before.unslotted) == 2


def test_a_scanner_that_was_irregular_at_first_has_its_own_slots_then() -> None:
    change = DAY + 24 * HOUR
    scanner = make_scanner(earlier_slots=(EarlierSlots(until=change, slots="irregular"),))
    refused = [Bad(DAY + 7 * HOUR), Bad(change + 7 * HOUR)]
    table = timetable(scanner, [("a", DAY + HOUR), ("b", change + HOUR)], refused, change + 40 * HOUR)
    told = [(slot.slot - DAY, slot.state) for slot in table.slots][:4]
    states = ["observed", "quarantined", "observed", "quarantined"]
    assert told == list(zip((HOUR, 7 * HOUR, 24 * HOUR, 30 * HOUR), states, strict=True))


@settings(max_examples=100, deadline=None)
@given(zone=ZONES, plans=st.tuples(SLOTS, SLOTS), change=MOMENTS, start=MOMENTS, days=st.integers(0, 5))
def test_each_plan_holds_in_its_own_time(
    zone: str, plans: tuple[Any, Any], change: datetime, start: datetime, days: int
) -> None:
    one, other = (make_scanner(timezone=zone, slots=slots) for slots in plans)
    both = make_scanner(timezone=zone, slots=plans[1], earlier_slots=(EarlierSlots(until=change, slots=plans[0]),))
    end = start + timedelta(days=days)
    expected = [slot for slot in expected_slots(one, start, end) if slot < change]
    expected += [slot for slot in expected_slots(other, start, end) if slot >= change]
    assert expected_slots(both, start, end) == expected


@pytest.mark.parametrize("state", ["observed", "late", "missing", "quarantined"])
def test_only_what_is_pending_keeps_a_series_from_being_complete(state: str) -> None:
    from soilpipe.counts.slots import Slot

    slots = [Slot(DAY, state), Slot(DAY + 6 * HOUR, "pending"), Slot(DAY + 12 * HOUR, "observed")]
    assert complete_through(slots) == DAY
    assert complete_through(slots[1:]) is None
