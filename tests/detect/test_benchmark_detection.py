"""The benchmark of detection: what it judges by, and its part for a GPU with a CPU in its place."""

from __future__ import annotations

import sys
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

    def scales(self) -> dict[str, float]:
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
