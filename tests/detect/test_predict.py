"""Tiled prediction: the answer belongs to the image, not to the tiles."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.background import Registration
from soilpipe.detect import decode, strips, tiled
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.passes import PassName
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.sizes import make_network
from soilpipe.tiles import image_from_array

CARD = {
    "name": "untrained",
    "taxa": ["Acari", "Collembola", "Symphyla"],
    "um_per_px": 21.17,
    "threshold": 0.3,
    "validation": "none",
    "border_mm": 4.0,
    "border_tolerance": 1.3,
    "heads": ["fine", "coarse"],
}


@dataclass(frozen=True)
class Windows:
    """Seven channels in memory, with the plain of outside pixels around them."""

    pixels: np.ndarray
    factor: float = 1.0

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        out = np.empty((7, y1 - y0, x1 - x0), np.uint8)
        out[:] = np.array([0, 0, 0, 128, 128, 128, 0], np.uint8)[:, None, None]
        inside = self.pixels[:, y0 : min(y1, self.height), x0 : min(x1, self.width)]
        out[:, : inside.shape[1], : inside.shape[2]] = inside
        return out


def lively(size: str) -> CentrePointNetwork:
    """Untrained, but with lively answers: its heatmap crosses any threshold in many places."""
    torch.manual_seed(3)
    network = make_network(size, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
    for head in (network.fine, network.coarse):
        torch.nn.init.normal_(head.out.weight, std=0.3)
        torch.nn.init.zeros_(head.out.bias)
    return network.eval()


@pytest.fixture(autouse=True)
def a_thread_a_window(own_threads: None) -> None:
    """As a detection has: threads that share a window change the order of sums on some processors."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> CentrePointNetwork:
    return lively("medium")


@pytest.fixture(scope="module")
def folded(network: CentrePointNetwork) -> CentrePointNetwork:
    return network.folded()


@pytest.fixture(
    scope="module", params=["medium", *(pytest.param(size, marks=pytest.mark.slow) for size in ("small", "resnet18"))]
)
def any_folded(request: pytest.FixtureRequest) -> CentrePointNetwork:
    return lively(request.param).folded()


def scene(height: int, width: int, seed: int) -> Windows:
    return Windows(np.random.default_rng(seed).integers(0, 256, (7, height, width), np.uint8))


def found(
    folded: CentrePointNetwork, windows: Windows, core: int, offset: tuple[int, int] = (0, 0), bf16: bool = False
) -> decode.Peaks:
    network = folded.in_bf16() if bf16 else folded
    return tiled.find_peaks(network, "fine", windows, 0.5, device=torch.device("cpu"), core=core, offset=offset)


