"""Small projects with labels and unlabelled scans, and a refresh of them, for the tests of the refresh."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from soilpipe.bundles import enough, gate
from soilpipe.config import RefreshPlan, load_project
from soilpipe.detect import weights
from soilpipe.models import model_path
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.refresh import RefreshResult, refresh
from soilpipe.store import Store
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.tiny_model import make_model

PLAN = RefreshPlan(minutes=5, steps=3, crops=64, memory=200_000_000)
NOW = datetime(2024, 4, 1, tzinfo=UTC)
WIDE = (520, 780)  # px: six places of 256 px
SCANNERS = ("A20", "B07", "C11")
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny detector in the place of the one that comes with the package."""
    seasons = {"labels": "seasons.json", "simulated": True, "image_names": ["season.png"]}
    shipped = make_model(tmp_path / "shipped", name="of the package", validation="simulated", trained_on=seasons)
    monkeypatch.setattr(weights, "SHIPPED", shipped)


@pytest.fixture
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everything pass that can be judged at all, by a few labels: what a network of eight channels is
    worth after three steps is chance, and not what is tested."""
    for name, value in {"LEAST_DAYS": 2, "LEAST_ANIMALS": 5}.items():
        monkeypatch.setattr(enough, name, value)
    for name, value in {"LARGEST_LOSS_OF_FEW": 1.0, "LARGEST_LOSS_OF_A_CLASS": 1.0, "LEAST_RANK": 0.0}.items():
        monkeypatch.setattr(gate, name, value)
    # Nothing was ever detected in these projects: on the last days there is nothing to compare.
    monkeypatch.setattr(judging, "with_week", lambda project, store, verdict, *_, **__: verdict)


def run(season: Season, work: Path, week: float = 0, **more: Any) -> RefreshResult:
    return refresh(season.project, season.store, plan=PLAN, now=NOW + week * WEEK, device="cpu", work=work, **more)


def encoder_weights(season: Season, version: str) -> dict[str, Any]:
    return load_file(model_path(season.store, "encoder", version) / "weights.safetensors")


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] == other[name]).all(), name


def labelled(folder: Path, *, days: int = 10, tiles: int = 1) -> Season:
    """Labelled tiles of each scanner, one scan a day, and a week of unlabelled scans."""
    folder.mkdir(parents=True, exist_ok=True)
    season = labelled_project(folder, scanners=SCANNERS, days=days, tiles=tiles)
    another_week(season, 0)
    return season


def unlabelled(folder: Path, *, scanners: Sequence[str] = SCANNERS[:2], weeks: int = 1) -> Season:
    """Nothing but scans."""
    document = {
        "project": "casca",
        "store": "./store",
        "timezone": "UTC",
        "sites": [{"id": "wood"}],
        "scanners": [{"id": one, "site": "wood", "inbox": f"./in/{one}", "dpi": 1200} for one in scanners],
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "soilpipe.yaml"
    file.write_text(yaml.safe_dump(document))
    project = load_project(file)
    season = Season(project, Store(project.store))
    for week in range(weeks):
        another_week(season, week, scanners)
    return season


def another_week(season: Season, week: int, scanners: Sequence[str] = SCANNERS) -> list[str]:
    """Two wide scans of each scanner; week 0 comes after all labelled scans."""
    first = 60 + 28 * week
    return [varied_scan(season, scanner, first + 4 * number) for scanner in scanners for number in range(2)]


def varied_scan(season: Season, scanner_id: str, number: int) -> str:
    """A scan of ground that is another one at every place: even a network that was never trained can tell its crops
    apart, so that they are no near-duplicates. Two scans of a scanner differ by an animal."""
    ground = np.random.default_rng(zlib.crc32(scanner_id.encode()))
    height, width = WIDE
    pixels = np.zeros((height, width, 3), np.float32)
    for top in range(0, height, 65):
        for left in range(0, width, 65):
            cell = ground.normal(0, ground.uniform(3, 40), (65, 65, 3)) + ground.uniform(20, 220, 3)
            cell = cv2.GaussianBlur(cell.astype(np.float32), (0, 0), float(ground.uniform(0.4, 6)))
            part = pixels[top : top + 65, left : left + 65]
            part[:] = cell[: part.shape[0], : part.shape[1]]
    x, y = np.random.default_rng(number).integers(60, (width - 60, height - 60))
    cv2.ellipse(pixels, (int(x), int(y)), (30, 10), float(number % 180), 0, 360, (235, 225, 205), -1)
    return season.scan(number, scanner_id=scanner_id, pixels=np.clip(pixels, 0, 255).astype(np.uint8))
