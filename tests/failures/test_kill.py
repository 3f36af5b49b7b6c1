"""`kill -9` in the middle of a run, as a power cut is: the next run finishes, to the same bytes.

It pins that nothing becomes visible before it is whole, and that what was begun is written over with itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow_fixtures import TinyProject, make_project

SCANS = 4


def start(project: TinyProject) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "run", "--project", str(project.file)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def filled(folder: Path) -> TinyProject:
    project = make_project(folder)
    for number in range(SCANS):
        project.put_scan(number)
    return project


def kill_when(project: TinyProject, pattern: str, number: int) -> None:
    """Start a run, and kill its whole process group when so many such files are in the store."""
    process = start(project)
    until = time.monotonic() + 120
    while len(list(project.store.glob(pattern))) < number:
        assert time.monotonic() < until
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_run_killed_three_times_ends_in_the_same_store_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, disturbed = filled(tmp_path / "undisturbed"), filled(tmp_path / "disturbed")
    assert start(undisturbed).wait(timeout=180) == 0

    kill_when(disturbed, "scans/**/zarr.json", 1)
    kill_when(disturbed, "receipts/**/*.json", 2)
    kill_when(disturbed, "detections/**/*.parquet", 2)
    assert start(disturbed).wait(timeout=180) == 0

    expected, found = undisturbed.bytes_of_store(), disturbed.bytes_of_store()
    assert found.keys() == expected.keys()
    assert {key for key in expected if found[key] != expected[key]} == set()


@pytest.mark.slow
def test_the_server_of_a_killed_run_ends_too(tmp_path: Path) -> None:
    project = filled(tmp_path / "project")
    kill_when(project, "receipts/**/*.json", 1)

    until = time.monotonic() + 30
    while left := processes_of(project):
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.2)


def processes_of(project: TinyProject) -> list[str]:
    """Command lines of the processes whose PREFECT_HOME is that of the project."""
    home = f"PREFECT_HOME={project.file.parent}".encode()
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and home in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended, or is another user's
            continue
    return found
