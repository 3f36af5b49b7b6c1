"""`soilpipe serve`, started for real.

With the wrong sqlalchemy its server would look healthy and never schedule a run, and nothing would say so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flow_fixtures import TinyProject, make_project

PATIENCE_S = 120.0


@contextmanager
def served(project: TinyProject, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    folder = project.file.parent
    log = (folder / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "serve", "--project", str(project.file), "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(port: int, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}",
        data=json.dumps({} if body is None else body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())


def wait_for(answer: Callable[[], Any], what: str, process: subprocess.Popen[bytes]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None, f"serve ended while waiting for {what}"
        try:
            found = answer()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"no {what} within {PATIENCE_S:.0f} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_serve_makes_scheduled_runs_and_stops_cleanly(tmp_path: Path) -> None:
    project = make_project(tmp_path, "A")
    port = free_port()

    with served(project, port) as process:
        runs = wait_for(lambda: ask(port, "flow_runs/filter"), "scheduled run", process)
        found = wait_for(lambda: _deployments(port, 3), "deployments", process)
        limit = ask(port, "v2/concurrency_limits/filter")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0

    deployment, refresh = found["A"], found["tiny"]
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    assert [(one["slug"], one["schedule"]["cron"]) for one in refresh["schedules"]] == [("weekly", "0 3 * * 0")]
    assert refresh["tags"] == ["soilpipe", "project:tiny", "refresh"]
    assert [one["slug"] for one in found["tiny-upkeep"]["schedules"]] == ["weekly"]
    assert ("gpu", 1) in {(one["name"], one["limit"]) for one in limit}
    assert sorted(one["slug"] for one in deployment["schedules"]) == [
        "slot-0000",
        "slot-0600",
        "slot-1200",
        "slot-1800",
    ]
    assert {one["schedule"]["timezone"] for one in deployment["schedules"]} == {"UTC"}
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    with pytest.raises(OSError, match="refused"):
        ask(port, "flow_runs/filter")


@pytest.mark.slow
def test_serve_runs_what_is_due_and_follows_the_scanner_list(tmp_path: Path) -> None:
    project = make_project(tmp_path, "A", "B")
    _make_git_checkout(project.file.parent)
    project.put_scan(0)
    port = free_port()

    with served(project, port) as process:
        both = wait_for(lambda: _deployments(port, 4), "deployments", process)
        # While SQLite is locked the server answers 503, which says to ask again.
        wait_for(lambda: ask(port, f"deployments/{both['A']['id']}/create_flow_run"), "run asked for", process)
        wait_for(lambda: list((project.store / "series").rglob("A.parquet")), "series of A", process)
        wait_for(lambda: "COMPLETED" in _states(port), "completed run", process)
        due = wait_for(lambda: _scheduled(port, both["A"]["id"]), "scheduled runs", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0

    file = project.file
    without_b = "".join(line for line in file.read_text().splitlines(keepends=True) if "id: B" not in line)
    file.write_text(f"refresh: never\n{without_b}")
    with served(project, port) as process:
        left = wait_for(lambda: _deployments(port, 2), "the deployments left", process)
        wait_for(lambda: b"Serving 1 scanner" in (file.parent / "serve.log").read_bytes(), "start", process)
        assert set(left) == {"A", "tiny-upkeep"}, (
            "the deployment of a scanner that is gone goes too, and that of a refresh"
        )
        assert left["A"]["updated"] == both["A"]["updated"], "what is right is not sent"
        assert left["A"]["schedules"] == both["A"]["schedules"]
        assert due <= _scheduled(port, both["A"]["id"]), "sending it again would throw away its scheduled runs"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def _make_git_checkout(folder: Path) -> None:
    """Many keep their project file in git; Prefect would take the version of a deployment from there."""
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for words in (
        ["init", "--quiet"],
        ["remote", "add", "origin", "https://example.org/casca.git"],
        ["commit", "--quiet", "--allow-empty", "--message", "project"],
    ):
        subprocess.run([*git, *words], cwd=folder, check=True)


def _deployments(port: int, number: int) -> dict[str, Any] | None:
    found = {one["name"]: one for one in ask(port, "deployments/filter")}
    return found if len(found) == number else None


def _states(port: int) -> set[str]:
    return {run["state_type"] for run in ask(port, "flow_runs/filter")}


def _scheduled(port: int, deployment_id: str) -> set[str]:
    """The ids of the scheduled runs of one deployment."""
    runs = ask(port, "flow_runs/filter")
    return {run["id"] for run in runs if run["state_type"] == "SCHEDULED" and run["deployment_id"] == deployment_id}
