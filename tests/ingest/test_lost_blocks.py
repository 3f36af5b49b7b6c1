"""Holes of zero bytes in an uncompressed picture, which no reader can tell from black ground."""

from __future__ import annotations

import time

import numpy as np
import pytest

from soilpipe.ingest.lost_blocks import LEAST_PX, lost_runs
from soilpipe.ingest.quality import QualityMeter


def with_hole(image: np.ndarray, first: int, length: int) -> np.ndarray:
    """The picture with a hole of so many bytes."""
    data = bytearray(image.tobytes())
    data[first : first + length] = bytes(length)
    return np.frombuffer(bytes(data), np.uint8).reshape(image.shape)


@pytest.mark.parametrize("length", [4096 + 6, 16_384, 65_536, 1 << 20])
@pytest.mark.parametrize("width", [301, 1365, 4961])
def test_a_hole_is_found_to_the_pixel_wherever_it_begins(width: int, length: int, draw) -> None:
    image = np.maximum(draw(-(-(3 << 20) // (3 * width)), width), 12)
    for first in (0, 777, 3 * width * 40 + 4, image.nbytes // 2 - 13, image.nbytes - length):
        begin, end = -(-first // 3), (first + length) // 3
        assert lost_runs(with_hole(image, first, length)) == [(begin, end)]


def test_ground_that_is_black_and_smaller_holes_are_not_told(draw) -> None:
    image = np.maximum(draw(400, 5000), 12)
    assert lost_runs(image) == []
    assert lost_runs(with_hole(image, 999_999, 3 * LEAST_PX - 6)) == []
    image[100:300, 500:4500] = 0  # a gap behind the glass
    assert lost_runs(image) == []
    assert lost_runs(np.zeros_like(image)) == []
    assert lost_runs(np.full_like(image, 5)) == []


def test_the_receipt_holds_the_rows_and_the_doubt_is_told(draw) -> None:
    image = with_hole(np.maximum(draw(700, 4961), 12), 3 * 4961 * 300 + 99, 65_536)
    meter = QualityMeter(600)
    for _ in meter.watch(image[top : top + 256] for top in range(0, 700, 256)):
        pass
    quality, _ = meter.result()
    assert quality.lost_blocks == ((300, 305),) and quality.flat_bands == () and quality.flat_rows == 0
    assert "rows 300 to 305" in (quality.doubts() or "")


@pytest.mark.parametrize("ground", ["bright", "speckled", "black"])
def test_it_costs_little(ground: str, draw) -> None:
    image = draw(2048, 2480)
    if ground == "speckled":
        image[np.random.default_rng(1).random(image.shape[:2]) < 0.5] = 0
    elif ground == "black":
        image[:] = 0
    meter = QualityMeter(1200)
    began = time.process_time()
    for _ in meter.watch(iter([image])):
        pass
    whole = time.process_time() - began
    began = time.process_time()
    lost_runs(image)
    assert time.process_time() - began < 0.5 * whole, "of the quality's time, which is a small part of the ingest's"
