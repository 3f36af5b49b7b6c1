"""What is new, what was there before, and what never moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.counts.matching import STATIONARY_SCANS, Seen, follow

MITE = (100.0, 100.0, 120.0, 120.0)


def follow_all(
    scans: list[list[tuple[str, tuple[float, ...]]]], dpi: float | None = 1200.0, analyses: list[str] | None = None
) -> list[list[str | None]]:
    earlier: list[Seen] = []
    found = []
    for i, scan in enumerate(scans):
        boxes = np.array([box for _, box in scan], np.float64).reshape(-1, 4)
        analysis = analyses[i] if analyses else "a"
        changes, seen = follow(boxes, [taxon for taxon, _ in scan], dpi, analysis, earlier)
        earlier = [seen, *earlier]
        found.append(changes)
    return found


def moved(box: tuple[float, ...], dx: float, dy: float = 0.0) -> tuple[float, ...]:
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


def test_the_first_scan_cannot_tell_what_is_new() -> None:
    assert follow_all([[("Acari", MITE)]]) == [[None]]


def test_an_animal_that_stays_is_persistent_and_one_that_comes_is_new() -> None:
    changes = follow_all([[("Acari", MITE)], [("Acari", MITE), ("Acari", moved(MITE, 500))]])
    assert changes[1] == ["persistent", "new"]


def test_the_twelfth_consecutive_scan_makes_it_stationary() -> None:
    changes = follow_all([[("Acari", MITE)]] * 13)
    assert [c[0] for c in changes] == [None, *["persistent"] * (STATIONARY_SCANS - 2), "stationary", "stationary"]


def test_one_scan_without_it_starts_the_twelve_again_but_it_is_not_new() -> None:
    scans = [[("Acari", MITE)]] * 6 + [[]] + [[("Acari", MITE)]] * 6
    assert [c[0] if c else None for c in follow_all(scans)[7:]] == ["persistent"] * 6


def test_after_more_than_eleven_scans_without_it_it_is_new_again() -> None:
    empty: list[list[tuple[str, tuple[float, ...]]]] = [[]]
    assert follow_all([[("Acari", MITE)], *empty * 10, [("Acari", MITE)]])[-1] == ["persistent"]
    assert follow_all([[("Acari", MITE)], *empty * 11, [("Acari", MITE)]])[-1] == ["new"]


def test_jitter_of_the_carriage_is_no_movement_and_its_own_width_is() -> None:
    assert follow_all([[("Acari", MITE)], [("Acari", moved(MITE, 2, 2))]])[1] == ["persistent"]
    assert follow_all([[("Acari", MITE)], [("Acari", moved(MITE, 20))]])[1] == ["new"]


def test_another_taxon_or_another_size_at_the_same_place_is_another_animal() -> None:
    small = (105.0, 105.0, 115.0, 115.0)
    assert follow_all([[("Acari", MITE)], [("Collembola", MITE)]])[1] == ["new"]
    assert follow_all([[("Acari", MITE)], [("Acari", small)]])[1] == ["new"]


def test_a_second_box_on_one_animal_is_neither_new_nor_stationary_with_it() -> None:
    changes = follow_all([[("Acari", MITE)]] * 11 + [[("Acari", moved(MITE, 3)), ("Acari", MITE)]])
    assert changes[-1] == ["persistent", "stationary"]


def test_under_another_analysis_nothing_can_be_compared() -> None:
    assert follow_all([[("Acari", MITE)]] * 3, analyses=["a", "b", "b"]) == [[None], [None], ["persistent"]]


def test_a_scan_of_another_dpi_breaks_the_line() -> None:
    box = np.array([MITE])
    _, first = follow(box, ["Acari"], 1200.0, "a", [])
    _, other = follow(box, ["Acari"], 600.0, "a", [first])
    assert follow(box, ["Acari"], 1200.0, "a", [other, first])[0] == [None]


def test_an_empty_scan_makes_what_follows_new() -> None:
    assert follow_all([[], [("Acari", MITE)]]) == [[], ["new"]]


BOXES = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(4, 20), st.integers(4, 20)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
SCANS = st.lists(
    st.lists(st.tuples(st.sampled_from(["Acari", "Collembola"]), BOXES), max_size=6), min_size=1, max_size=30
)


@settings(max_examples=80, deadline=None)
@given(SCANS)
def test_the_eleven_scans_before_are_enough(scans: list[list[tuple[str, tuple[float, ...]]]]) -> None:
    whole = follow_all(scans)[-1]
    tail = follow_all(scans[-STATIONARY_SCANS:])[-1]
    assert whole == tail


@settings(max_examples=80, deadline=None)
@given(SCANS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_number(scans: list[list[tuple[str, tuple[float, ...]]]], shuffle: object) -> None:
    unique = [list(dict.fromkeys(scan)) for scan in scans]
    again = [list(scan) for scan in unique]
    for scan in again:
        shuffle.shuffle(scan)  # type: ignore[attr-defined]
    for before, after in zip(follow_all(unique), follow_all(again), strict=True):
        assert sorted(map(str, before)) == sorted(map(str, after))
