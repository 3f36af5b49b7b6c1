"""The registry: versions are their content, promotions are records, and what cannot load takes no place."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe import models
from soilpipe.detect import weights
from soilpipe.detect.weights import WeightsError, load_detector
from soilpipe.models import ModelError, champion, decisions, list_models, model_path, register, rollback, show
from soilpipe.promotion import promote
from soilpipe.store import Store
from tests.tiny_model import make_model

NOW = datetime(2024, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty registry, and a small model in the place of the one that comes with the package."""
    monkeypatch.setattr(
        weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package", validation="simulated")
    )
    return Store(tmp_path / "store")


def force(store: Store, version: str, at: datetime = NOW) -> None:
    promote(store, "detector", version, "it looks better on the overlays", True, at)


def aged(store: Store, version: str, hours: float) -> None:
    """Let a version be registered so many hours from now."""
    at = time.time() + 3600 * hours
    os.utime(Path(store.root) / "models/detector" / version / "card.json", (at, at))


def test_a_version_is_the_content_and_registering_twice_is_once(store: Store, tmp_path: Path) -> None:
    version = register(store, "detector", make_model(tmp_path / "m"))
    assert len(version) == 12
    assert register(store, "detector", make_model(tmp_path / "copy")) == version
    assert load_detector(model_path(store, "detector", version)).info.version == version
    assert register(store, "detector", make_model(tmp_path / "other", threshold=0.5)) != version
    assert len(store.list("models")) == 4


def test_what_cannot_be_loaded_is_not_registered(store: Store, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        register(store, "detector", tmp_path / "nothing")
    folder = make_model(tmp_path / "m")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "architecture": {"name": "transformer"}}))
    with pytest.raises(WeightsError):
        register(store, "detector", folder)
    assert store.list("models") == []


def test_the_champion_is_at_first_the_one_of_the_package(store: Store) -> None:
    assert champion(store, "detector") == "shipped"
    (model,) = list_models(store)
    assert (model.version, model.name, model.validation, model.champion) == (
        "shipped",
        "of the package",
        "simulated",
        True,
    )
    assert load_detector(model_path(store, "detector", "shipped")).info.name == "of the package"


def test_a_version_that_is_not_there_is_not_promoted_and_the_others_are_named(store: Store) -> None:
    with pytest.raises(ModelError, match="there are: shipped"):
        force(store, "ffffffffffff")
    assert decisions(store, "detector") == []


def test_without_figures_a_promotion_must_be_forced_with_a_reason(store: Store, tmp_path: Path) -> None:
    version = register(store, "detector", make_model(tmp_path / "m"))
    with pytest.raises(ModelError, match="no evaluation on labels of this project"):
        promote(store, "detector", version, "", False, NOW)
    with pytest.raises(ModelError, match="needs a reason"):
        promote(store, "detector", version, " ", True, NOW)
    decision = promote(store, "detector", version, "first model of ours", True, NOW)
    assert (decision.forced, decision.previous, champion(store)) == (True, "shipped", version)
    assert decisions(store, "detector") == [decision]
    assert show(store, "detector", version).champion


def test_rolling_back_leads_through_the_champions_to_the_package(store: Store, tmp_path: Path) -> None:
    a = register(store, "detector", make_model(tmp_path / "a", name="a"))
    b = register(store, "detector", make_model(tmp_path / "b", name="b"))
    force(store, a, NOW)
    force(store, b, NOW + HOUR)
    assert rollback(store, "detector", "too many roots", NOW + 2 * HOUR).version == a
    force(store, b, NOW + 3 * HOUR)
    assert rollback(store, "detector", "", NOW + 4 * HOUR).version == a
    assert rollback(store, "detector", "", NOW + 5 * HOUR).version == "shipped"
    with pytest.raises(ModelError, match="none before it"):
        rollback(store, "detector", "", NOW)
    assert champion(store) == "shipped"
    assert len(decisions(store, "detector")) == 6


def test_decisions_keep_their_order_when_a_clock_goes_back(store: Store, tmp_path: Path) -> None:
    a = register(store, "detector", make_model(tmp_path / "a", name="a"))
    b = register(store, "detector", make_model(tmp_path / "b", name="b"))
    force(store, a, NOW)
    force(store, b, NOW - 5 * HOUR)
    assert champion(store) == b


def test_promoting_the_champion_is_told(store: Store, tmp_path: Path) -> None:
    version = register(store, "detector", make_model(tmp_path / "m"))
    force(store, version)
    with pytest.raises(ModelError, match="is the champion"):
        force(store, version)


def test_names_and_first_digits_stand_for_a_version_when_they_are_of_one_only(store: Store, tmp_path: Path) -> None:
    one = register(store, "detector", make_model(tmp_path / "one", name="wood"))
    assert models.resolve(store, "detector", "wood") == one
    assert models.resolve(store, "detector", one[:5]) == one
    for threshold in (0.6, 0.7):
        newest = register(store, "detector", make_model(tmp_path / "more", name="wood", threshold=threshold))
        aged(store, newest, threshold)
    versions = models.versions_named(store, "detector", "wood")
    assert (versions[0], versions[-1], len(versions)) == (one, newest, 3) and versions == models.versions_by_age(
        store, "detector"
    )
    with pytest.raises(ModelError, match=f"several versions.*{', '.join(versions)}. Give one.*such as {newest}"):
        models.resolve(store, "detector", "wood")
    assert models.versions_named(store, "detector", newest) == [newest]
    with pytest.raises(ModelError, match="no detector"):
        models.resolve(store, "detector", "../../etc")


def test_a_damaged_model_is_not_used(store: Store, tmp_path: Path) -> None:
    version = register(store, "detector", make_model(tmp_path / "m"))
    key = f"models/detector/{version}/card.json"
    store.write_bytes(key, store.read_bytes(key).replace(b"0.4", b"0.3"))
    with pytest.raises(ModelError, match="damaged"):
        model_path(store, "detector", version)
    with pytest.raises(ModelError, match="damaged"):
        force(store, version)


def test_an_unknown_role_is_told(store: Store) -> None:
    with pytest.raises(ModelError, match="no role"):
        champion(store, "decoder")
