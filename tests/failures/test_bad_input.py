"""Each kind of bad input, among good scans, through the real flow.

What production has seen: uploads that break off, empty files, renamed documents, clocks that jump, a disk that is
full. Each has to be told in Prefect with file and reason, must lose nothing, and must not stop the good scans.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow_fixtures import TinyProject, make_project, picture

pytestmark = pytest.mark.usefixtures("prefect")

BAD = {
    "A_2026-03-06_07H00M.jpg": ("truncated", picture(7)[:3000]),
    "A_2026-03-06_07H10M.jpg": ("empty", b""),
    "A_2026-03-06_07H20M.jpg": ("not an image", b"Dear colleague, please find attached. " * 50),
    "A_2026-03-06_07H30M.png": ("wrong extension", picture(8)),
    "A_2026-13-45_99H00M.jpg": ("unreadable time", picture(9)),
    "A_2026-03-06_08H00M.jpg": ("the same content at another time", picture(0)),
    "A_2026-03-06_06H00M00S.jpg": ("the same time with other content", picture(11)),
}
GOOD = 4


@pytest.fixture(scope="module")
def after_the_run(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinyProject, Any]]:
    project = make_project(tmp_path_factory.mktemp("bad") / "project")
    for number in range(GOOD):
        project.put_scan(number)
    for name, (_, data) in BAD.items():
        project.put(name, data)
    project.put("B_2026-03-06_07H00M.jpg", picture(12))
    yield project, project.run(isolated=True)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (kind, _) in BAD.items()])
def test_the_red_run_names_each_bad_file_and_why(after_the_run: tuple[TinyProject, Any], name: str, kind: str) -> None:
    project, state = after_the_run

    assert state.is_failed()
    line = next((line for line in state.message.splitlines() if name in line), None)
    assert line is not None, f"{kind}: {name} is not in the message of the run"
    assert len(line) > len(name) + 20, "a reason follows the name"
    assert any(
        path.read_bytes() == project.inbox().joinpath(name).read_bytes()
        for path in (project.store / "quarantine").rglob("file*")
    ), f"{kind}: the file itself is kept"


def test_the_good_scans_among_bad_ones_are_detected_and_counted(after_the_run: tuple[TinyProject, Any]) -> None:
    import pandas as pd

    project, _ = after_the_run

    slots = pd.read_parquet(project.store / "series/slots/year=2026/A.parquet")
    states = slots.set_index(slots["slot"].dt.hour)["state"].to_dict()
    # 06:00 has two contents, and 00:00 one that came again under another time: a person decides on those.
    assert [states[12], states[18]] == ["observed", "observed"]
    assert len(list((project.store / "detections").rglob("*.parquet"))) >= GOOD


def test_a_file_of_an_undeclared_scanner_is_left_alone(after_the_run: tuple[TinyProject, Any]) -> None:
    project, _ = after_the_run

    assert (project.inbox() / "B_2026-03-06_07H00M.jpg").exists()
    assert not list((project.store / "receipts").rglob("B-*"))


@pytest.mark.slow
def test_the_next_run_is_green_again(after_the_run: tuple[TinyProject, Any]) -> None:
    project, _ = after_the_run

    assert project.run().is_completed(), "a refusal reddens the run that first sees it, and no other"


@pytest.mark.slow
def test_a_file_that_vanishes_during_the_run_stops_nothing(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.monitor as monitor

    project.put_scan(0)
    going = project.put_scan(1)
    project.put_scan(2)
    ingest = monitor.ingest_arrivals

    def vanish(*args: Any) -> None:
        going.unlink()
        ingest(*args)

    monkeypatch.setattr(monitor, "ingest_arrivals", vanish)

    assert project.run().is_completed()
    assert len(list((project.store / "detections").rglob("*.parquet"))) == 2


def test_an_inbox_that_does_not_exist_reddens_only_its_own_scanner(tmp_path: Path) -> None:
    project = make_project(tmp_path, "A", "B")
    project.put_scan(0, "B")
    project.inbox("A").rmdir()

    missing = project.run("A")

    assert missing.is_failed()
    assert "inbox/A does not exist" in missing.message
    assert project.run("B").is_completed()


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_stops_no_other_scan(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soilpipe import atomic, atomic_zarr, local_files

    full = project.put_scan(0)
    project.put_scan(1)

    def no_space(target: Path, temporary: Path, blocks: Iterator[bytes]) -> None:
        if "20260306T000000" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        atomic.write_atomically(target, temporary, blocks)

    with monkeypatch.context() as patched:
        patched.setattr(local_files, "write_atomically", no_space)
        patched.setattr(atomic_zarr, "write_atomically", no_space)
        state = project.run()

    assert state.is_failed()
    assert full.name in state.message
    assert "no space left" in state.message.lower()
    assert len(list((project.store / "receipts").rglob("*.json"))) == 1
    assert project.run().is_completed(), "with space again, the next run takes it"
    assert len(list((project.store / "receipts").rglob("*.json"))) == 2
    assert len(list((project.store / "detections").rglob("*.parquet"))) == 2


@pytest.mark.slow
def test_a_file_that_crashes_its_reader_is_refused_once_and_not_met_again(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from deployments.cli import app
    from tasks.ingest import ingest_here, quarantine_here
    from tasks.isolated import Isolated, WorkerCrashedError

    project.put_scan(0)
    killer = project.put_scan(1)
    sha256 = hashlib.sha256(killer.read_bytes()).hexdigest()
    crashes = 0

    def call(self: Isolated, function: Any, *args: Any) -> Any:
        nonlocal crashes
        content = args[2].name if function is ingest_here else args[2]
        if function is not quarantine_here and content in (killer.name, sha256):
            crashes += 1
            raise WorkerCrashedError("crashed the image library (by signal SIGSEGV)")
        return function(*args)

    monkeypatch.setattr(Isolated, "call", call)
    state = project.run(isolated=True)

    assert state.is_failed()
    assert killer.name in state.message
    assert "SIGSEGV" in state.message
    assert crashes == 2, "a fresh worker had its try"
    (kept,) = (project.store / "quarantine").rglob("file*")
    assert kept.read_bytes() == killer.read_bytes()
    assert len(list((project.store / "detections").rglob("*.parquet"))) == 1
    assert project.run(isolated=True).is_completed()
    assert crashes == 2, "what is refused is not opened again"

    options = ["--project", str(project.file)]
    again = CliRunner().invoke(app, ["quarantine", "retry", *options])
    assert again.exit_code == 1
    assert "SIGSEGV" in again.stdout
    dismissed = CliRunner().invoke(app, ["quarantine", "accept", "A", sha256, *options])
    assert "stays in quarantine" in dismissed.stdout
    assert "Nothing is waiting" in CliRunner().invoke(app, ["quarantine", "list", *options]).stdout


def test_an_unexpected_error_in_one_scan_stops_no_other(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    import soilpipe.detect.run as detection

    for number in range(3):
        project.put_scan(number)
    detect = detection.detect_scan

    def fail_once(project_: Any, store: Any, receipt: Any, *args: Any) -> Any:
        if "T060000" in receipt.scan_id:
            raise ZeroDivisionError("a bug")
        return detect(project_, store, receipt, *args)

    with monkeypatch.context() as patched:
        patched.setattr(detection, "detect_scan", fail_once)
        state = project.run()

    assert state.is_failed()
    assert "ZeroDivisionError: a bug" in state.message
    assert len(list((project.store / "detections").rglob("*.parquet"))) == 2
