"""What is held out to judge candidates: one scanner whole, and every scanner's last fifth in time, for good."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.detect.holdout import HoldOut, hold_out_of

FIRST = datetime(2024, 3, 6, tzinfo=UTC)
Scan = tuple[str, datetime]


def scans(scanners: str, slots: range | list[int]) -> list[Scan]:
    return [(scanner, FIRST + slot * timedelta(hours=6)) for scanner in scanners for slot in slots]


def held(*imports: list[Scan]) -> list[tuple[str, int]]:
    """Scanner and slot of what is held out of all labels."""
    hold_out = hold_out_of(imports)
    return sorted((name, (at - FIRST) // timedelta(hours=6)) for name, at in _all(imports) if hold_out.holds(name, at))


def _all(imports: tuple[list[Scan], ...] | list[list[Scan]]) -> set[Scan]:
    return {scan for one in imports for scan in one}


def test_of_two_scanners_the_last_fifth_of_the_times_is_held_out() -> None:
    labels = scans("AB", range(10))
    assert held(labels) == [("A", 8), ("A", 9), ("B", 8), ("B", 9)]
    assert hold_out_of([labels]).scanner is None


def test_of_three_scanners_one_is_held_out_whole_whatever_their_order() -> None:
    labels = scans("ABC", range(5))
    whole = first_by_hash("ABC")
    expected = {(whole, slot) for slot in range(5)} | {(one, 4) for one in "ABC"}
    assert held(labels) == held(labels[::-1]) == sorted(expected)


def test_a_single_time_is_not_held_out() -> None:
    assert held(scans("A", [0])) == held(scans("AB", [0])) == []
    assert hold_out_of([]) == HoldOut()


def test_the_scanner_held_out_whole_is_one_that_had_no_labels_before() -> None:
    """Also where its id has the larger hash: of the others some are trained on already."""
    late = max("ABC", key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    early = "ABC".replace(late, "")
    before, after = scans(early, range(10)), scans("ABC", range(10, 20))
    assert hold_out_of([before, after]).scanner == late != hold_out_of([before + after]).scanner
    assert {slot for name, slot in held(before, after) if name != late} == {8, 9, 18, 19}
    assert hold_out_of([before, after, scans("DEFGHIJK", range(3))]).scanner == late, "for good"


def test_labels_of_earlier_scans_take_nothing_back_from_training() -> None:
    assert held(scans("A", range(20, 30)), scans("A", range(20))) == [("A", 28), ("A", 29)]


def test_labels_of_later_scans_add_a_block_and_free_what_lies_before_it() -> None:
    assert held(scans("A", range(10)), scans("A", range(25))) == [("A", 8), ("A", 9), ("A", 22), ("A", 23), ("A", 24)]
    # What is labelled later between two that are held out is held out with them, and counts among the fifth.
    every_other = scans("A", range(0, 40, 2))
    assert held(every_other, scans("A", range(30, 52))) == [("A", slot) for slot in (*range(32, 39), 51)]


def test_labels_that_come_week_by_week_leave_four_fifths_to_train_on() -> None:
    weeks = [scans("A", range(28 * week, 28 * week + 28)) for week in range(10)]
    assert all(len(held(*weeks[: week + 1])) == math.ceil(28 * (week + 1) / 5) for week in range(10))


def first_by_hash(names: str) -> str:
    return min(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def of_one_import(labels: set[Scan]) -> set[Scan]:
    """As the design has it: one scanner whole from three on, of every other the last fifth in time, rounded up."""
    times = {scanner: sorted(at for name, at in labels if name == scanner) for scanner, _ in labels}
    whole = first_by_hash("".join(times)) if len(times) >= 3 else None
    last = {
        (scanner, at)
        for scanner, found in times.items()
        if len(found) > 1
        for at in found[len(found) - math.ceil(len(found) / 5) :]
    }
    return last | {(name, at) for name, at in labels if name == whole}


one_import = st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(0, 30)), max_size=12).map(
    lambda found: [(name, FIRST + slot * timedelta(hours=6)) for name, slot in found]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(one_import, max_size=7))
def test_nothing_changes_sides_whatever_is_imported(imports: list[list[Scan]]) -> None:
    sides: dict[Scan, bool] = {}
    for count in range(len(imports) + 1):
        hold_out = hold_out_of(imports[:count])
        now = {scan: hold_out.holds(*scan) for scan in _all(imports[:count])}
        assert {scan: now[scan] for scan in sides} == sides
        sides = now
    if imports:
        first = _all(imports[:1])
        hold_out = hold_out_of(imports[:1])
        assert {scan for scan in first if hold_out.holds(*scan)} == of_one_import(first)
        assert hold_out_of(imports) == hold_out_of([one[::-1] for one in imports])
