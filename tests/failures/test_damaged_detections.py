"""A detection file that is damaged: told, made again by one command, and in nobody's way meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tests.flow_fixtures import TinyProject

pytestmark = pytest.mark.usefixtures("prefect")


def flipped(data: bytes) -> bytes:
    return data[:400] + bytes([data[400] ^ 1]) + data[401:]


def damaged_file(project: TinyProject, number: int, damage: Callable[[bytes], bytes]) -> Path:
    path = sorted((project.store / "detections").rglob("*.parquet"), key=lambda path: path.name)[number]
    path.write_bytes(damage(path.read_bytes()))
    return path


def told_by_verify(project: TinyProject) -> str:
    shown = CliRunner().invoke(app, ["verify", "--json", "--project", str(project.file)])
    assert shown.exit_code == 1
    return next(row["message"] for row in json.loads(shown.stdout) if row["kind"] == "detections")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flipped, id="flip"),
        pytest.param(lambda data: data[:-900], id="cut", marks=pytest.mark.slow),
        pytest.param(lambda data: b"", id="empty", marks=pytest.mark.slow),
    ],
)
def test_the_command_that_verify_names_makes_it_again_to_the_same_bytes(
    project: TinyProject, damage: Callable[[bytes], bytes]
) -> None:
    for number in range(5):
        project.put_scan(number)
    assert project.run().is_completed()
    before = project.bytes_of_store()
    damaged_file(project, 3, damage)

    command = re.search(r"`soilpipe run --scanner A --since ([0-9-]+) --until ([0-9-]+)`", told_by_verify(project))
    assert command is not None
    since, until = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in command.groups())
    assert project.run(since=since, until=until + timedelta(days=1)).is_completed()

    assert project.bytes_of_store() == before


@pytest.mark.slow
def test_runs_meanwhile_go_on_and_the_next_after_it_was_met_makes_it_again(project: TinyProject) -> None:
    for number in range(3):
        project.put_scan(number)
    assert project.run().is_completed()
    path = damaged_file(project, 1, flipped)
    project.put_scan(3)

    meeting = project.run()

    assert meeting.is_failed()
    assert path.name in meeting.message and "the next run detects the scan again" in meeting.message
    counts = pd.read_parquet(project.store / "series/counts/year=2026/A.parquet")
    assert counts.groupby("slot")["n"].first().notna().tolist() == [True, False, True, True]
    assert project.run().is_completed()
    counts = pd.read_parquet(project.store / "series/counts/year=2026/A.parquet")
    assert counts["n"].notna().all()
