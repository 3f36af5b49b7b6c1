"""Fixtures of the tests that run the real flow: a Prefect server for the session, and tiny projects."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deployments.prefect_home import use_project_home

FIRST = datetime(2026, 3, 6)
PROJECT = """\
project: tiny
store: ./store
timezone: UTC
detector: change
settle: 0s
dpi: 1200
window_cm2: 5
from: 2026-03-06
until: 2026-03-06
sites:
  - {id: here}
scanners:
"""


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """One Prefect server for all tests of this process (with pytest-xdist: of this worker)."""
    home = Path(tempfile.mkdtemp(prefix="soilpipe-test-"))
    before = dict(os.environ)
    use_project_home(home / "soilpipe.yaml")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        # Only this process talks to it: what a test starts as a process of its own finds its own way.
        os.environ.clear()
        os.environ.update(before)
        yield


@dataclass(frozen=True)
class TinyProject:
    """A project file with scanners whose inboxes have small pictures with an animal."""

    file: Path

    @property
    def store(self) -> Path:
        return self.file.parent / "store"

    def inbox(self, scanner_id: str = "A") -> Path:
        return self.file.parent / "inbox" / scanner_id

    def put(self, name: str, data: bytes, scanner_id: str = "A") -> Path:
        """A file whose time is of long ago."""
        path = self.inbox(scanner_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1.77e9, 1.77e9))
        return path

    def put_scan(self, number: int, scanner_id: str = "A") -> Path:
        """The scan of slot `number`, counted from the first."""
        name = f"{scanner_id}_{FIRST + number * timedelta(hours=6):%Y-%m-%d_%HH%MM}.jpg"
        return self.put(name, picture(number), scanner_id)

    def run(self, scanner_id: str = "A", isolated: bool = False, **options: Any) -> Any:
        """Run the real flow; the final state. `isolated`: with a worker process as in production, 2 s to start."""
        from flows.monitor import monitor_scanner
        from tasks.isolated import Isolated

        with pytest.MonkeyPatch.context() as patched:
            if not isolated:
                patched.setattr(Isolated, "call", lambda self, function, *args: function(*args))
            return monitor_scanner(str(self.file), scanner_id, return_state=True, **options)

    def bytes_of_store(self) -> dict[str, str]:
        """Hash of every file, but for unfinished writes, and for what a run notes of the times of files."""
        notes = {".tmp", *(f".index/{name}" for name in ("touched", "truth", "series", "pages"))}
        found = {path.relative_to(self.store): path for path in sorted(self.store.rglob("*")) if path.is_file()}
        return {
            str(inside): hashlib.sha256(path.read_bytes()).hexdigest()
            for inside, path in found.items()
            if not notes & {str(parent) for parent in inside.parents}
        }


def make_project(folder: Path, *scanner_ids: str, extra: str = "") -> TinyProject:
    blocks = "".join(f"  - {{id: {one}, site: here, inbox: ./inbox/{one}{extra}}}\n" for one in scanner_ids or ("A",))
    file = folder / "soilpipe.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(PROJECT + blocks)
    project = TinyProject(file)
    for one in scanner_ids or ("A",):
        project.inbox(one).mkdir(parents=True)
    return project


def picture(number: int, size: int = 224) -> bytes:
    """A JPEG of still ground with an ellipse at a place of its own."""
    ground = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8), (0, 0), 4)
    x, y = np.random.default_rng(number + 1).integers(30, size - 30, 2)
    cv2.ellipse(ground, (int(x), int(y)), (14, 6), 30, 0, 360, (235, 225, 205), -1)
    done, data = cv2.imencode(".jpg", ground)
    assert done
    return bytes(data.tobytes())


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path / "project")
