"""Litter made up for a season: of every shape, without what makes an animal, and where a season asks for it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from soilpipe.simulate.loam import Loam
from soilpipe.simulate.loam_litter import LONGEST_MM, SHORTEST_MM, drawn_litter
from soilpipe.simulate.loam_look import LITTER, LoamLook, drawn_look

PX_PER_MM = 40.0


def test_kinds_have_no_joints_and_no_limbs_and_a_seed_gives_the_same_ones() -> None:
    assert drawn_litter(np.random.default_rng(4)) == drawn_litter(np.random.default_rng(4))
    kinds = [kind for seed in range(60) for kind in drawn_litter(np.random.default_rng(seed))]
    assert 60 * 2 <= len(kinds) <= 60 * 5
    for kind in kinds:
        plan = kind.plan
        assert not any((plan.segments, plan.legs, plan.antenna, plan.cerci, plan.furca, plan.shell))
        assert 0 < plan.opacity[0] <= plan.opacity[1] < 1
        assert all(12 <= channel <= 240 for colour in plan.colours for channel in colour)
        low, high = kind.length_mm
        assert SHORTEST_MM <= low < high <= LONGEST_MM
        assert low <= kind.drawn_length(np.random.default_rng(0)) <= high


def test_shapes_reach_from_discs_to_needles_blunt_and_pointed() -> None:
    kinds = [kind for seed in range(100) for kind in drawn_litter(np.random.default_rng(seed))]
    outlines = [np.array(kind.plan.outline) for kind in kinds]
    widest = np.array([outline[:, 1].max() for outline in outlines])
    assert widest.min() < 0.04 and widest.max() > 0.4
    full = np.array([outline[:, 1].mean() for outline in outlines]) / widest  # 1: a rod, 1/2: a lozenge
    assert full.min() < 0.5 and full.max() > 0.8
    heads = np.array([outline[:8, 1].sum() / outline[-8:, 1].sum() for outline in outlines])
    assert heads.min() < 0.6 and heads.max() > 1.7, "some are thicker towards one end"


def test_a_season_draws_its_own_kinds_both_on_the_ground_and_as_what_could_pass_for_an_animal() -> None:
    look = drawn_look(np.random.default_rng(7))
    assert look.litter and 0.1 <= look.look_alikes[LITTER] <= 0.5
    loam = Loam(replace(look, look_alikes={LITTER: 1.0}, tint=(1.0, 1.0, 1.0), shade=(1.0, 1.0)))
    rng = np.random.default_rng(0)
    longest = max(kind.length_mm[1] for kind in look.litter)
    for sprite in (loam.look_alike(PX_PER_MM, rng) for _ in range(30)):
        box = cv2.boundingRect((sprite.body > 0.5).astype(np.uint8))
        assert 0 < max(box[2:]) <= 1.2 * longest * PX_PER_MM
    bare = replace(look, clutter=dict.fromkeys(look.clutter, 0.0), roots=0.0)
    littered = replace(bare, clutter={**bare.clutter, LITTER: 60.0})
    one, other = (Loam(it).ground(200, 220, PX_PER_MM, np.random.default_rng(1)) for it in (bare, littered))
    assert (np.abs(one - other).max(axis=2) > 3).mean() > 0.02


def test_plain_loam_has_none() -> None:
    plain = LoamLook()
    assert not plain.litter and LITTER not in plain.clutter and LITTER not in plain.look_alikes
