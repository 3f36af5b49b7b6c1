"""A project file that asks for a detector of its own: every command means the one that runs use, not the champion."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.in_use import how_to_use
from soilpipe import models
from soilpipe.config import load_project
from soilpipe.detect import weights
from soilpipe.detect.select import load_project_detector
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store
from tests.flow_fixtures import make_project
from tests.tiny_model import make_model

cli = CliRunner()
FORCE = ("--force", "--reason", "a test")


class Pinned:
    """A project with two detectors of its own, `one` and `two`, and the one that comes with the package."""

    def __init__(self, folder: Path) -> None:
        self.file = make_project(folder).file  # detector: change
        self.store = Store(folder / "store")
        self.one = models.register(self.store, "detector", make_model(folder / "one", name="one"))
        self.two = models.register(self.store, "detector", make_model(folder / "two", name="two"))

    def pin(self, detector: str) -> None:
        lines = self.file.read_text().splitlines()
        kept = [f"detector: {detector}" if line.startswith("detector:") else line for line in lines]
        self.file.write_text("\n".join(kept))

    def __call__(self, *words: str) -> str:
        ran = cli.invoke(app, [*words, "--project", str(self.file)])
        assert ran.exit_code == 0, (ran.output, ran.exception)
        return " ".join(ran.output.split())

    def runs_use(self) -> str:
        return load_project_detector(load_project(self.file), self.store).info.version


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="shipped"))
    return Pinned(tmp_path)


def test_promoting_says_that_runs_go_on_with_what_the_project_file_asks_for(project: Pinned) -> None:
    told = project("models", "promote", project.one, *FORCE)
    assert "from the next scan on" not in told and "your project file says `detector: change`" in told
    assert "so runs go on with that: write `detector: champion`" in told and project.runs_use() == "change"
    project.pin("two")
    told = project("models", "rollback")
    assert f"shipped is back in place of {project.one} as champion." in told and "from the next scan on" not in told
    assert f"says `detector: two`, so runs go on with that ({project.two})" in told
    project.pin("nobody")
    assert "which the store does not have" in project("models", "promote", project.one, *FORCE)


def test_promoting_says_from_the_next_scan_on_where_runs_use_the_champion(project: Pinned) -> None:
    project.pin("champion")
    told = project("models", "promote", project.one, *FORCE)
    assert f"{project.one} replaces shipped, from the next scan on." in told and "project file" not in told
    assert project.runs_use() == project.one
    assert f"shipped is back in place of {project.one}, from the next scan on." in project("models", "rollback")
    shown = json.loads(project("models", "promote", project.two, *FORCE, "--json"))
    assert (shown["version"], shown["runs_use"]) == (project.two, project.two)


def test_in_use_is_what_runs_use(project: Pinned) -> None:
    project("models", "promote", project.one, *FORCE)
    project.pin(project.two)
    listed = json.loads(project("models", "list", "--json"))
    assert {m["version"]: (m["champion"], m["in_use"]) for m in listed} == {
        "shipped": (False, False),
        project.one: (True, False),
        project.two: (False, True),
    }
    assert f"{project.two} (in use)" in project("models", "show", "two")
    assert f"{project.one} (champion, not in use)" in project("models", "show", "one")
    assert json.loads(project("models", "show", "two", "--json"))["in_use"] is True
    project.pin("change")
    told = project("models", "list")
    assert "Runs use none of them: the project file says `detector: change`." in told
    assert "champion, not in use" in told
    project.pin("champion")
    assert f"{project.one} (in use)" in project("models", "show", "one")


def test_what_is_evaluated_is_what_runs_use(project: Pinned, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def judge(detector: Any, *_: Any, **__: Any) -> None:
        judged.append(detector.info.version)
        raise SoilpipeError("that will do")

    monkeypatch.setattr("soilpipe.detect.evaluate.evaluate_detector", judge)
    words = ["evaluate", "detector", "--labels", "a.json", "--images", ".", "--project", str(project.file)]
    for pinned in ("change", "two", "champion"):
        project.pin(pinned)
        cli.invoke(app, words)
    cli.invoke(app, [*words, "--version", "champion"])
    assert judged[:2] == ["change", project.two] and judged[2] == judged[3] != project.two


def test_a_name_on_the_command_line_is_the_newest_of_that_name_and_it_is_said(
    project: Pinned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second round of labelling, training and promoting, by the same words as the first."""
    newest = models.register(project.store, "detector", make_model(tmp_path / "again", name="one", threshold=0.6))
    at = time.time() + 3600
    os.utime(tmp_path / f"store/models/detector/{newest}/card.json", (at, at))
    said = f"one: the newest detector of that name is meant, {newest}; the older are {project.one}."
    project.pin("one")
    assert project.runs_use() == project.one, "runs are not stopped, and go on with the same one"
    assert said in project("models", "show", "one")

    judged: list[str] = []

    def judge(detector: Any, *_: Any, **__: Any) -> None:
        judged.append(detector.info.version)
        raise SoilpipeError("that will do")

    monkeypatch.setattr("soilpipe.detect.evaluate.evaluate_detector", judge)
    words = ["evaluate", "detector", "--labels", "a.json", "--images", ".", "--project", str(project.file)]
    cli.invoke(app, words)
    cli.invoke(app, [*words, "--version", "one"])
    assert judged == [project.one, newest]

    told = project("models", "promote", "one", *FORCE)
    assert said in told and f"{newest} replaces shipped, from the next scan on." in told
    assert project.runs_use() == newest


def test_a_training_says_what_runs_use_until_the_new_one_is(project: Pinned) -> None:
    loaded = [load_project(project.file)]
    for pinned in ("one", project.two, "champion"):
        project.pin(pinned)
        loaded.append(load_project(project.file))
    change, named, fixed, champion = (how_to_use(one, project.store, "abc", "one") for one in loaded)
    assert f"runs go on with {project.one} until this one is promoted." in named
    assert f"runs go on with {project.two} until that line is changed, whatever is promoted." in fixed
    assert "runs go on with change until that line" in change and "`soilpipe models promote abc`" in change
    assert champion.startswith("Use it with `detector: abc`") and "runs" not in champion
    told = how_to_use(loaded[1], project.store, project.one, "one")
    assert told == "By `detector: one` in the project file, runs use it from the next scan on."


def test_a_training_begins_from_what_runs_use(project: Pinned) -> None:
    def told() -> str:
        ran = cli.invoke(app, ["train", "detector", "--labels", "nowhere.json", "--project", str(project.file)])
        assert "no such label file" in str(ran.exception)
        return " ".join(ran.stderr.split())

    project("models", "promote", project.one, *FORCE)
    assert f"Begins from the weights of one ({project.one})" in told(), "`change` has none: the champion's"
    project.pin("mine")
    assert f"Begins from the weights of one ({project.one})" in told(), "the one to be used is still to be trained"
    project.pin("two")
    assert f"Begins from the weights of two ({project.two})" in told()
