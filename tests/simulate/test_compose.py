"""Animals and patches of bare ground are put into the scene alike."""

from __future__ import annotations

import numpy as np
import pytest

from soilpipe.simulate.compose import LINE_S_AT_1200, Look, Sprite, blend, lay, paste


def square(value: float = 200.0, side: int = 20) -> Sprite:
    whole = np.ones((side, side), np.float32)
    return Sprite(np.full((side, side, 3), value, np.float32), whole, whole)


def scene(value: float = 50.0) -> np.ndarray:
    return np.full((80, 90, 3), value, np.float32)


def test_a_sprite_lands_where_it_is_put() -> None:
    ground = scene()
    pasted = paste(ground, square(), 40.0, 30.0, Look(shadow=0.0), 0.0)
    assert pasted is not None
    ys, xs = np.nonzero(ground[..., 0] > 125.0)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (30, 50, 20, 40)
    assert pasted.visible == pytest.approx(1.0, abs=0.01)
    assert pasted.contrast == pytest.approx(150.0, rel=0.01)


def test_a_resting_thing_has_no_coloured_fringe_and_a_walking_one_has() -> None:
    rests, walks = scene(), scene()
    paste(rests, square(), 40.0, 40.0, Look(), LINE_S_AT_1200)
    paste(walks, square(), 40.0, 40.0, Look(velocity_px_s=(60.0, 0.0)), LINE_S_AT_1200)
    assert np.ptp(rests, axis=2).max() < 0.01
    assert np.ptp(walks, axis=2).max() > 20.0


def test_a_walking_thing_is_sheared_by_the_moving_carriage() -> None:
    walks = scene()
    paste(walks, square(side=40), 40.0, 45.0, Look(velocity_px_s=(40.0, 0.0)), LINE_S_AT_1200)
    bright = walks[..., 1] > 125.0
    first, last = np.nonzero(bright[24])[0].mean(), np.nonzero(bright[56])[0].mean()
    assert last - first == pytest.approx(32 * 40.0 * LINE_S_AT_1200, abs=1.0)


def test_what_is_off_the_glass_is_soft_and_dark() -> None:
    sharp, soft = scene(), scene()
    near = paste(sharp, square(), 40.0, 40.0, Look(), 0.0)
    far = paste(soft, square(), 40.0, 40.0, Look(off_glass_px=3.0, light=0.6), 0.0)
    assert near is not None and far is not None
    assert far.contrast < near.contrast
    assert np.abs(np.diff(soft[40, :, 0])).max() < 0.3 * np.abs(np.diff(sharp[40, :, 0])).max()


def test_outside_is_nothing_and_at_the_border_a_part() -> None:
    ground = scene()
    assert paste(ground, square(), 40.0, 300.0, Look(), 0.0) is None
    assert (ground == scene()).all()
    part = paste(ground, square(), 40.0, 90.0, Look(), 0.0)
    assert part is not None
    assert part.visible == pytest.approx(0.5, abs=0.03)


def test_what_another_covers_does_not_show() -> None:
    ground = scene()
    below = paste(ground, square(), 40.0, 40.0, Look(), 0.0)
    above = lay(square(120.0), 40.0, 50.0, Look(), 0.0)
    blend(ground, above)
    assert below is not None
    assert below.behind(above).visible == pytest.approx(0.5, abs=0.03)
    assert below.behind(lay(square(), 10.0, 80.0, Look(), 0.0)) is below
