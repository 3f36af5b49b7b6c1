from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilpipe.tiles import ArrayPixels, DoubledPixels, HalvedPixels, at_scale, halve, image_from_array, tile_grid


@st.composite
def grids(draw: st.DrawFn) -> dict:
    stride = draw(st.sampled_from([1, 4, 32]))
    core = stride * draw(st.integers(1, 6))
    return {
        "height": draw(st.integers(1, 9 * stride)),
        "width": draw(st.integers(1, 9 * stride)),
        "core": core,
        "halo": draw(st.integers(0, 80)),
        "stride": stride,
        "offset": (stride * draw(st.integers(-7, 7)), stride * draw(st.integers(0, 7))),
    }


@given(grids())
def test_cores_partition_the_padded_image_and_windows_hold_the_halo(grid: dict) -> None:
    tiles = tile_grid(**grid)
    stride, halo = grid["stride"], grid["halo"]
    height, width = (math.ceil(grid[side] / stride) * stride for side in ("height", "width"))
    owners = np.zeros((height, width), int)
    for tile in tiles:
        y0, y1, x0, x1 = tile.core
        owners[y0:y1, x0:x1] += 1
        wy0, wy1, wx0, wx1 = tile.window
        assert 0 <= wy0 <= max(0, y0 - halo) and min(height, y1 + halo) <= wy1 <= height
        assert 0 <= wx0 <= max(0, x0 - halo) and min(width, x1 + halo) <= wx1 <= width
        assert all(value % stride == 0 for value in tile.core + tile.window)
    assert (owners == 1).all()
    assert len({(t.window[1] - t.window[0], t.window[3] - t.window[2]) for t in tiles}) == 1
    assert tiles == sorted(tiles, key=lambda tile: (tile.core[0], tile.core[2]))


@pytest.mark.parametrize("wrong", [{"core": 33}, {"core": 0}, {"halo": -1}, {"offset": (0, 5)}, {"height": 0}])
def test_a_grid_off_the_stride_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        tile_grid(**{"height": 100, "width": 100, "core": 64, "halo": 32, "stride": 32, **wrong})


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_halving_is_the_mean_of_four_with_halves_rounded_up() -> None:
    assert halve(np.array([[[0], [1]], [[0], [1]]], np.uint8)).item() == 1
    assert halve(np.array([[[0], [1]], [[0], [0]]], np.uint8)).item() == 0
    assert halve(np.full((3, 5, 3), 255, np.uint8)).tolist() == np.full((2, 3, 3), 255).tolist()


@given(st.integers(1, 70), st.integers(1, 150), st.sampled_from([1, 2, 3, 4, 7]), st.integers(0, 2**32 - 1))
def test_halving_follows_the_formula_to_the_bit(height: int, width: int, channels: int, seed: int) -> None:
    wide = np.random.default_rng(seed).integers(0, 256, (height, 2 * width, channels), np.uint8)
    for pixels in (wide, wide[:, :width]):  # the second is a view with gaps between its rows
        even = np.pad(pixels, ((0, height % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge").astype(int)
        total = even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]
        assert np.array_equal(halve(pixels), (total + 2) // 4)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_window_of_a_derived_level_is_a_cut_from_the_whole(height: int, width: int, data: st.DataObject) -> None:
    array = noise(height, width)
    for derived in (HalvedPixels(ArrayPixels(array)), DoubledPixels(ArrayPixels(array))):
        whole = derived.read(0, derived.height, 0, derived.width)
        y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, derived.height)] * 2)))
        x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, derived.width)] * 2)))
        assert np.array_equal(derived.read(y0, y1, x0, x1), whole[y0:y1, x0:x1])
    assert np.array_equal(
        HalvedPixels(ArrayPixels(array)).read(0, (height + 1) // 2, 0, (width + 1) // 2), halve(array)
    )


def test_halving_undoes_doubling_on_flat_ground() -> None:
    flat = np.full((9, 7, 3), 77, np.uint8)
    doubled = DoubledPixels(ArrayPixels(flat))
    assert np.array_equal(halve(doubled.read(0, 18, 0, 14)), flat)


def test_the_level_nearest_in_scale_is_chosen() -> None:
    image = image_from_array(noise(1100, 1300), um_per_px=21.17)
    assert [(level.height, level.width) for level in image.levels] == [(1100, 1300), (550, 650), (275, 325)]
    assert at_scale(image, 21.17)[1] == 1.0
    assert at_scale(image, 42.3)[1] == 2.0
    assert at_scale(image, 28.0)[1] == 1.0
    assert at_scale(image, 16.0)[1] == 1.0
    pixels, factor = at_scale(image, 10.6)
    assert factor == 0.5 and (pixels.height, pixels.width) == (2200, 2600)
    pixels, factor = at_scale(image, 21.17 * 16)
    assert factor == 16.0 and (pixels.height, pixels.width) == (69, 82)


def test_a_window_outside_the_image_is_refused() -> None:
    pixels = image_from_array(noise(20, 30), 21.17).levels[0]
    with pytest.raises(ValueError, match="does not lie inside"):
        pixels.read(0, 21, 0, 30)


def test_tiles_need_neither_zarr_nor_pydantic() -> None:
    code = (
        "import sys, soilpipe.tiles\n"
        "heavy = {'zarr', 'dask', 'pydantic', 'fsspec', 'pyarrow', 'prefect'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
