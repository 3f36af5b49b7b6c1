"""Scans that come late for a time that an analysis of an older release counts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.detect import detector_of
from tests.flow_fixtures import TinyProject

pytestmark = pytest.mark.usefixtures("prefect")


def counts(project: TinyProject) -> pd.DataFrame:
    return pd.read_parquet(project.store / "series/counts/year=2026/A.parquet").groupby("slot").first()


@pytest.mark.slow
def test_the_run_names_scan_and_command_goes_on_and_the_command_mends_it(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soilpipe.analyses.ALGORITHM_VERSION", "of-then")
    for number in (0, 2):
        project.put_scan(number)
    assert project.run().is_completed()
    then = set(counts(project)["analysis_id"])
    monkeypatch.undo()
    detector_of.cache_clear()  # a new release is a new process
    for number in (1, 3):
        project.put_scan(number)

    late = project.run()

    assert late.is_failed()
    (line,) = (line for line in late.message.splitlines() if "A-20260306T060000-" in line)
    assert "this release can't make any more" in line
    assert counts(project)["n"].notna().tolist() == [True, False, True, True]
    command = re.search(r"`soilpipe (redetect --scanner A --since ([0-9-]+) --until ([0-9-]+))`", line)
    assert command is not None

    def run_scanner(loaded: object, scanner: object, since: datetime, until: datetime) -> object:
        from deployments.running import ScannerRun

        state = project.run(since=since, until=until)
        assert (since, until - since) == (datetime(2026, 3, 6, tzinfo=UTC), timedelta(days=1))
        return ScannerRun("A", 0, 4, () if state.is_completed() else (state.message,))

    from contextlib import nullcontext

    monkeypatch.setattr("deployments.running.run_scanner", run_scanner)
    monkeypatch.setattr("deployments.running.uses_prefect", lambda *_, **__: nullcontext())
    done = CliRunner().invoke(app, [*command[1].split(), "--project", str(project.file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "4 scans of A are counted by analysis" in done.stdout
    now = counts(project)
    assert now["n"].notna().all()
    assert now["analysis_id"].nunique() == 1 and not then & set(now["analysis_id"])
    assert project.run().is_completed()
