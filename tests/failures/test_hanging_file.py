"""A file on which the decoder hangs: a few tries, one a run, then it is refused like any other bad file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.ingest.hangs import TRIES
from tasks.ingest import ingest_here, quarantine_here
from tasks.isolated import Isolated, WorkerTimeoutError
from tests.flow_fixtures import TinyProject, picture

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """Let reading files of the content that this one has now hang; the list of what was tried grows with each try."""

    def let(path: Path) -> list[str]:
        bad = hashlib.sha256(path.read_bytes()).hexdigest()
        tried: list[str] = []

        def call(self: Isolated, function: Any, *args: Any) -> Any:
            content = args[2]
            if function is ingest_here and args[2].name == path.name:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            if function is not quarantine_here and content == bad:
                tried.append(function.__name__)
                raise WorkerTimeoutError("was not done after 15 minutes, and was given up")
            return function(*args)

        monkeypatch.setattr(Isolated, "call", call)
        return tried

    return let


def detected(project: TinyProject) -> int:
    return len(list((project.store / "detections").rglob("*.parquet")))


def test_it_has_one_try_a_run_and_is_then_refused(project: TinyProject, hangs: Callable[[Path], list[str]]) -> None:
    bad = project.put_scan(0)
    project.put_scan(1)
    tried = hangs(bad)

    for run in range(1, TRIES + 1):
        state = project.run(isolated=True, only="ingest")
        assert state.is_failed()
        (line,) = (line for line in state.message.splitlines() if bad.name in line)
        assert "not done after 15 minutes" in line
        assert ("The next run tries it again" in line) == (run < TRIES)
        assert len(tried) == run, "one try a run: it takes so long"
        assert len(list((project.store / "receipts").rglob("*.json"))) == 1, "the other goes on"

    assert f"in each of {TRIES} runs" in line and "Copy it again" in line and "quarantine retry" in line
    assert project.run(isolated=True, only="ingest").is_completed()
    assert len(tried) == TRIES, "what is refused is not opened again"
    options = ["--project", str(project.file)]
    listed = CliRunner().invoke(app, ["quarantine", "list", *options]).stdout
    assert bad.name in listed and "not done after 15 minutes" in listed
    again = CliRunner().invoke(app, ["quarantine", "retry", *options])
    assert again.exit_code == 1 and "not done after 15 minutes" in again.stdout
    content = hashlib.sha256(bad.read_bytes()).hexdigest()
    assert "stays in quarantine" in CliRunner().invoke(app, ["quarantine", "accept", "A", content, *options]).stdout


@pytest.mark.slow
def test_a_copy_that_differs_is_tried_again_and_takes_its_place(
    project: TinyProject, hangs: Callable[[Path], list[str]]
) -> None:
    bad = project.put_scan(0)
    tried = hangs(bad)
    for _ in range(TRIES):
        project.run(isolated=True, only="ingest")
    assert len(tried) == TRIES

    project.put(bad.name, picture(9))
    os.utime(bad, (1.771e9, 1.771e9))

    assert project.run(isolated=True).is_completed()
    assert detected(project) == 1
    assert (
        "Nothing is waiting" in CliRunner().invoke(app, ["quarantine", "list", "--project", str(project.file)]).stdout
    )


@pytest.mark.slow
def test_a_file_that_was_copied_again_has_all_its_tries(
    project: TinyProject, hangs: Callable[[Path], list[str]]
) -> None:
    bad = project.put_scan(0)
    tried = hangs(bad)
    for _ in range(TRIES - 1):
        project.run(isolated=True, only="ingest")
    os.utime(bad, (1.771e9, 1.771e9))

    for _ in range(TRIES - 1):
        assert "The next run tries it again" in project.run(isolated=True, only="ingest").message
    assert len(tried) == 2 * (TRIES - 1)
