"""Which detector a project file means, and which one made an analysis."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soilpipe.analyses import analysis_of
from soilpipe.config import Project, Site
from soilpipe.detect import weights
from soilpipe.detect.select import (
    DetectorChoiceError,
    detector_in_use,
    load_analysis_detector,
    load_project_detector,
)
from soilpipe.encoders import trunk_in_use
from soilpipe.models import ModelError, register, rollback
from soilpipe.promotion import promote
from soilpipe.store import Store
from tests.tiny_model import make_model

NOW = datetime(2024, 3, 6, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="shipped one"))
    return Store(tmp_path / "store")


def project(store: Store, detector: str) -> Project:
    return Project(
        project="test",
        path=Path("soilpipe.yaml"),
        store=store.root,
        timezone="UTC",
        sites=(Site(id="wood"),),
        scanners=(),
        detector=detector,
    )


def test_champion_follows_promotions(store: Store, tmp_path: Path) -> None:
    assert load_project_detector(project(store, "champion"), store).info.name == "shipped one"
    version = register(store, "detector", make_model(tmp_path / "m", name="ours"))
    promote(store, "detector", version, "why not", True, datetime(2024, 3, 6, tzinfo=UTC))
    assert load_project_detector(project(store, "champion"), store).info.version == version


def test_a_version_a_name_and_change_are_found(store: Store, tmp_path: Path) -> None:
    version = register(store, "detector", make_model(tmp_path / "m", name="ours"))
    assert load_project_detector(project(store, version), store).info.version == version
    assert load_project_detector(project(store, "ours"), store).info.version == version
    assert load_project_detector(project(store, "change"), store).info.name == "change"


def test_no_training_changes_what_a_name_stands_for_and_a_promotion_does(store: Store, tmp_path: Path) -> None:
    def trained(hours: int) -> str:
        made = make_model(tmp_path / "m", name="ours", threshold=hours / 10)
        version = register(store, "detector", made)
        at = time.time() + 3600 * hours
        os.utime(Path(store.root) / "models/detector" / version / "card.json", (at, at))
        return version

    def used() -> str:
        return detector_in_use(project(store, "ours"), store)

    # Registered out of the order of their versions, whatever these are.
    first, second = trained(1), trained(2)
    assert used() == first == load_project_detector(project(store, "ours"), store).info.version
    promote(store, "detector", second, "why not", True, NOW)
    assert used() == second
    third = trained(3)
    assert used() == second
    promote(store, "detector", third, "why not", True, NOW)
    other = register(store, "detector", make_model(tmp_path / "m", name="another"))
    promote(store, "detector", other, "why not", True, NOW)
    assert used() == third, "as promoted last of that name"
    rollback(store, "detector", "", NOW)
    rollback(store, "detector", "", NOW)
    assert used() == second
    rollback(store, "detector", "", NOW)
    assert used() == first, "what was taken back is not in use by its name either"


def test_the_encoder_of_a_project_is_that_of_the_detector_its_name_stands_for(store: Store, tmp_path: Path) -> None:
    first = register(store, "detector", make_model(tmp_path / "m", name="ours"))
    at = time.time() - 3600
    os.utime(Path(store.root) / "models/detector" / first / "card.json", (at, at))
    register(store, "detector", make_model(tmp_path / "m", name="ours", threshold=0.6))
    assert trunk_in_use(store, "ours") == f"detector:{first}"


def test_a_detector_that_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(ModelError, match="there is no detector 'ourz'"):
        load_project_detector(project(store, "ourz"), store)


@pytest.mark.parametrize("detector", ["champion", "change", "ours"])
def test_the_detector_of_an_analysis_is_found_again(store: Store, tmp_path: Path, detector: str) -> None:
    register(store, "detector", make_model(tmp_path / "m", name="ours"))
    analysis = analysis_of(load_project_detector(project(store, detector), store).info)
    assert analysis_of(load_analysis_detector(analysis, store).info) == analysis


def test_an_analysis_that_this_release_cannot_make_is_told(store: Store) -> None:
    analysis = analysis_of(load_project_detector(project(store, "champion"), store).info)
    older = analysis.model_copy(update={"algorithm_version": "0"})
    with pytest.raises(DetectorChoiceError, match="by this release"):
        load_analysis_detector(older, store)
