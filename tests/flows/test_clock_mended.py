"""A clock that fell back to 2000-01-01 is mended by one entry and one run, also where its scans were conflicts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from flows.problems import RunProblemsError
from tests.flow_fixtures import FIRST, TinyProject, picture

pytestmark = pytest.mark.usefixtures("prefect")

ENTRY = """\
clock:
  - {scanner: A, from: 2000-01-01, until: 2000-01-02, set: 2026-03-06, arrived_from: 2026-03-05, reason: battery}
"""


def put_reset_scan(project: TinyProject, number: int, seed: int, came: datetime) -> None:
    """A file whose name is of the first of January 2000, and which came then."""
    shown = datetime(2000, 1, 1) + number * timedelta(hours=6)
    path = project.put(f"A_{shown:%Y-%m-%d_%HH%MM}.jpg", picture(seed))
    os.utime(path, (came.timestamp(), came.timestamp()))


@pytest.mark.slow
def test_conflicts_of_a_reset_clock_are_taken_by_the_run_after_the_entry(project: TinyProject) -> None:
    for number in range(4):  # test pictures from before its clock was ever set
        put_reset_scan(project, number, 100 + number, datetime(2026, 1, 1, tzinfo=UTC))
    assert project.run(only="ingest").is_completed()
    for number in range(4):  # the same names again: the battery was empty
        put_reset_scan(project, number, number, FIRST.replace(tzinfo=UTC) + number * timedelta(hours=6))
    refused = project.run()
    with pytest.raises(RunProblemsError, match="4 things need a person"):
        refused.result()
    slots = project.store / "series/slots/year=2026/A.parquet"
    assert set(pd.read_parquet(slots)["state"]) == {"missing"}

    project.file.write_text(project.file.read_text() + ENTRY)
    assert project.run(isolated=True).is_completed()

    assert list(pd.read_parquet(slots)["state"]) == ["observed"] * 4
    counts = pd.read_parquet(project.store / "series/counts/year=2026/A.parquet")
    assert counts["n"].notna().sum() == 4
    before = project.bytes_of_store()
    assert project.run().is_completed()
    assert project.bytes_of_store() == before
