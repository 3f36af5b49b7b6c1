"""Files of which nobody knows whether they are whole: what they hold up, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from flows.run import Run
from flows.stages import look_into_inbox
from soilpipe.ingest.index import load_index, save_look
from soilpipe.store import Store
from tests.flow_fixtures import TinyProject, make_project


class Looked(Run):
    """A run without Prefect: tasks are called as the functions that they are."""

    def attempt(self, subject: str, task: Any, *args: Any) -> Any:
        return task.fn(*args)

    def tell(self, *told: Any, **more: Any) -> None:
        """Nobody listens."""


def look(project: TinyProject) -> Looked:
    run = Looked(str(project.file), "A", None, None, datetime.now(UTC))
    look_into_inbox(run)
    return run


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """A scanner with markers; the first of three scans has none."""
    made = make_project(tmp_path / "project", extra=", done_marker: .done")
    for number in range(3):
        path = made.put_scan(number)
        if number:
            made.put(f"{path.name}.done", b"")
    return made


def let_pass(project: TinyProject, time: timedelta) -> None:
    """As if every file that waits had been seen first so much earlier."""
    store = Store(project.store)
    index = load_index(store, "A")
    earlier = {
        name: seen.model_copy(update={"first_seen": seen.first_seen - time, "waits_since": seen.waiting_since - time})
        for name, seen in index.growing.items()
    }
    save_look(store, "A", earlier, index.round)


def test_a_marker_that_never_comes_holds_detection_up_for_as_long_as_a_scan_is_waited_for(project: TinyProject) -> None:
    first, begin = "A_2026-03-06_00H00M.jpg", datetime(2026, 3, 6, tzinfo=UTC)
    for hours in (0, 23):
        let_pass(project, timedelta(hours=hours))
        run = look(project)
        assert (run.earliest_waiting(), run.problems.found) == (begin, []), "its scan is a reference of later ones"

    let_pass(project, timedelta(hours=2))
    run = look(project)
    run.tried = len(run.ready)
    assert (len(run.ready), run.earliest_waiting()) == (2, None)
    (problem,) = run.problems.found
    assert f"waited for its marker {first}.done since" in problem.message and "move the file away" in problem.message
    for command in (["status"], ["run", "--dry-run"]):
        told = CliRunner().invoke(app, [*command, "--project", str(project.file)])
        assert f"waited for its marker {first}.done since" in " ".join(told.stdout.split())

    project.put(f"{first}.done", b"")
    run = look(project)
    assert (len(run.ready), run.earliest_waiting(), run.problems.found) == (3, begin, [])


def test_one_that_never_stops_growing_does_not_hold_it_up_for_ever_either(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", extra=", settle: 1000d")
    growing = project.put_scan(0)
    for _ in range(2):
        assert look(project).earliest_waiting() is not None
        growing.write_bytes(growing.read_bytes() + b"more")
    let_pass(project, timedelta(hours=25))
    growing.write_bytes(growing.read_bytes() + b"more")
    run = look(project)
    assert run.earliest_waiting() is None
    assert "has not come to rest since" in run.problems.found[0].message