def whole(folded: CentrePointNetwork, windows: Windows, bf16: bool = False) -> decode.Peaks:
    """The peaks of one call of the network on the whole padded image, without any tile."""
    least = folded.smallest_input
    height, width = (max(-(-side // 32) * 32, least) for side in (windows.height, windows.width))
    network = folded.in_bf16() if bf16 else folded
    with torch.inference_mode():
        answer = network(torch.from_numpy(windows.read(0, height, 0, width))[None], "fine")
    core = (0, -(-windows.height // 4), 0, -(-windows.width // 4))
    return decode.find_peaks(answer, 0, 0.5, core, (0, 0)).strongest(10**6)


def assert_same(a: decode.Peaks, b: decode.Peaks) -> None:
    assert len(a) == len(b)
    np.testing.assert_array_equal(a.cells, b.cells)
    for one, other in ((a.around, b.around), (a.taxon, b.taxon), (a.sides, b.sides)):
        np.testing.assert_array_equal(one.view(np.int32), other.view(np.int32))


@dataclass(frozen=True)
class Cut:
    """An image of that size, and two grids of tiles over it."""

    windows: Windows
    core: int
    offset: tuple[int, int]

    @property
    def is_tiny(self) -> bool:
        """So small that an untrained network may find nothing in it."""
        return min(self.windows.height, self.windows.width) < 32


def cuts(folded: CentrePointNetwork, data: st.DataObject) -> Cut:
    """Drawn so that several tiles meet: a ResNet, ten times as dear, gets long and narrow images."""
    deep = folded.halo > 128
    long = data.draw(st.integers(545, 800) if deep else st.integers(1, 1100), label="one side")
    short = data.draw(st.integers(1, 400) if deep else st.integers(1, 1100), label="the other")
    sides = data.draw(st.permutations([long, short]), label="height, width")
    least = max(folded.smallest_input - 2 * folded.halo, 32) // 32
    return Cut(
        scene(*sides, data.draw(st.integers(0, 99), label="seed")),
        32 * data.draw(st.integers(least + 3 * deep, 16), label="core / 32"),
        (32 * data.draw(st.integers(0, 40), label="rows"), 32 * data.draw(st.integers(0, 40), label="columns")),
    )


@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_tiled_equals_whole_to_the_bit_and_a_shift_of_the_grid_changes_nothing(
    any_folded: CentrePointNetwork, data: st.DataObject
) -> None:
    """In float32, with a thread for a window: every peak, its heat, taxa and sides."""
    cut = cuts(any_folded, data)
    expected = whole(any_folded, cut.windows)
    assert len(expected) > 0 or cut.is_tiny
    assert_same(found(any_folded, cut.windows, cut.core), expected)
    assert_same(found(any_folded, cut.windows, cut.core, cut.offset), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_columns_that_a_cpu_is_given_are_exact_where_they_meet(
    size: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiles of every real detection (`core` None), narrow enough for seams, walked down in several strips."""
    network = lively(size).folded()
    least = network.smallest_input
    monkeypatch.setattr(tiled, "LARGEST_WIDTH", least)
    monkeypatch.setattr(tiled, "NARROWEST", least)
    monkeypatch.setattr(strips, "STRIP_PX", 60_000)
    monkeypatch.setattr(strips, "BAND_CELLS", 64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:

        @settings(max_examples=5, deadline=None, derandomize=True)
        @given(st.integers(1, 500), st.integers(2 * least, 3 * least + 64), st.integers(0, 99))
        def drawn(height: int, width: int, seed: int) -> None:
            windows = scene(height, width, seed)
            columns = tiled.columns_of(height, width, network.halo, least, threads)
            assert len(columns) >= 2 and tiled.workers_for(len(columns), threads) == threads
            peaks = tiled.find_peaks(network, "fine", windows, 0.5, device=torch.device("cpu"))
            assert len(peaks) > 0 or height < 32
            torch.set_num_threads(1)  # as each column is computed: threads that share a window may sum in another order
            expected = whole(network, windows)
            torch.set_num_threads(threads)
            assert_same(peaks, expected)

        drawn()
    finally:
        torch.set_num_threads(before)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_counts_in_bf16_are_the_same_whatever_the_tiles(any_folded: CentrePointNetwork, data: st.DataObject) -> None:
    cut = cuts(any_folded, data)
    expected = whole(any_folded, cut.windows, bf16=True)
    assert len(expected) > 0 or cut.is_tiny
    for offset in ((0, 0), cut.offset):
        peaks = found(any_folded, cut.windows, cut.core, offset, bf16=True)
        assert len(peaks) == len(expected)
        np.testing.assert_array_equal(peaks.cells, expected.cells)
    assert expected.heat.dtype == np.float32


def test_less_than_the_halo_is_not_enough(folded: CentrePointNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = scene(700, 384, 3)
    expected = whole(folded, windows)
    monkeypatch.setattr(CentrePointNetwork, "halo", 64)
    peaks = found(folded, windows, 256)
    assert len(peaks) != len(expected) or not np.array_equal(peaks.heat, expected.heat)


@pytest.mark.parametrize(
    "size",
    [(1000, 40), *(pytest.param(size, marks=pytest.mark.slow) for size in ((384, 384), (385, 1151), (640, 704)))],
)
def test_sizes_at_the_edges_of_the_padding_are_exact(folded: CentrePointNetwork, size: tuple[int, int]) -> None:
    windows = scene(*size, seed=1)
    assert len(whole(folded, windows)) > 0
    assert_same(found(folded, windows, 128, (32, 96)), whole(folded, windows))


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="two passes", marks=pytest.mark.slow),
        pytest.param({"middle_mm": [1.2, 3.0], "middle_tolerance": 1.55}, id="a middle one", marks=pytest.mark.slow),
        pytest.param({"finest_mm": 0.45, "finest_tolerance": 1.3, "um_per_px": 42.34}, id="a finest one"),
    ],
)
def test_all_passes_together_give_the_same_detections_whatever_the_tiles(
    network: CentrePointNetwork, more: dict[str, Any]
) -> None:
    passes: dict[PassName, Windows] = {"fine": scene(700, 900, 5), "coarse": Windows(scene(175, 225, 6).pixels, 4.0)}
    if "middle_mm" in more:
        passes["middle"] = Windows(scene(350, 450, 7).pixels, 2.0)
    if "finest_mm" in more:
        passes = {name: Windows(one.pixels[:, ::2, ::2], 2 * one.factor) for name, one in passes.items()}
        passes["finest"] = scene(700, 900, 5)
    detector = CentrePointDetector(network, CARD | more, device="cpu")
    answers = []
    cuts = (
        ((None, (0, 0)), (256, (96, 160)))
        if more
        else ((None, (0, 0)), (256, (0, 0)), (256, (96, 160)), (128, (32, 0)))
    )
    for core, offset in cuts:
        detector.core = core
        answers.append(detector.detect_windows(passes, 700, 900, 21.17, threshold=0.5, offset=offset))
    assert len(answers[0]) > 50
    assert np.triu(decode.overlaps(answers[0].boxes, answers[0].boxes), 1).max() <= decode.DOUBLE + 1e-6  # as float32
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.boxes, answers[0].boxes)
        np.testing.assert_array_equal(answer.scores, answers[0].scores)
        np.testing.assert_array_equal(answer.labels, answers[0].labels)


def test_a_cap_on_detections_keeps_the_same_ones_whatever_the_tiles_and_says_so(folded: CentrePointNetwork) -> None:
    windows = scene(600, 800, 7)
    kept = []
    for core in (1536, 160):
        with pytest.warns(UserWarning, match="only the 20 best are kept"):
            kept.append(tiled.find_peaks(folded, "fine", windows, 0.5, device=torch.device("cpu"), core=core, most=20))
    assert len(kept[0]) == 20
    assert_same(kept[0], kept[1])


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("size", [(14031, 9921), (28063, 19843), (3840, 5120), (700, 900), (40, 9000), (9000, 40)])
def test_columns_are_chosen_so_that_little_is_computed_twice(size: tuple[int, int], threads: int) -> None:
    halo, smallest = 128, 384
    tiles = tiled.columns_of(*size, halo, smallest, threads)
    tall, wide = (max(-(-side // 32) * 32, smallest) for side in size)
    assert all(tile.window[:2] == tile.core[:2] == (0, tall) for tile in tiles)
    assert [tile.core[2] for tile in tiles] == [0, *(tile.core[3] for tile in tiles[:-1])] and tiles[-1].core[3] == wide
    for tile in tiles:
        (left, right), (first, last) = tile.core[2:], tile.window[2:]
        assert not any(edge % 32 for edge in (left, right, first, last))
        assert first == max(left - halo, 0) and last == min(right + halo, wide) and last - first >= smallest
        assert right - left <= tiled.LARGEST_WIDTH
    assert sum(tile.window[3] - tile.window[2] for tile in tiles) <= 1.5 * wide
    assert len(tiles) >= min(threads, tiled.MOST_WORKERS, wide // tiled.NARROWEST)  # nobody is idle


def test_nothing_is_found_beyond_the_image(folded: CentrePointNetwork) -> None:
    windows = scene(50, 70, 2)
    peaks = found(folded, windows, 256)
    assert (peaks.cells < [13, 18]).all()
    boxes = decode.peak_boxes(peaks, 1.0, 50, 70)
    assert (boxes >= 0).all() and (boxes[:, 2:] <= [70, 50]).all()


def test_detect_reads_a_scan_at_both_scales_and_answers_in_its_pixels(network: CentrePointNetwork) -> None:
    from soilpipe.tiles import image_from_array

    array = np.random.default_rng(0).integers(0, 256, (500, 900, 3), np.uint8)
    detector = CentrePointDetector(network, CARD, device="cpu")
    detections = detector.detect(image_from_array(array, 10.58), [], [], threshold=0.5)
    assert detections.boxes.dtype == np.float32 and detections.taxa == tuple(CARD["taxa"])
    assert detections.boxes[:, 2].max() > 600  # px of the scan, not of the half-size level that the network saw
    assert (np.diff(detections.scores) <= 0).all()
    assert len(detector.detect(image_from_array(array, 10.58), [], [], threshold=1.0)) == 0


def test_a_core_too_small_for_exactness_is_refused(folded: CentrePointNetwork) -> None:
    with pytest.raises(ValueError, match="128 px or more"):
        found(folded, scene(100, 100, 0), 96)


def test_prediction_gives_no_warning_of_its_own(folded: CentrePointNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(folded, scene(100, 100, 0), 256)


def test_weights_that_never_saw_a_difference_answer_from_the_picture_alone(network: CentrePointNetwork) -> None:
    rng = np.random.default_rng(5)
    scans = [
        image_from_array(rng.integers(0, 255, (400, 420, 3), dtype=np.uint8), 21.17, scan_id=str(k)) for k in range(3)
    ]
    still = np.zeros((1, 1), np.float32)
    lying = Registration(still, still, np.ones(3, np.float32), np.zeros(3, np.float32), 1.0, True, "")
    with_difference = CentrePointDetector(network, CARD, device="cpu")
    alone = CentrePointDetector(network, {**CARD, "difference": False}, device="cpu")
    bare = with_difference.detect(scans[0], (), ())
    given_some = alone.detect(scans[0], scans[1:], [lying, lying])
    np.testing.assert_array_equal(given_some.boxes, bare.boxes)
    np.testing.assert_array_equal(given_some.scores, bare.scores)
    swayed = with_difference.detect(scans[0], scans[1:], [lying, lying])
    assert not np.array_equal(swayed.boxes, bare.boxes)
