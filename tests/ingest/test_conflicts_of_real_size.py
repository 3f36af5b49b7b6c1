"""Conflicts between pictures of more than a band of rows, which are read to their end before they count as such."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 3000, 700
"""More rows than a band has, and more than the some hundred that libvips keeps of what it has decoded."""
WIDE = 3000
"""JPEG's lines are so quickly decoded that only of wide ones a second pass comes too late."""


@lru_cache(maxsize=2)
def noise(seed: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, width, 3), np.uint8)


def of_format(encode, suffix: str, seed: int) -> bytes:
    if suffix == ".jp2":
        file = io.BytesIO()
        coarse = noise(seed)[::8, ::8].repeat(8, 0).repeat(8, 1)[:HEIGHT, :WIDTH]  # for the codec's sake
        Image.fromarray(coarse).save(file, "JPEG2000", tile_size=(512, 512), quality_mode="rates", quality_layers=[20])
        return file.getvalue()
    if suffix == ".jpg":
        return encode(noise(seed, WIDE), suffix, quality=60)
    options = {".tif": {"compression": "zlib", "compressionargs": {"level": 1}, "rowsperstrip": 64}}
    return encode(noise(seed), suffix, **options.get(suffix, {}))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".jp2"])
def test_a_whole_file_of_the_time_of_another_is_a_conflict_not_damage(suffix: str, make_bench, encode) -> None:
    bench = make_bench(keep_originals=False)
    good = of_format(encode, suffix, 1)
    bench.deliver(f"A20_2024-03-06_06H00M{suffix}", good)
    bench.deliver(f"A20_2024-03-06_06H00M00S{suffix}", of_format(encode, suffix, 2))
    bench.deliver(f"A20_2024-03-06_12H00M{suffix}", good)
    found = bench.run()
    assert [outcome.kind for outcome in found] == ["accepted", "conflict", "conflict"], [one.reason for one in found]
    codes = {bench.store.read_json(key)["code"] for key in bench.store.keys("quarantine", ".json")}
    assert codes == {"same_time", "same_content"}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_one_cut_off_far_behind_the_first_band_is_damaged_and_no_conflict(suffix: str, make_bench, encode) -> None:
    bench = make_bench(keep_originals=False)
    bench.deliver(f"A20_2024-03-06_06H00M{suffix}", of_format(encode, suffix, 1))
    other = of_format(encode, suffix, 2)
    hole = len(other) - len(other) // 8
    bench.deliver(f"A20_2024-03-06_06H00M00S{suffix}", other[:hole] + bytes(1 << 16) + other[hole + (1 << 16) :])
    assert [outcome.kind for outcome in bench.run()] == ["accepted", "refused"]
