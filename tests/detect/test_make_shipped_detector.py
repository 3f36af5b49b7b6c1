"""The script that makes the shipped detector runs from nothing to a detector that loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soilpipe.detect.weights import load_detector

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "make_shipped_detector.py"


@pytest.mark.slow
def test_two_phases_make_a_detector_that_loads(tmp_path: Path) -> None:
    size = ["--seasons", "2", "--val-seasons", "1", "--scans", "4", "--size", "512", "--workers", "2"]
    crowd = ["--crowd", "900", "--val-crowd", "600", "--steps", "4", "--batch", "4", "--crop", "128", "--device", "cpu"]
    for phase in ("simulate", "train"):
        subprocess.run(
            [sys.executable, str(SCRIPT), phase, "--folder", "seasons", "--out", "out", *size, *crowd],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=280,
        )
    labels = json.loads((tmp_path / "seasons" / "labels.json").read_text())
    assert labels["info"]["simulated"] and len(labels["images"]) == 12
    assert len({annotation["id"] for annotation in labels["annotations"]}) == len(labels["annotations"])
    info = load_detector(tmp_path / "out", device="cpu").info
    assert info.validation == "simulated" and set(info.taxa) <= {"Collembola", "Acari", "Diplura", "Protura",
        "Formicidae", "Coleoptera", "Diptera", "Symphyla", "Pauropoda", "Diplopoda", "Chilopoda", "Isopoda",
        "Pseudoscorpiones", "Araneae", "Enchytraeidae", "Lumbricidae", "Nematoda", "Gastropoda"}  # fmt: skip
    assert json.loads((tmp_path / "out" / "card.json").read_text())["licence"] == "Apache-2.0"
