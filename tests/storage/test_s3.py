"""Store, inbox and a whole ingest on S3, against moto's server and rclone's."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.receipts import list_receipts
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Inbox, InboxError, Store
from soilpipe.tiles import open_image
from tests.storage.conftest import make_bucket, project_at


@pytest.fixture(params=["options", "rclone"], ids=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> dict:
    """Options of a server."""
    found: dict = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def server_bucket(server: dict, request: pytest.FixtureRequest) -> str:
    return make_bucket(server, request)


def test_a_store_on_s3_is_a_store(server: dict, server_bucket: str, tmp_path: Path) -> None:
    store = Store(f"s3://{server_bucket}/prefix", server)
    assert store.list("r") == [] and not store.exists("r/a.json")
    store.write_json("r/a.json", {"a": 1})
    store.write_bytes("r/b/c.txt", b"123")
    assert store.read_json("r/a.json") == {"a": 1}
    assert [(entry.key, entry.size) for entry in store.list("r")] == [("r/a.json", 12), ("r/b/c.txt", 3)]
    assert all(entry.version and entry.modified > 0 for entry in store.list("r"))
    assert store.folders("r") == ["b"] and store.folders("q") == []
    assert not store.write_if_changed("r/b/c.txt", b"123") and store.write_if_changed("r/b/c.txt", b"1")
    (tmp_path / "large").write_bytes(os.urandom(1000) * 20_000)  # a multipart upload
    assert store.put_file(tmp_path / "large", "large") == store.sha256("large")
    with store.open_local("large") as local:
        assert local.read_bytes() == (tmp_path / "large").read_bytes()
    assert not local.exists()
    store.delete("r/a.json")
    store.delete("r/a.json")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("r/a.json")
    assert pickle.loads(pickle.dumps(store)).exists("large")


def test_a_failed_upload_leaves_nothing(server: dict, server_bucket: str, tmp_path: Path) -> None:
    store = Store(f"s3://{server_bucket}/prefix", server)

    def blocks() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="cable"):
        store._files.write("a", blocks())
    assert not store.exists("a")


def test_an_inbox_without_a_bucket_does_not_exist(server: dict) -> None:
    with pytest.raises(InboxError, match="does not exist"):
        Inbox("s3://no-such-bucket/in", server).list()


def test_a_scan_goes_from_an_s3_inbox_to_an_s3_store(server: dict, server_bucket: str, tmp_path: Path) -> None:
    inbox = f"s3://{server_bucket}/inbox/A20"
    project = project_at(inbox, f"s3://{server_bucket}/store", server, tmp_path)
    (scanner,) = project.scanners
    store = Store(project.store, project.storage_options)
    image = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    source = Store(inbox, server)
    source.write_bytes("A20_2024-03-06_06H00M.png", cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    source.write_bytes("A20_2024-03-06_12H00M.png", b"")
    source.write_bytes("deeper/A20_2024-03-06_18H00M.png", b"")
    now = datetime.now(UTC) + timedelta(hours=1)
    arrivals = find_arrivals(project, scanner, store, now)
    outcomes = [ingest_file(project, scanner, store, arrival, now) for arrival in arrivals.ready]
    assert [outcome.kind for outcome in outcomes] == ["accepted", "refused"]
    (receipt,) = list_receipts(store, "A20")
    assert np.array_equal(open_image(store, receipt.scan_id, 1.0).levels[0].read(0, 600, 0, 700), image)
    assert find_arrivals(project, scanner, store, now).ready == ()
