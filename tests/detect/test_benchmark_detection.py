"""The benchmark of detection: what it judges by, and its part for a GPU with a CPU in its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import CentrePointDetector
from tests.detect.test_predict import CARD


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import detection
    import detection_gpu
    import detection_store

    return detection, detection_gpu, detection_store


def test_a_difference_costs_registering_and_reading_with_it_less_reading_without(
    parts: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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


@pytest.mark.slow
def test_the_part_for_a_gpu_tells_speed_memory_and_agreement(
    parts: tuple[Any, Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, gpu, store = parts
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
