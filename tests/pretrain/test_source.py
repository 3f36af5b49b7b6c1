from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.pretrain.candidates_cells import Lattice
from soilpipe.pretrain.source import draw_batch, place_id

crops = st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=120)


def arrays(listed: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([place for place, _ in listed], np.int64), np.array([new for _, new in listed], bool)


@settings(deadline=None)
@given(crops, st.integers(1, 40), st.integers(0, 99))
def test_no_batch_has_two_crops_of_one_place(listed: list[tuple[int, bool]], batch: int, seed: int) -> None:
    place, is_new = arrays(listed)
    drawn = draw_batch(place, is_new, np.random.default_rng(seed), batch)
    assert len(set(place[drawn].tolist())) == len(drawn)
    # As many as were asked for, or one of every place there is.
    assert len(drawn) == min(batch, len(set(place.tolist())))


@settings(deadline=None)
@given(crops, st.integers(1, 40), st.integers(0, 99))
def test_half_of_a_batch_is_new_where_there_is_enough_of_both(
    listed: list[tuple[int, bool]], batch: int, seed: int
) -> None:
    place, is_new = arrays(listed)
    drawn = draw_batch(place, is_new, np.random.default_rng(seed), batch)
    new = int(is_new[drawn].sum())
    new_places, old_places = set(place[is_new].tolist()), set(place[~is_new].tolist())
    if len(new_places) >= batch and len(old_places - new_places) >= batch:
        assert new == batch - batch // 2
    # Of the scarcer half nothing is passed over for the sake of the other.
    if len(new_places) <= batch - batch // 2:
        assert new == len(new_places)


def test_the_same_seed_draws_the_same_batch_and_another_one_another() -> None:
    place, is_new = np.arange(500), np.arange(500) < 250
    first, again, other = (draw_batch(place, is_new, np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_crop_is_drawn_sooner_or_later() -> None:
    place, is_new = np.arange(40) // 2, np.arange(40) % 3 > 0
    rng = np.random.default_rng(0)
    drawn = {int(index) for _ in range(60) for index in draw_batch(place, is_new, rng, 8)}
    assert drawn == set(range(40))


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 crops"):
        draw_batch(np.zeros(0, np.int64), np.zeros(0, bool), np.random.default_rng(0), 4)


def test_a_place_is_told_by_scanner_size_in_mm_and_cell_and_never_changes() -> None:
    known = place_id("A20", 21.1667, 64, 128, 192)
    assert known == 4261830148141876824
    assert place_id("A20", 21.17, 64, 128, 192) == known, "the same scale, told a little differently"
    assert place_id("A20", 21.1667, 64, 131, 186) == known, "as earlier releases laid their cells"
    others = [
        place_id("A21", 21.1667, 64, 128, 192),
        place_id("A20", 21.1667, 64, 192, 128),
        place_id("A20", 42.3333, 64, 128, 192),
    ]
    assert len({known, *others}) == 4
    assert np.array([known, *others]).dtype == np.int64


def test_scans_that_differ_by_a_pixel_share_their_places() -> None:
    def places(height: int, width: int) -> dict[tuple[int, int], int]:
        lattice = Lattice(height, width, 64, 1.0)
        corners = [lattice.corner(cell) for cell in range(len(lattice))]
        return {corner: place_id("A20", 21.1667, 64, *corner) for corner in corners}

    one, other, smaller = places(520, 780), places(521, 779), places(511, 780)
    assert one == other and len(set(one.values())) == len(one)
    assert smaller.items() <= one.items(), "also where one more row of cells fits into the larger one"
