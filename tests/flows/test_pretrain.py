"""The flow of the weekly refresh, for real: Prefect's server, a few scans, a tiny network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect import weights
from soilpipe.refresh.records import refreshes
from soilpipe.refresh.state import alone_at_work, refresh_folder
from tests.refresh.refresh_project import unlabelled
from tests.tiny_model import make_model

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresh's folder lies in the test's own, and a tiny detector stands in for the one of the package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))


def run(file: Path) -> Any:
    from flows.pretrain import refresh_pretraining

    return refresh_pretraining(str(file), steps=2, minutes=2, return_state=True)


def test_a_refresh_leaves_its_decision_and_its_progress_and_a_second_one_finds_nothing_new(tmp_path: Path) -> None:
    from flows.progress import Step, listening

    season = unlabelled(tmp_path / "project")
    heard: list[Step] = []

    with listening(heard.append):
        state = run(season.project.path)

    assert state.is_completed(), state
    (record,) = refreshes(season.store)
    assert record.outcome == "candidate" and record.training["steps"] == 2
    assert f"Stays a candidate: encoder {record.encoder}" in state.result()
    assert {step.stage for step in heard} >= {"corpus", "pretrain"}
    artifacts = _artifacts()
    decision = artifacts["refresh-decision"]["data"]
    assert record.encoder in decision and "soilpipe label draw" in decision
    assert "](data:image/png;base64," in decision, "the curves of the training"
    assert float(artifacts["refresh-progress"]["data"]) == 100.0
    assert list(refresh_folder(season.store.root).iterdir()) == [refresh_folder(season.store.root) / "lock"]

    again = run(season.project.path)
    assert again.is_completed() and "no scan has come" in again.result()
    assert len(refreshes(season.store)) == 1


def test_two_at_once_do_no_harm_and_the_second_says_why_it_does_nothing(tmp_path: Path) -> None:
    season = unlabelled(tmp_path / "project")
    with alone_at_work(refresh_folder(season.store.root)):
        state = run(season.project.path)
    assert state.is_completed() and "another refresh of this project is at work" in state.result()
    assert refreshes(season.store) == []


def _artifacts() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json={"sort": "CREATED_DESC"}).json()
    return {one["key"]: one for one in reversed(found) if one["key"]}
