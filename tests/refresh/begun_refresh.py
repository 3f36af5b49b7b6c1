"""A refresh that was begun in a small project without labels, and goes on or does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from soilpipe.detect import weights
from soilpipe.refresh import begin as beginning
from soilpipe.refresh.state import RefreshState
from tests.labels.conftest import Season
from tests.refresh.refresh_project import NOW, PLAN, unlabelled
from tests.tiny_model import make_model

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return unlabelled(tmp_path / "project", weeks=0)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def begun(season: Season, work: Path, days: float = 0) -> RefreshState:
    return beginning.begin(season.project, season.store, work, plan=PLAN, now=NOW + days * DAY)


def silent(step: str, note: str, done: int, of: int) -> None:
    pass
