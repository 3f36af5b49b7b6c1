"""Cutting animals out, and pasting them with the difference that they would have."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from soilpipe.background.median import median
from soilpipe.detect.scenes_cutouts import Cutout, cut_animal, cut_ground, find_look_alikes, rim_of
from soilpipe.detect.scenes_paste import paste, present_in_background, turned_box, turned_size
from tests.detect.made_samples import SIDE, UM, ground, sample_of, with_animal

BOX = [100.0, 90.0, 140.0, 106.0]


@pytest.fixture
def cutout() -> Cutout:
    found = cut_animal(sample_of(with_animal(ground(), BOX), ground(), [BOX]), 0, "fine")
    assert found is not None
    return found


@pytest.mark.parametrize("masks", [True, False])
def test_an_animal_is_cut_out_along_its_mask_or_what_stands_out(masks: bool) -> None:
    found = cut_animal(sample_of(with_animal(ground(), BOX), ground(), [BOX], masks=masks), 0, "fine")
    assert found is not None and found.by == ("mask" if masks else "silhouette")
    area = np.pi / 4 * 40 * 16
    assert found.alpha.sum() / 255 == pytest.approx(area, rel=0.06 if masks else 0.15)
    rim = rim_of(np.array(BOX))
    np.testing.assert_allclose(found.box, [rim, rim, rim + 40, rim + 16])
    assert found.ground == pytest.approx([80, 80, 80], abs=12) and found.um_per_px == UM


def test_what_would_bring_another_animal_along_or_is_cut_off_is_not_cut_out() -> None:
    beside, border = [139.0, 95.0, 160.0, 110.0], [2.0, 40.0, 20.0, 50.0]
    sample = sample_of(ground(), ground(), [BOX, beside, border])
    assert [cut_animal(sample, row, "fine") for row in range(3)] == [None, None, None]
    crowd = sample_of(with_animal(ground(), BOX), ground(), [BOX])
    crowd.image.crowd[:] = True
    assert cut_animal(crowd, 0, "fine") is None


def test_an_animal_that_does_not_stand_out_has_no_silhouette() -> None:
    flat = np.full((SIDE, SIDE, 3), 80, np.uint8)
    assert cut_animal(sample_of(flat, flat, [BOX], masks=False), 0, "fine") is None


def test_an_animal_whose_mask_is_a_part_of_its_box_is_not_cut_out() -> None:
    sample = sample_of(with_animal(ground(), BOX), ground(), [BOX])
    wide = replace(sample, image=replace(sample.image, boxes=np.array([[100, 60, 140, 106]], np.float32)))
    assert cut_animal(sample, 0, "fine") is not None and cut_animal(wide, 0, "fine") is None


def test_a_veil_around_an_animal_does_not_come_along() -> None:
    shown = with_animal(ground(), BOX)
    shown[100:130] = np.clip(shown[100:130].astype(int) + 40, 0, 255)
    found = cut_animal(sample_of(shown, ground(), [BOX]), 0, "fine")
    assert found is not None and not found.fringe.any()


def test_legs_beside_the_mask_come_along_where_the_difference_shows_them_and_neighbours_do_not() -> None:
    shown = with_animal(ground(), BOX)
    cv2.line(shown, (120, 106), (120, 112), (230, 210, 160), 2)
    cv2.circle(shown, (104, 112), 2, (230, 210, 160), -1)
    found = cut_animal(sample_of(shown, ground(), [BOX]), 0, "fine")
    assert found is not None
    rim = rim_of(np.array(BOX))
    leg, crumb = found.fringe[0, rim + 19, rim + 20], found.fringe[0, rim + 22, rim + 4]
    assert leg > 60 and crumb == 0


@pytest.mark.parametrize("turn", range(8))
def test_a_pasted_animal_is_where_its_box_says_and_changes_the_difference_by_itself_alone(
    cutout: Cutout, turn: int
) -> None:
    window = sample_of(ground(1), ground(1), []).passes["fine"].pixels.copy()
    before = window.copy()
    box = paste(window, cutout, 60, 50, turn=turn, present=0.0, rng=np.random.default_rng(0))
    sides = (16, 40) if turn & 4 else (40, 16)
    assert (box[2] - box[0], box[3] - box[1]) == sides
    np.testing.assert_allclose(box, turned_box(cutout, turn) + np.array([50, 60, 50, 60]))
    change = window[:3].astype(int) - before[:3]
    np.testing.assert_array_equal(window[3:6].astype(int) - 128, change.clip(-127, 127))
    assert (window[6] == 255).all()
    y, x = np.nonzero(np.abs(change).max(axis=0) > 25)
    assert np.abs(np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - box).max() <= 1.01
    height, width = turned_size(cutout, turn)
    change[:, 60 : 60 + height, 50 : 50 + width] = 0
    assert not change.any(), "nothing beside the cut-out is touched"


def test_ground_shows_through_where_the_cut_out_does_not_hide_it(cutout: Cutout) -> None:
    window = sample_of(ground(1), ground(1), []).passes["fine"].pixels.copy()
    before = window.copy()
    paste(window, cutout, 60, 50, turn=0, present=0.0, rng=np.random.default_rng(0))
    bare = (cutout.alpha == 0) & (cutout.fringe == 0).all(axis=0)
    height, width = bare.shape
    part = np.s_[:, 60 : 60 + height, 50 : 50 + width]
    np.testing.assert_array_equal(window[part][:, bare], before[part][:, bare])


def test_an_animal_that_rests_is_in_the_picture_and_not_in_the_difference(cutout: Cutout) -> None:
    noisy = (ground(1) + np.random.default_rng(3).normal(0, 2, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    moved = sample_of(noisy, ground(1), []).passes["fine"].pixels.copy()
    before, rests, half = moved.copy(), moved.copy(), moved.copy()
    for window, present in ((moved, 0.0), (rests, 1.0), (half, 0.5)):
        paste(window, cutout, 60, 50, turn=0, present=present, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(moved[:3], rests[:3])

    def strength(window: np.ndarray) -> float:
        part = window[3:6, 70:86, 64:92].astype(float) - 128
        return float(np.sqrt((part**2).mean()))

    assert strength(moved) > 80 and strength(rests) < 1.5 * strength(before) + 2
    assert strength(half) == pytest.approx(strength(moved) / 2, rel=0.1)


def test_where_no_difference_is_valid_pasting_makes_none(cutout: Cutout) -> None:
    window = sample_of(ground(1), ground(1), [], references=0).passes["fine"].pixels.copy()
    paste(window, cutout, 60, 50, turn=3, present=0.0, rng=np.random.default_rng(0))
    assert (window[3:6] == 128).all() and (window[6] == 0).all()
    assert (np.moveaxis(window[:3], 0, -1) != ground(1)).any()


@pytest.mark.parametrize("references", [2, 3, 4, 5])
def test_the_background_shows_what_the_median_of_the_references_would(references: int) -> None:
    bare, covered = np.full((1, 1, 3), 60, np.uint8), np.full((1, 1, 3), 200, np.uint8)
    for before in range(references + 1):
        told = median([covered] * before + [bare] * (references - before))
        assert 60 + 140 * present_in_background(before, references) == told[0, 0, 0]
    assert present_in_background(1, 1) == 0.0, "one reference makes no background"


def test_bare_ground_is_cut_clear_of_animals_and_of_what_they_left(cutout: Cutout) -> None:
    sample = sample_of(with_animal(ground(), BOX), ground(), [BOX])
    found = cut_ground(sample, "fine", cutout, 150, 20)
    assert found is not None and found.label == -1 and not found.fringe.any()
    np.testing.assert_array_equal(found.alpha, cutout.alpha)
    assert cut_ground(sample, "fine", cutout, 80, 90) is None
    assert cut_ground(sample, "fine", cutout, SIDE - 10, 20) is None
    left = sample_of(ground(), with_animal(ground(), [40.0, 160.0, 80.0, 176.0]), [])
    rim = rim_of(np.array(BOX))
    assert cut_ground(left, "fine", cutout, 160 - rim, 40 - rim) is None


def test_look_alikes_stand_out_and_are_neither_labelled_nor_new() -> None:
    static, moved, far = [30.0, 150.0, 62.0, 162.0], [150.0, 160.0, 182.0, 172.0], [60.0, 40.0, 92.0, 52.0]
    there = with_animal(with_animal(ground(), static), far)
    sample = sample_of(with_animal(with_animal(there, moved), BOX), there, [BOX, far])
    found = find_look_alikes(sample, "fine", (16.0, 60.0), 10, np.random.default_rng(0))
    assert len(found) == 1 and found[0].label == -1
    assert found[0].length == pytest.approx(32, abs=4)
    assert found[0].alpha.sum() / 255 == pytest.approx(np.pi / 4 * 32 * 12, rel=0.25)


def test_on_even_ground_a_coarse_mask_takes_no_ground_along() -> None:
    """As on a sticky card, without a difference: an insect with a leg, in a mask that is larger than it."""
    card = np.full((SIDE, SIDE, 3), (190, 200, 30), np.uint8)
    shown = with_animal(card, [108.0, 93.0, 132.0, 103.0], (40, 30, 20))
    cv2.line(shown, (120, 103), (120, 110), (40, 30, 20), 2)
    found = cut_animal(sample_of(shown, card, [BOX], references=0), 0, "fine")
    assert found is not None
    assert 188 < found.alpha.sum() / 255 < 290, (
        "the insect's 188 px, a pixel of soft edge and its leg, not the mask's 503"
    )
    window = sample_of(np.full_like(card, 90), card, [], references=0).passes["fine"].pixels
    box = paste(window, found, 60, 50, turn=0, present=0.0, rng=np.random.default_rng(0)).astype(int)
    corner = window[:3, box[1] + 3 : box[1] + 5, box[0] + 1 : box[0] + 4]
    assert np.abs(corner.astype(int) - 90).max() <= 3, "inside the mask, outside the insect"
    leg = window[0, box[1] + 18, box[0] + 20]
    assert leg < 60


def test_what_left_beside_an_animal_does_not_come_along() -> None:
    """The background shows a pale animal that has gone; it touches the one that came."""
    gone = [130.0, 104.0, 160.0, 112.0]
    sample = sample_of(with_animal(ground(), BOX), with_animal(ground(), gone), [BOX])
    found = cut_animal(sample, 0, "fine")
    assert found is not None
    assert found.fringe.min() > -20
