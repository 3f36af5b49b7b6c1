"""A window in strips: the same bits as the window at once, and batches that fit the memory there is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.analyses import analysis_of
from soilpipe.detect import decode, network, strips, tiled
from soilpipe.detect.network import CentrePointNetwork, Head
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.weights import WeightsError, load_detector
from soilpipe.tiles import tile_grid
from tests.detect.test_predict import CARD, Windows, lively, scene
from tests.tiny_model import make_model


@pytest.fixture(scope="module")
def folded() -> CentrePointNetwork:
    return lively("medium").folded()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("core", [(0, 360, 0, 136), (32, 296, 40, 104), (351, 360, 130, 136)])
def test_strips_give_the_bits_of_the_whole_window(
    folded: CentrePointNetwork, core: strips.Cells, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_PX", 40_000)
    monkeypatch.setattr(strips, "BAND_CELLS", 64)
    computing = folded.in_bf16() if bf16 else folded
    pixels = torch.from_numpy(scene(1440, 544, 1).pixels)[None]
    seen = np.zeros((360, 136), int)
    with torch.inference_mode():
        whole = computing(pixels, "coarse")
        for part in strips.answer_parts(computing, strips.InMemory(pixels), "coarse", core):
            (y, x), (height, width) = part.origin, part.answer.heat.shape[2:]
            for ours, theirs in zip(part.answer, whole, strict=True):
                assert torch.equal(ours, theirs[:, :, y : y + height, x : x + width])
            a, b, c, d = part.core
            seen[y + a : y + b, x + c : x + d] += 1
    expected = np.zeros_like(seen)
    expected[core[0] : core[1], core[2] : core[3]] = 1
    np.testing.assert_array_equal(seen, expected)


def test_strips_cover_an_interval_without_gaps() -> None:
    for first, last, most in ((0, 1, 500), (7, 700, 64), (0, 64, 1), (5, 6, 1), (10, 330, 100)):
        parts = strips.strips(first, last, most)
        assert parts[0][0] == first and parts[-1][1] == last
        assert all(a < b for a, b in parts) and max(b - a for a, b in parts) <= max(most, strips.LEAST)
        assert all(one[1] == other[0] for one, other in pairwise(parts))


def test_a_convolution_with_relu_in_one_kernel_has_the_bits_of_two(
    folded: CentrePointNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.from_numpy(scene(384, 384, 2).pixels)[None]
    for computing in (folded, folded.in_bf16()):
        with torch.inference_mode():
            fast = computing(pixels)
            with monkeypatch.context() as without:
                without.setattr(network, "FUSED", None)
                plain = computing(pixels)
        assert all(torch.equal(one, other) for one, other in zip(fast, plain, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_answer_does_not_depend_on_the_number_of_cores(folded: CentrePointNetwork, threads: int) -> None:
    windows, before = scene(500, 620, 4), torch.get_num_threads()
    expected = peaks_of(folded, windows)
    torch.set_num_threads(threads)
    try:
        found = peaks_of(folded, windows)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found.cells, expected.cells)
    np.testing.assert_array_equal(found.heat, expected.heat)


def peaks_of(folded: CentrePointNetwork, windows: Windows) -> decode.Peaks:
    return tiled.find_peaks(folded, "fine", windows, 0.5, device=torch.device("cpu"), core=256)


def test_a_window_that_cannot_be_read_stops_the_search(folded: CentrePointNetwork) -> None:
    class Torn(Windows):
        def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            if y0 > 0:
                raise OSError("torn")
            return super().read(y0, y1, x0, x1)

    with pytest.raises(OSError, match="torn"):
        peaks_of(folded, Torn(scene(900, 384, 1).pixels))


class Narrow(torch.nn.Module):
    """A network on a device that has memory for `room` windows at once."""

    def __init__(self, inner: CentrePointNetwork, room: int) -> None:
        super().__init__()
        self.inner, self.room, self.taxa, self.tried = inner, room, inner.taxa, list[int]()

    def forward(self, pixels: torch.Tensor, head: Head) -> network.Answer:
        self.tried.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(pixels, head)


def test_out_of_memory_halves_the_batch_and_goes_on(folded: CentrePointNetwork) -> None:
    windows = scene(700, 900, 8)
    grid = tile_grid(700, 900, core=256, halo=128, stride=32)
    narrow = Narrow(folded, 1)
    search = tiled._Search(narrow, "fine", windows, 0.5, 10**6)
    found = decode.join(search.in_batches(grid, torch.device("cpu")), folded.taxa).strongest(10**6)
    assert narrow.tried[:3] == [4, 2, 1] and set(narrow.tried[3:]) == {1} and narrow.tried.count(1) == len(grid)
    expected = peaks_of(folded, windows)
    np.testing.assert_array_equal(found.cells, expected.cells)
    np.testing.assert_array_equal(found.heat, expected.heat)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]
)
def test_out_of_memory_while_the_peaks_are_found_halves_the_batch_too(
    folded: CentrePointNetwork, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, find_peaks = scene(700, 900, 8), decode.find_peaks
    grid = tile_grid(700, 900, core=256, halo=128, stride=32)
    expected = peaks_of(folded, windows)

    def narrow(answer: network.Answer, *rest: Any) -> decode.Peaks:
        if len(answer.heat) > 2:
            raise error
        return find_peaks(answer, *rest)

    monkeypatch.setattr(decode, "find_peaks", narrow)
    search = tiled._Search(folded, "fine", windows, 0.5, 10**6)
    found = decode.join(search.in_batches(grid, torch.device("cpu")), folded.taxa).strongest(10**6)
    np.testing.assert_array_equal(found.cells, expected.cells)
    np.testing.assert_array_equal(found.heat, expected.heat)


def test_an_error_that_is_not_about_memory_is_not_swallowed(folded: CentrePointNetwork) -> None:
    class Broken(torch.nn.Module):
        taxa, halo = folded.taxa, folded.halo

        def forward(self, pixels: torch.Tensor, head: Head) -> network.Answer:
            raise RuntimeError("an illegal instruction")

    search = tiled._Search(Broken(), "fine", scene(400, 400, 8), 0.5, 10)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="illegal"):
        search.in_batches(tile_grid(400, 400, core=256, halo=128, stride=32), torch.device("cpu"))


def test_no_memory_for_a_single_window_is_told_with_what_to_do(folded: CentrePointNetwork) -> None:
    search = tiled._Search(Narrow(folded, 0), "fine", scene(400, 400, 8), 0.5, 10)
    grid = tile_grid(400, 400, core=256, halo=128, stride=32)
    with pytest.raises(tiled.PredictionError, match="no memory for one window of 416 x 416 px"):
        search.in_batches(grid, torch.device("cpu"))


def test_bf16_is_asked_for_by_the_card_and_belongs_to_the_analysis() -> None:
    untrained = lively("medium")
    plain, exact, fast = (
        CentrePointDetector(untrained, {**CARD, "heads": ["fine"], **card}, device="cpu")
        for card in ({}, {"precision": "float32"}, {"precision": "bf16"})
    )
    assert (plain.bf16, exact.bf16, fast.bf16) == (False, False, True)
    assert "precision" not in plain.info.settings, "the analyses there are keep their names"
    assert fast.info.settings["precision"] == "bf16"
    assert len({analysis_of(detector.info).id for detector in (plain, exact, fast)}) == 3
    passes: dict[Head, Windows] = {"fine": scene(400, 500, 3)}
    scores = [each.detect_windows(passes, 400, 500, 21.17, threshold=0.5).scores for each in (plain, exact, fast)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert len(scores[0]) > 50 and not np.array_equal(scores[0], scores[2])


def test_a_precision_that_there_is_not_is_refused(tmp_path) -> None:
    assert load_detector(make_model(tmp_path / "fast", precision="bf16"), device="cpu").bf16
    with pytest.raises(WeightsError, match=r"`precision` = .int4. .expected float32 or bf16."):
        make_model(tmp_path / "none", precision="int4")
