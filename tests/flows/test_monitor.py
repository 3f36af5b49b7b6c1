"""The flow of one scanner, for real: Prefect's server, small pictures, the detector that needs no training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from flows import run
from flows.progress import Step
from tasks.isolated import Isolated
from tests.flow_fixtures import FIRST, TinyProject, make_project

pytestmark = pytest.mark.usefixtures("prefect")


def test_a_run_goes_from_inbox_to_counts_and_a_second_one_changes_no_byte(project: TinyProject) -> None:
    for number in range(4):
        project.put_scan(number)

    assert project.run(isolated=True).is_completed()

    counts = pd.read_parquet(project.store / "series/counts/year=2026/A.parquet")
    assert counts["n"].notna().sum() == 4
    assert set(counts["validation"]) == {"none"}
    assert (project.store / "reports/index.html").exists()
    before = project.bytes_of_store()
    assert project.run().is_completed()
    assert project.bytes_of_store() == before


@pytest.mark.slow
def test_a_run_says_which_scans_were_compared_with_nothing_and_counts_them_as_detected(project: TinyProject) -> None:
    from deployments.running import run_scanner
    from flows.progress import listening
    from soilpipe.config import load_project

    for number in range(3):
        project.put_scan(number)
    steps: list[Step] = []
    loaded = load_project(project.file)
    with listening(steps.append), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Isolated, "call", lambda self, function, *args: function(*args))
        done = run_scanner(loaded, loaded.scanners[0])

    notes = [step.note for step in steps if step.stage == "detect" and step.level == "warning"]
    assert len(notes) == 3 and all("0 found, but compared with nothing" in note for note in notes)
    assert "no earlier scan" in notes[0] and "the scanner was moved, or it shows other ground" in notes[2]
    assert (done.taken_in, done.detected, done.problems) == (3, 3, ())
    slots = pd.read_parquet(project.store / "series/slots/year=2026/A.parquet")
    assert list(slots["references_used"].dropna()) == [0, 0, 0] and list(slots["state"]).count("observed") == 3


@pytest.mark.slow
def test_stages_one_by_one_come_to_what_a_whole_run_does(project: TinyProject) -> None:
    for number in range(3):
        project.put_scan(number)

    assert project.run(only="ingest").is_completed()
    assert not (project.store / "detections").exists()
    assert project.run(only="detect").is_completed()
    assert not (project.store / "series").exists()
    assert project.run(only="series").is_completed()

    before = project.bytes_of_store()
    assert project.run().is_completed()
    assert project.bytes_of_store() == before


def test_nothing_is_detected_past_an_earlier_file_that_still_waits(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", extra=", done_marker: .done")
    for number in range(3):
        path = project.put_scan(number)
        if number != 1:  # its marker has not come yet
            project.put(f"{path.name}.done", b"")

    assert project.run().is_completed()

    assert len(list((project.store / "receipts").rglob("*.json"))) == 2
    detected = [path.name for path in (project.store / "detections").rglob("*.parquet")]
    assert len(detected) == 1
    assert "20260306T000000" in detected[0]


@pytest.mark.slow
def test_since_and_until_leave_out_what_is_outside(project: TinyProject) -> None:
    for number in range(4):
        project.put_scan(number)
    begin = FIRST.replace(tzinfo=UTC) + timedelta(hours=6)

    assert project.run(since=begin, until=begin + timedelta(hours=12)).is_completed()

    assert sorted(path.name[2:17] for path in (project.store / "receipts").rglob("*.json")) == [
        "20260306T060000",
        "20260306T120000",
    ]


def test_a_run_leaves_a_counts_table_a_picture_and_the_way_to_the_report(project: TinyProject) -> None:
    from prefect.client.orchestration import get_client

    for number in range(4):
        project.put_scan(number)
    project.run()

    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json={"sort": "CREATED_DESC"}).json()
    artifacts = {one["key"].split("-")[0]: one for one in reversed(found) if one["key"]}  # results have no key
    assert {"counts", "picture", "report"} <= set(artifacts)
    assert "checked" in artifacts["counts"]["description"], "it says in words what stands behind the counts"
    assert artifacts["picture"]["data"].startswith("data:image/jpeg;base64,")
    assert "reports/A.html" in artifacts["report"]["data"]


@pytest.mark.slow
def test_runs_and_tasks_have_names_that_a_person_can_read(project: TinyProject) -> None:
    from prefect.client.orchestration import get_client

    project.put_scan(0)
    state = project.run()

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        assert run.name.startswith(f"A {datetime.now(UTC):%Y-}")


def test_a_checksum_file_that_cannot_be_read_is_told_and_stops_nothing(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = project.put_scan(0)
    scan.with_name(f"{scan.name}.sha256").write_text("what is this?\n")
    told: list[Step] = []
    monkeypatch.setattr(run, "tell", lambda _, step: told.append(step))

    assert project.run().is_completed()

    (doubt,) = (step for step in told if (step.stage, step.level) == ("ingest", "warning"))
    assert doubt.note.startswith(f"{scan.name} taken in, but") and ".sha256" in doubt.note
