"""The places where a store and an inbox may be: a disk, moto's S3 server, and rclone's (`rclone serve s3`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.config import Project, Scanner, Site
from soilpipe.ingest.arrivals import Arrivals, find_arrivals
from soilpipe.ingest.scan import Outcome, ingest_file
from soilpipe.store import Store
from tests.s3_servers import make_bucket


@dataclass
class Place:
    """A project whose inbox and store are in one place, and what one does with it. `s3`: not on a disk."""

    project: Project
    s3: bool

    @property
    def scanner(self) -> Scanner:
        return self.project.scanners[0]

    @property
    def store(self) -> Store:
        return Store(self.project.store, self.project.storage_options)

    @property
    def inbox(self) -> Store:
        return Store(self.scanner.inbox, self.scanner.inbox_options)

    def with_(self, **keys: object) -> Place:
        """The same place with other keys of the scanner."""
        scanner = self.scanner.model_copy(update=keys)
        return Place(self.project.model_copy(update={"scanners": (scanner,)}), self.s3)

    def deliver(self, name: str, data: bytes) -> None:
        self.inbox.write_bytes(name, data)

    def look(self, later: timedelta = timedelta(hours=1)) -> Arrivals:
        return find_arrivals(self.project, self.scanner, self.store, datetime.now(UTC) + later)

    def run(self) -> list[Outcome]:
        """A run in an hour, when all that was delivered has come to rest."""
        now = datetime.now(UTC) + timedelta(hours=1)
        arrivals = find_arrivals(self.project, self.scanner, self.store, now)
        return [ingest_file(self.project, self.scanner, self.store, one, now) for one in arrivals.ready]

    def truth(self) -> dict[str, bytes]:
        """All objects but the index, which is no truth."""
        entries = [entry.key for entry in self.store.list("") if not entry.key.startswith(".")]
        return {key: self.store.read_bytes(key) for key in entries}


def project_at(inbox: str, store: str, options: dict, folder: Path) -> Project:
    """One scanner, A20, with that inbox and store; `options` of both are those of the server."""
    scanner = Scanner(id="A20", site="wood", inbox=inbox, inbox_options=options, timezone="Europe/Paris")
    return Project(
        project="casca",
        path=folder / "soilpipe.yaml",
        store=store,
        storage_options=options,
        timezone="Europe/Paris",
        sites=(Site(id="wood"),),
        scanners=(scanner,),
    )


@pytest.fixture(params=["disk", pytest.param("moto", marks=pytest.mark.slow), "rclone"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    options: dict = {}
    root = str(tmp_path)
    if request.param != "disk":
        options = request.getfixturevalue("options" if request.param == "moto" else "rclone")
        root = f"s3://{make_bucket(options, request)}"
    inbox = f"{root}/inbox/A20"
    if request.param == "disk":
        Path(inbox).mkdir(parents=True)
    return Place(project_at(inbox, f"{root}/store", options, tmp_path), s3=bool(options))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary folder for this test: empty when it is over, whatever happened in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [path.name for path in folder.iterdir()] == []
