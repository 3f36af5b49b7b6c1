"""The benchmark of detection: what it judges by, and its part for a GPU with a CPU in its place."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import CentrePointDetector
from tests.detect.test_predict import CARD


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any, Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import detection
    import detection_gpu
    import detection_store
    import prediction_speed

    return detection, detection_gpu, detection_store, prediction_speed


def test_a_difference_costs_registering_and_reading_with_it_less_reading_without(
    parts: tuple[Any, Any, Any, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Network 10 s; registering and reading 6 s of which 3 s would be read anyway: 0.3."""
    monkeypatch.setattr(parts[0], "precisions", lambda: {"": "float32"})
    seconds = {
        "end to end": 12.5,
        "bare network": 10.0,
        "end to end, 4 references": 15.0,
        "registering 4 references": 1.0,
        "registering and reading, 4 references": 6.0,
        "reading, no references": 3.0,
    }
    parts[0].judge_all({name: 100.0 / taken for name, taken in seconds.items()}, {})
    told = capsys.readouterr().out
    assert "registering and median of 4 references over bare: 0.30, at most 0.4: met" in told
    assert "end to end over bare: 0.80, at least 0.8: met" in told


class Counting:
    """A detector whose network notes what it is given."""

    device = torch.device("cpu")
    smallest_input = 160

    def __init__(self, um_per_px: float = 20.0) -> None:
        self.info, self._folded = SimpleNamespace(um_per_px=um_per_px), self
        self.given: list[tuple[str, tuple[int, ...]]] = []

    def scales(self, of_scan: float) -> dict[str, float]:
        assert of_scan == self.info.um_per_px
        return {"fine": self.info.um_per_px, "coarse": 4 * self.info.um_per_px}

    def __call__(self, pixels: torch.Tensor, head: str) -> None:
        self.given.append((head, tuple(pixels.shape)))

    def pixels(self, head: str) -> int:
        return sum(count * high * wide for name, (count, _, high, wide) in self.given if name == head)


