"""Crops to vectors: of length 1, the same whatever they are computed with, and from the encoder's levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.sizes import SIZES, make_network
from soilpipe.encoder.encoder import CPU_BATCH, Encoder
from soilpipe.encoder.trunk import make_trunk, trunk_of
from tests.encoder.tiny_encoder import crops, encoder_of, tiny_network

DIMS = {"small": 192, "medium": 368, "resnet18": 896, "resnet50": 3584}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoder_of(tiny_network())


def test_a_vector_is_the_scaled_means_of_three_levels_side_by_side(encoder: Encoder) -> None:
    pixels = crops(3)
    with torch.inference_mode():
        levels = tiny_network().levels(torch.from_numpy(pixels))
    means = [functional.normalize(level.mean(dim=(2, 3)), dim=1) for level in levels[1:]]
    expected = functional.normalize(torch.cat(means, dim=1), dim=1).numpy()
    found = encoder.embed(pixels)
    assert found.shape == (3, encoder.info.dim) == (3, 24) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=40))
def test_a_vector_does_not_depend_on_what_it_is_computed_with(encoder: Encoder, rows: list[int]) -> None:
    pixels = crops(40)
    whole = encoder.embed(pixels)
    assert np.array_equal(encoder.embed(pixels[rows]), whole[rows])


@pytest.mark.parametrize("size", ["small", "medium", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_nor_does_it_in_the_networks_that_are_used(size: str) -> None:
    torch.manual_seed(1)
    encoder = encoder_of(make_network(size, 2).eval())
    pixels = crops(CPU_BATCH + 5, side=64)
    whole = encoder.embed(pixels)
    assert encoder.info.size == size and whole.shape[1] == DIMS[size]
    for rows in (slice(3, 4), slice(7, 21), slice(None, None, -1)):
        assert np.array_equal(encoder.embed(pixels[rows]), whole[rows])


def test_arrays_tensors_and_mapped_files_give_the_same(encoder: Encoder, tmp_path: Path) -> None:
    pixels = crops(5)
    np.save(tmp_path / "crops.npy", pixels)
    expected = encoder.embed(pixels)
    assert np.array_equal(encoder.embed(torch.from_numpy(pixels)), expected)
    assert np.array_equal(encoder.embed(np.load(tmp_path / "crops.npy", mmap_mode="r")), expected)
    assert np.array_equal(encoder.embed(np.asfortranarray(pixels)), expected)
    assert np.array_equal(encoder.embed(pixels[::-1])[::-1], expected)
    assert encoder.embed(pixels[:0]).shape == (0, 24)


def test_crops_may_be_of_any_multiple_of_32(encoder: Encoder) -> None:
    for side in (32, 96, 512):
        found = encoder.embed(crops(2, side=side))
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        assert encoder.dense(crops(2, side=side)).shape == (2, 8, side // 32, side // 32)
    assert encoder.dense(crops(0)).shape == (0, 8, 3, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 3, 96, 96), np.uint8),
        np.zeros((7, 96, 96), np.uint8),
        np.zeros((2, 7, 96, 96), np.float32),
        np.zeros((2, 7, 90, 96), np.uint8),
        np.zeros((2, 7, 0, 0), np.uint8),
    ],
)
def test_what_is_no_crop_is_told(encoder: Encoder, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="crops"):
        encoder.embed(pixels)


def test_an_encoder_that_never_saw_a_difference_is_shown_none() -> None:
    pixels = crops(4)
    without = pixels.copy()
    without[:, 3:6], without[:, 6] = 128, 0
    blind = encoder_of(tiny_network(), difference=False)
    assert np.array_equal(blind.embed(pixels), blind.embed(without))
    seeing = encoder_of(tiny_network())
    assert not np.array_equal(seeing.embed(pixels), seeing.embed(without))
    assert not blind.info.uses_difference and seeing.info.uses_difference


def test_what_is_trained_on_is_a_copy(encoder: Encoder) -> None:
    pixels = crops(2)
    before = encoder.embed(pixels)
    network = encoder.network()
    for value in network.parameters():
        value.data.zero_()
    assert network is not encoder.network()
    assert np.array_equal(encoder.embed(pixels), before)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_trunk_has_the_levels_of_the_network_and_no_heads(size: str) -> None:
    torch.manual_seed(0)
    network = make_network(size, 3).eval()
    trunk = trunk_of(network)
    pixels = torch.from_numpy(crops(1, side=64))
    with torch.inference_mode():
        for ours, theirs in zip(trunk.levels(pixels), network.levels(pixels), strict=True):
            assert torch.equal(ours, theirs)
    assert {name.split(".")[0] for name in trunk.state_dict()} <= {"stem", "down", "encoder"}
    assert isinstance(network, CentrePointNetwork) and hasattr(network, "fine"), "the network is left as it was"
    assert {n: v.shape for n, v in make_trunk(size).state_dict().items()} == {
        n: v.shape for n, v in trunk.state_dict().items()
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_agrees_within_rounding() -> None:
    torch.manual_seed(1)
    network = make_network("medium", 2).eval()
    pixels = crops(300)
    on_gpu, on_cpu = (encoder_of(network, device=device).embed(pixels) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=2e-5)
    assert np.array_equal(encoder_of(network, device="cuda").embed(pixels[7:9]), on_gpu[7:9])


def test_where_there_is_no_memory_for_a_batch_smaller_ones_give_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = crops(2 * CPU_BATCH + 3)
    whole, dense = encoder_of(tiny_network()).embed(pixels), encoder_of(tiny_network()).dense(pixels)
    small = encoder_of(tiny_network())
    levels, tried = small._folded.levels, []

    def limited(batch: torch.Tensor) -> list[torch.Tensor]:
        tried.append(len(batch))
        if len(batch) > CPU_BATCH // 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return levels(batch)

    monkeypatch.setattr(small._folded, "levels", limited)
    np.testing.assert_allclose(small.embed(pixels), whole, atol=1e-6)
    assert tried[:3] == [CPU_BATCH, CPU_BATCH // 2, CPU_BATCH // 4] and set(tried[3:]) == {CPU_BATCH // 4}
    assert f"no memory for {CPU_BATCH} crops at once: embedding {CPU_BATCH // 2} at a time" in caplog.text
    torch.testing.assert_close(small.dense(pixels), dense, atol=1e-5, rtol=1e-4)

    def never(batch: torch.Tensor) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(small._folded, "levels", never)
    with pytest.raises(torch.OutOfMemoryError, match="a single crop of 96 px"):
        small.embed(pixels)
