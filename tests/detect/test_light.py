"""The light of training crops: a scan and its background are changed alike, and what is nowhere valid stays so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from soilpipe.detect.light import change_light


def crops(count: int = 64, animal: float = 60.0) -> torch.Tensor:
    """Ground of 70 grey levels with a step in it, and an animal that is `animal` brighter than its background."""
    pixels = torch.zeros(count, 7, 32, 32)
    pixels[:, :3, :, :16], pixels[:, :3, :, 16:] = 70.0, 100.0
    pixels[:, 3:6] = 128.0
    pixels[:, :3, 8:16, 8:16] += animal
    pixels[:, 3:6, 8:16, 8:16] += animal
    pixels[:, 6] = 255.0
    return pixels


def test_the_same_seed_gives_the_same_light() -> None:
    a, b, other = crops(), crops(), crops()
    change_light(a, np.random.default_rng(1))
    change_light(b, np.random.default_rng(1))
    change_light(other, np.random.default_rng(2))
    assert torch.equal(a, b) and not torch.equal(a, other)


def test_without_strength_the_light_stays() -> None:
    pixels = crops()
    change_light(pixels, np.random.default_rng(0), 0.0)
    kept = pixels[:, 6].amin(dim=(1, 2)) == 255
    torch.testing.assert_close(pixels[kept], crops()[kept], atol=1e-3, rtol=0)
    assert 0 < int(kept.sum()) < 64, "some have lost their difference all the same"


def test_ground_that_did_not_change_shows_no_difference_and_the_animal_does() -> None:
    pixels = crops()
    change_light(pixels, np.random.default_rng(0))
    kept = pixels[:, 6].amin(dim=(1, 2)) == 255
    difference = pixels[kept, 3:6].mean(dim=1) - 128
    ground = torch.cat([difference[:, 20:, :16].flatten(1), difference[:, 20:, 16:].flatten(1)], dim=1).mean(dim=1)
    animal = difference[:, 10:14, 10:14].mean(dim=(1, 2))
    assert ground.abs().max() < 12, "a step in the ground is in the background too"
    assert (animal - ground).min() > 10, "brighter in every light"


def test_the_picture_gets_lights_of_its_own() -> None:
    pixels = crops()
    change_light(pixels, np.random.default_rng(0))
    levels = pixels[:, :3, 24:, :16].mean(dim=(1, 2, 3))
    assert levels.std() > 10 and pixels.min() >= 0 and pixels.max() <= 255


@pytest.mark.parametrize("valid", [0.0, 128.0])
def test_where_the_difference_says_nothing_it_goes_on_saying_nothing(valid: float) -> None:
    pixels = crops()
    pixels[:, 6] = valid
    change_light(pixels, np.random.default_rng(0))
    assert (pixels[:, 3:6] == 128).all() and (pixels[:, 6] == 0).all()


def test_some_crops_lose_their_difference() -> None:
    pixels = crops(400)
    change_light(pixels, np.random.default_rng(0))
    lost = (pixels[:, 6] == 0).all(dim=2).all(dim=1)
    assert 30 < int(lost.sum()) < 95
    assert (pixels[lost, 3:6] == 128).all()


def test_the_scan_and_its_background_each_get_light_of_their_own() -> None:
    """Bare ground: by one light for both its difference would be nothing. What differs is small beside what both share,
    and no function of it."""
    pixels = crops(400, animal=0.0)
    change_light(pixels, np.random.default_rng(0))
    kept = pixels[:, 6].amin(dim=(1, 2)) == 255
    level = pixels[kept, :3, :, 2:14].mean(dim=(1, 2, 3))
    apart = pixels[kept, 3:6, :, 2:14].mean(dim=(1, 2, 3)) - 128
    background = level - apart
    assert 1.0 < apart.std() < 6 and level.std() > 10 and background.std() > 10
    together = torch.corrcoef(torch.stack([level, apart]))[0, 1]
    assert abs(together) < 0.4
    by_channel = pixels[kept, 3:6, :, 2:14].mean(dim=(2, 3))
    assert (by_channel[:, 0] - by_channel[:, 2]).std() > 0.7, "by channel as well"


def test_now_and_then_one_of_the_two_is_blurred_alone() -> None:
    """An edge that both have shows in the difference when only one of them is out of focus."""
    edges = []
    for seed in range(60):
        pixels = crops(4, animal=0.0)
        change_light(pixels, np.random.default_rng(seed))
        kept = pixels[:, 6].amin(dim=(1, 2)) == 255
        difference = pixels[kept, 3:6].mean(dim=(1, 2))
        edges.append(
            float(((difference[:, 15] - difference[:, 16]) - (difference[:, 14] - difference[:, 17])).abs().max())
        )
    fogged = np.mean(np.array(edges) > 1.5)
    assert 0.08 < fogged < 0.4
