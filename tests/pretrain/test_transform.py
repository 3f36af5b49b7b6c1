"""The two views of a crop: what they change, and that they neither blur, nor make grey, nor solarise."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from soilpipe.detect.torchvision_here import import_torchvision
from soilpipe.pretrain.learning_recipe import PretrainError, PretrainRecipe
from soilpipe.pretrain.transform import BITS, COMMON, Views, apply, change_colours, colour_maps, draw_pair
from tests.pretrain.some_crops import SomeCrops

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "without_difference": 0.0}
WHOLE = {"area": (1.0, 1.0), "degrees": 0.0}
DEFAULT = PretrainRecipe()


def drawn(count: int, seed: int = 0, **changes: Any) -> Views:
    return draw_pair(count, replace(DEFAULT, **changes), np.random.default_rng(seed))


def noise(count: int, side: int = 32, seed: int = 0) -> Tensor:
    pixels = torch.randint(1, 256, (count, 7, side, side), generator=torch.Generator().manual_seed(seed))
    pixels[:, 6] = 255
    return pixels.to(torch.uint8)


def lit(pixels: Tensor, views: Views) -> Tensor:
    """What the light of views makes of crops, without their geometry."""
    shown = pixels.float()
    change_colours(shown, views)
    return shown


def square(views: Views, turns: np.ndarray | None = None) -> Views:
    """The same light with a geometry of quarter turns and mirrors alone."""
    rng = np.random.default_rng(1)
    count = len(views.dropped)
    angles = rng.integers(0, 4, count) if turns is None else turns
    maps = np.zeros((count, 2, 3), np.float32)
    for row, (quarter, mirror) in enumerate(zip(angles, rng.choice([-1, 1], count), strict=True)):
        maps[row, :, :2] = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), int(quarter)) @ np.diag([mirror, 1])
    return replace(views, maps=maps)


def test_the_two_views_of_a_crop_come_in_two_halves_and_the_same_seed_draws_the_same() -> None:
    crops = torch.from_numpy(SomeCrops(4).pixels(np.arange(4)))
    views = apply(crops, drawn(4), 64)
    assert views.shape == (8, 7, 64, 64) and views.dtype == torch.uint8
    assert torch.equal(views, apply(crops, drawn(4), 64))
    assert not torch.equal(views, apply(crops, drawn(4, seed=1), 64))
    for row in range(4):
        assert not torch.equal(views[row], views[row + 4])


def test_light_works_on_each_pixel_by_itself_so_nothing_can_blur() -> None:
    """Shuffled pixels come out shuffled the same way: no answer looks at a neighbour."""
    pixels, views = noise(20), drawn(10)
    order = torch.randperm(32 * 32, generator=torch.Generator().manual_seed(3))

    def shuffled(x: Tensor) -> Tensor:
        return x.flatten(2)[:, :, order].unflatten(2, (32, 32))

    torch.testing.assert_close(lit(shuffled(pixels), views), shuffled(lit(pixels, views)), rtol=0, atol=1e-2)


def test_geometry_reads_pixels_and_does_not_blur() -> None:
    """By quarter turns and mirrors each pixel is found again; by parts of a crop a point stays as sharp as bilinear
    interpolation leaves it: all its light within 2 x 2 px of the crop, wherever they lie in the view."""
    pixels = noise(16)
    still = drawn(8, **STILL, **WHOLE)
    turned = apply(pixels, square(still), 32)
    for before, after in zip(pixels, turned, strict=True):
        assert any(
            torch.equal(after, way)
            for flipped in (before, before.flip(2))
            for way in (torch.rot90(flipped, k, (1, 2)) for k in range(4))
        )
    point = torch.zeros((40, 7, 64, 64), dtype=torch.uint8)
    point[:, :3, 32, 32] = 255
    views = drawn(20, **STILL)
    seen = apply(point, views, 64)[:, 0].numpy()
    size = np.linalg.norm(views.maps[:, :, :2], axis=1).min(axis=1)  # px of the crop per px of the view
    assert sum(view.any() for view in seen) > 10
    for view, step in zip(seen, size, strict=True):
        for axis in (0, 1):
            lit_rows = np.flatnonzero(view.any(axis=axis))
            assert not len(lit_rows) or np.ptp(lit_rows) + 1 <= 2 * np.sqrt(2) / step + 1


def test_colours_are_never_lost_so_nothing_is_greyscale() -> None:
    """Two colours as bright as each other: grey would make them one."""
    red, green = (200.0, 60.0, 60.0), (60.0, 131.31, 60.0)
    assert np.dot((0.299, 0.587, 0.114), red) == pytest.approx(np.dot((0.299, 0.587, 0.114), green), abs=0.1)
    pixels = torch.zeros((1000, 7, 8, 8))
    pixels[:, :3, :, :4] = torch.tensor(red)[:, None, None]
    pixels[:, :3, :, 4:] = torch.tensor(green)[:, None, None]
    shown = lit(pixels, drawn(500))
    apart = (shown[:, :3, 0, 0] - shown[:, :3, 0, 7]).norm(dim=1)
    before = (torch.tensor(red) - torch.tensor(green)).norm()
    assert apart.min() > 0.2 * before and apart.max() > 1.2 * before


def test_brighter_stays_brighter_so_nothing_is_solarised() -> None:
    ramp = torch.arange(256.0).reshape(1, 1, 16, 16).expand(1000, 7, 16, 16).clone()
    shown = lit(ramp, drawn(500))[:, :3].flatten(2)
    assert (shown.diff(dim=2) >= -1e-3).all()
    assert (shown[:, :, -1] - shown[:, :, 0] > 60).all()


def test_a_grey_picture_stays_grey_and_hue_turns_colours() -> None:
    maps = colour_maps(np.array([0.5, 1.5, 1.0]), np.array([0.1, -0.2, 0.5]))
    np.testing.assert_allclose(maps @ np.ones(3), 1, atol=1e-9)
    np.testing.assert_allclose(colour_maps(np.ones(1), np.zeros(1))[0], np.eye(3), atol=1e-9)
    turned = maps[2] @ np.array([1.0, 0.5, 0.5])
    assert turned[0] < turned[1], "by half a turn, red is no longer the most"


def test_brightness_contrast_and_saturation_are_what_torchvision_calls_so() -> None:
    import_torchvision()
    adjust = importlib.import_module("torchvision.transforms.v2.functional")
    pixels = noise(2, seed=4)
    pixels[:, :3] = pixels[:, :3] // 2 + 60
    views = drawn(1, without_difference=0.0, light=1.0, hue=0.0, brightness=0.2, contrast=0.2, saturation=0.2)
    shown = lit(pixels, views)
    rng = np.random.default_rng(0)
    rng.uniform(*COMMON, (1, 2))
    for row in range(2):
        for _ in range(2):
            rng.uniform(size=1)  # area, aspect
        rng.random((1, 2)), rng.uniform(size=1), rng.integers(0, 4, 1), rng.integers(0, 2, 1), rng.random(1)
        brightness, contrast, saturation = (float(rng.uniform(0.8, 1.2, 1)[0]) for _ in range(3))
        rng.uniform(size=1), rng.uniform(size=1), rng.random(1), rng.integers(*BITS, 1), rng.random(1)
        picture = pixels[row, :3].float() / 255
        picture = adjust.adjust_contrast(adjust.adjust_brightness(picture, brightness), contrast)
        expected = 255 * adjust.adjust_saturation(picture, saturation)
        torch.testing.assert_close(shown[row, :3], expected, rtol=0, atol=1.0)


def test_the_difference_is_that_of_a_scan_and_its_background_under_the_same_light() -> None:
    scan, background = noise(40, seed=1)[:, :3] // 3 + 80, noise(40, seed=2)[:, :3] // 3 + 80
    pixels = torch.full((40, 7, 32, 32), 255.0)
    pixels[:, :3], pixels[:, 3:6] = scan.float(), 128 + scan.float() - background.float()
    views = replace(drawn(20, without_difference=0.0), contrast=np.ones(40, np.float32))
    shown = lit(pixels, views)
    colours = torch.from_numpy(views.colours)
    before = torch.einsum("nij,njhw->nihw", colours, scan.float())
    after = torch.einsum("nij,njhw->nihw", colours, background.float())
    torch.testing.assert_close(shown[:, 3:6], (128 + before - after).clamp(1, 255), rtol=0, atol=1e-2)


def test_difference_and_valid_are_dropped_together_in_a_share_of_the_views() -> None:
    crops = torch.from_numpy(SomeCrops(12).pixels(np.arange(300) % 12))
    views = drawn(300, without_difference=0.3)
    shown = apply(crops, views, 32)
    seen = (shown[:, 6] > 0).flatten(1).any(dim=1).numpy()
    assert np.array_equal(seen, ~views.dropped) and 0.25 < views.dropped.mean() < 0.35
    assert (shown[~torch.from_numpy(seen), 3:6] == 128).all()
    assert set(shown[:, 6].unique().tolist()) == {0, 255}
    both = views.dropped[:300] & views.dropped[300:]
    assert 0.03 < both.mean() < 0.18, "by each view for itself"


def test_the_difference_is_valid_only_where_all_that_was_read_of_it_is() -> None:
    pixels = noise(40, side=64)
    pixels[:, 6, :, 32:] = 0
    pixels[:, 3:6, :, 32:] = 128
    shown = apply(pixels, drawn(20, **STILL), 64)
    unseen = shown[:, 6] == 0
    assert unseen.any() and (~unseen).any() and set(shown[:, 6].unique().tolist()) == {0, 255}
    assert (shown[:, 3:6].transpose(0, 1)[:, unseen] == 128).all()


def test_both_views_show_a_common_point() -> None:
    rng = np.random.default_rng(5)
    views = draw_pair(300, replace(DEFAULT, area=(0.05, 1.0)), rng)
    common = np.random.default_rng(5).uniform(*COMMON, (300, 2))
    for half in (views.maps[:300].astype(float), views.maps[300:].astype(float)):
        point = np.einsum("nij,nj->ni", np.linalg.inv(half[:, :, :2]), 2 * common - 1 - half[:, :, 2])
        assert (np.abs(point) <= 1).all()


def test_parts_are_as_large_as_the_recipe_says_and_turned_in_all_eight_ways() -> None:
    views = drawn(1000, area=(0.2, 0.6))
    area = np.abs(np.linalg.det(views.maps[:, :, :2].astype(float)))
    assert 0.19 < area.min() < 0.22 and 0.55 < area.max() < 0.61
    turn = views.maps[:, :, :2] / np.linalg.norm(views.maps[:, :, :2], axis=1, keepdims=True)
    ways = {tuple(np.round(matrix).astype(int).ravel().tolist()) for matrix in turn}
    assert len(ways) == 8


def test_posterising_is_off_and_cuts_to_three_to_five_bits_where_it_is_asked_for() -> None:
    assert (drawn(200).bits == 8).all()
    views = drawn(200, posterise=0.5, **STILL)
    assert set(views.bits.tolist()) == {3, 4, 5, 8} and 0.4 < (views.bits < 8).mean() < 0.6
    shown = apply(noise(400), square(views), 32)
    for row, bits in enumerate(views.bits):
        levels = len(shown[row, :3].unique())
        assert levels <= 2**bits and (bits < 8 or levels > 200)
    assert (shown[:, 3:6].unique().numel()) > 200, "the difference is not touched"


def test_views_do_not_depend_on_what_else_is_in_the_batch() -> None:
    crops = torch.from_numpy(SomeCrops(6).pixels(np.arange(6)))
    views = drawn(6)
    alone = Views(*(getattr(views, name)[[2, 8]] for name in views.__dataclass_fields__))
    assert torch.equal(apply(crops, views, 64)[[2, 8]], apply(crops[2:3], alone, 64))
    with pytest.raises(ValueError, match="12 views of 5 crops"):
        apply(crops[:5], views, 64)


@pytest.mark.parametrize(("crop", "side"), [(256, 192), (96, 96), (128, 96), (64, 64), (100, 96), (32, 32)])
def test_a_view_is_as_large_as_an_average_part_of_the_crop(crop: int, side: int) -> None:
    assert DEFAULT.view_side(crop) == side
    assert replace(DEFAULT, side=160).view_side(crop) == 160


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"batch": 1}, {"side": 100}, {"minutes": 0.0}, {"area": (0.5, 0.2)}, {"hue": 1.0}, {"dense": 2.0}],
)
def test_a_recipe_that_makes_no_sense_is_told_by_its_key(change: dict[str, Any]) -> None:
    with pytest.raises(PretrainError, match=rf"{next(iter(change))} = .* \(expected"):
        PretrainRecipe(**change)
