"""Loam of one kind, and of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soilpipe.simulate.field import TAXA
from soilpipe.simulate.loam import Loam
from soilpipe.simulate.loam_bodies import PLANS
from soilpipe.simulate.loam_look import CLUTTER, LITTER, LOOK_ALIKES, LoamLook, drawn_look, varied


def ground(look: LoamLook, seed: int = 0) -> np.ndarray:
    return Loam(look).ground(200, 220, 30.0, np.random.default_rng(seed))


def test_plain_loam_is_what_it_was() -> None:
    """Detectors were trained on it, and their figures told of it: it may not change."""
    pixels = Loam().ground(200, 220, 30.0, np.random.default_rng(0))
    assert pixels.mean(axis=(0, 1)) == pytest.approx([66.33, 48.67, 35.56], abs=0.3)
    assert pixels.std() == pytest.approx(17.56, abs=0.2)


def test_seasons_differ_in_colour_brightness_and_texture_and_a_seed_gives_one_look() -> None:
    looks = [drawn_look(np.random.default_rng(seed)) for seed in range(24)]
    assert drawn_look(np.random.default_rng(3)) == looks[3]
    grounds = [ground(look) for look in looks]
    assert all(one.shape == (200, 220, 3) and one.min() >= 4 and one.max() <= 235 for one in grounds)
    means = np.array([one.mean(axis=(0, 1)) for one in grounds])
    plain = [ground(LoamLook(), seed) for seed in range(24)]
    assert means.mean(axis=1).std() > 3 * np.std([one.mean() for one in plain])
    warmth = np.log(means[:, 0] / means[:, 2])
    assert warmth.std() > 3 * np.std([np.log(one[..., 0].mean() / one[..., 2].mean()) for one in plain])
    assert (warmth > 0).mean() > 0.9, "soil is red to yellow, hardly ever blue"
    rough = [one.std() / one.mean() for one in grounds]
    assert np.std(rough) > 2 * np.std([one.std() / one.mean() for one in plain])


def test_shares_and_densities_are_of_the_same_things() -> None:
    look = drawn_look(np.random.default_rng(1))
    assert set(look.clutter) == {*CLUTTER, LITTER} and set(look.look_alikes) == {*LOOK_ALIKES, LITTER}
    assert sum(look.look_alikes.values()) == pytest.approx(1) and all(rate > 0 for rate in look.clutter.values())
    rng = np.random.default_rng(2)
    only = {name: float(name == "hypha") for name in LOOK_ALIKES}
    thin = [Loam(replace(look, look_alikes=only)).look_alike(40.0, rng).alpha.max() for _ in range(20)]
    assert max(thin) < 0.6  # a hypha lets the ground through


@pytest.mark.parametrize("taxon", TAXA)
def test_a_taxon_keeps_its_limbs_and_about_its_shape(taxon: str) -> None:
    plan = PLANS[taxon]
    assert varied(plan, 0.0, np.random.default_rng(0)) is plan
    kinds = [varied(plan, 1.0, np.random.default_rng(seed)) for seed in range(40)]
    for kind in kinds:
        same = ("segments", "legs", "legs_from", "legs_to", "forceps", "claws", "shell")
        assert all(getattr(kind, name) == getattr(plan, name) for name in same)
        assert [at for at, _ in kind.outline] == [at for at, _ in plan.outline]
        assert 0 < kind.opacity[0] <= kind.opacity[1] < 1
        assert all(12 <= channel <= 240 for colour in kind.colours for channel in colour)
    stout = np.array([[half for _, half in kind.outline] for kind in kinds]).mean(axis=1)
    middle = np.mean([half for _, half in plan.outline])
    assert 0.9 * middle < np.median(stout) < 1.1 * middle and stout.std() > 0.08 * middle
    assert len({kind.colours for kind in kinds}) == 40


def test_an_animal_keeps_its_kind_from_scan_to_scan() -> None:
    draw = Loam(drawn_look(np.random.default_rng(5))).animal
    one, again, other = (draw("Isopoda", 6.0, 0.3, 40.0, pose, 0) for pose in (11, 11, 12))
    assert np.array_equal(one.colour, again.colour)
    assert one.colour.shape != other.colour.shape or not np.allclose(one.colour, other.colour)