@pytest.mark.parametrize(
    ("size", "tile", "batch"), [(10_000, 2560, 4), (4096, 2560, 4), (10_000, 1024, 1), (4096, 1024, 1)]
)
def test_the_bare_network_gets_as_many_pixels_as_its_passes_look_at(
    parts: tuple[Any, Any, Any, Any], size: int, tile: int, batch: int
) -> None:
    detector = Counting()
    parts[3].bare(detector, size, tile, batch)
    assert detector.pixels("fine") == pytest.approx(size**2, rel=0.02)
    assert detector.pixels("coarse") == pytest.approx((size // 4) ** 2, rel=0.02)
    assert all(shape[0] <= batch and shape[2] <= tile for _, shape in detector.given)


def test_a_last_batch_is_of_what_is_left(parts: tuple[Any, Any, Any, Any]) -> None:
    detector = Counting()
    parts[3].bare(detector, 900, 320, 4)  # 3 x 3 windows, and one of the coarse pass
    assert [(head, shape[0]) for head, shape in detector.given] == [
        ("fine", 4),
        ("fine", 4),
        ("fine", 1),
        ("coarse", 1),
    ]


def test_the_bare_network_is_run_with_a_window_a_core_too(parts: tuple[Any, Any, Any, Any]) -> None:
    class Threaded(Counting):
        def __call__(self, pixels: torch.Tensor, head: str) -> None:
            assert torch.is_inference_mode_enabled()
            threads.append((threading.current_thread().name, torch.get_num_threads()))
            super().__call__(pixels, head)
            meeting.wait()  # for another window that is looked at meanwhile

    threads: list[tuple[str, int]] = []
    before, meeting = torch.get_num_threads(), threading.Barrier(2, timeout=60)
    torch.set_num_threads(2)
    try:
        detector = Threaded()
        parts[3].bare(detector, 1400, 640, cores=2)  # 3 x 3 windows, and one of the coarse pass
        assert torch.get_num_threads() == 2
        assert sorted(parts[3].bare_works(Counting(), 640, "bare")) == ["bare", "bare, one a core"]
    finally:
        torch.set_num_threads(before)
    assert {count for _, count in threads} == {1} and len({name for name, _ in threads}) == 2
    assert len(detector.given) == 10


def test_the_faster_way_of_the_bare_network_and_of_rivals_counts_and_is_told(parts: tuple[Any, Any, Any, Any]) -> None:
    """Of a rival's two images at a time, 8 s, operators that stand in took 2 s in either thread."""
    seconds = {
        "end to end": [10.0, 11.0, 12.0],
        "bare network": [30.0, 20.0, 40.0],
        "bare network, one a core": [8.0, 10.0, 9.0],
        "rival": [5.0],
        "rival, one a core": [8.0],
    }
    spent = {"rival*": [1.0], "rival, one a core*": [4.0]}
    pixels = {"rival": 4.0, "rival, one a core": 8.0}
    given = {**{f"{name}*": [0.0] for name in seconds}, **seconds, **spent}
    pixels = {**dict.fromkeys(seconds, 100.0), **pixels}
    rows, rates, without = parts[0].table(pixels, given, ["rival", "rival, one a core"], 2)
    assert rates == {"end to end": 100 / 11, "bare network": 100 / 9, "rival": 1.0}
    assert without == {"rival": pytest.approx(8 / 6)}
    assert [row.get("faster") for row in rows] == [None, False, True, False, True]
    assert "threads share a window)" in parts[0].line(rows[1])
    assert "a window a core, the faster: it counts)" in parts[0].line(rows[2])
    assert "a window" not in parts[0].line(rows[0])


def test_a_rival_looks_at_as_many_images_at_a_time_as_there_are_cores(
    parts: tuple[Any, Any, Any, Any],
) -> None:
    import detection_rivals

    meeting = threading.Barrier(2, timeout=60)
    works = detection_rivals.both_ways("rival", [meeting.wait, meeting.wait], precisely=True)
    works["rival, one a core"]()
    assert list(detection_rivals.both_ways("rival", [meeting.wait])) == ["rival"]


@pytest.mark.slow
def test_the_part_for_a_gpu_tells_speed_memory_and_agreement(
    parts: tuple[Any, Any, Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, gpu, store, _ = parts
    seen: list[int] = []

    def peak(work: Any) -> int:
        seen.append(len(work()))
        return 10**9 + len(seen)

    monkeypatch.setattr(gpu, "peak_bytes", peak)
    monkeypatch.setattr(gpu, "GPU_CORE", 384)
    picture = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    network = CentrePointNetwork(3, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    card = {**CARD, "threshold": 0.005, "um_per_px": 25_400 / 1200, "heads": ["fine"]}
    scores = gpu._found(CentrePointDetector(network, card, device="cpu"), picture[:256, :256])
    detector = CentrePointDetector(network, {**card, "threshold": float(scores[7])}, device="cpu")  # some, not all
    stored = store.stored_mosaic(picture, tmp_path)
    gpu.on_gpu(*stored, picture, detector, runs=1, part=256, device="cpu")
    told = capsys.readouterr().out
    for added in ("", ", bf16"):
        assert f"end to end over bare{added}: " in told
        assert f"seconds for a 1200 dpi scan in proportion, end to end{added}: " in told
        assert f"four times the pixels over once{added}: 1.00, at most 1.1: met" in told
    assert "on a CPU: " in told and len(seen) == 4
    assert "largest difference of a score, of 0.0001: 0.00, at most 1: met" in told

    class Blind(CentrePointDetector):
        def detect(self, *shown: Any, threshold: float | None = None) -> Any:
            found = super().detect(*shown, threshold=threshold)
            return found.select(np.arange(len(found)) > 0)

    monkeypatch.setattr(
        gpu,
        "variant",
        lambda each, device, **more: (Blind if device == "cuda" else type(each))(each.network, each.card, device="cpu"),
    )
    gpu.compare(detector, picture, "cuda")
    assert capsys.readouterr().out.strip().endswith("MISSED")
