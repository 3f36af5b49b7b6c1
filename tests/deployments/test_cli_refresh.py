"""`soilpipe refresh` hands its options on as they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.config import RefreshPlan
from soilpipe.detect import weights
from soilpipe.refresh import begin as beginning
from tests.refresh.refresh_project import unlabelled
from tests.tiny_model import make_model


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--steps", "7", "--minutes", "3.5"], {"steps": 7, "minutes": 3.5}),
        (["--minutes", "4"], {"minutes": 4.0}),
        ([], {}),
    ],
)
def test_steps_and_minutes_bound_the_refresh_in_place_of_the_project_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], asked: dict[str, float]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    season = unlabelled(tmp_path / "project", weeks=0)
    with season.project.path.open("a") as file:
        file.write("refresh: {steps: 20, minutes: 50}\n")
    plans: list[RefreshPlan] = []
    begin = beginning.begin

    def watched(*given: Any, plan: RefreshPlan, **more: Any) -> Any:
        plans.append(plan)
        return begin(*given, plan=plan, **more)

    monkeypatch.setattr(beginning, "begin", watched)
    result = CliRunner().invoke(app, ["refresh", "--project", str(season.project.path), *options])
    assert result.exit_code == 0 and "no scan has come" in result.output, result.output
    assert [(plan.steps, plan.minutes) for plan in plans] == [(asked.get("steps", 20), asked.get("minutes", 50.0))]
