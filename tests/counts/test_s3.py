"""Series and registry on S3, against moto's server: the same tables, the same bytes, the same checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from moto.server import ThreadedMotoServer

from soilpipe.counts.query import query_counts
from soilpipe.counts.series import build_series
from soilpipe.counts.verify import rebuild, verify
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.models import ModelError, model_path, register
from soilpipe.store import Store

START = datetime(2024, 3, 6, tzinfo=UTC)
MITE = ("Acari", (100, 100, 120, 120))


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    patch = pytest.MonkeyPatch()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        patch.delenv(name)
    yield {"endpoint_url": f"http://{host}:{port}", "key": "testing", "secret": "testing"}
    patch.undo()
    server.stop()


@pytest.fixture
def bucket(options: dict[str, Any], request: pytest.FixtureRequest) -> str:
    import s3fs

    name = request.node.name.replace("_", "-")[:60]
    s3fs.S3FileSystem(**options).mkdir(name)
    return name


def test_series_on_s3_are_those_on_disk(season: Any, options: dict[str, Any], bucket: str) -> None:
    def fill() -> None:
        season.publish(season.analysis())
        for hours in (0, 6, 18):
            season.scan(START + timedelta(hours=hours), [MITE])
        build_series(season.project, season.store, "A20", START + timedelta(hours=20))

    fill()
    on_disk = season.files()
    season.store = Store(f"s3://{bucket}/prefix", options)
    season.refresh()
    fill()
    assert season.files() == on_disk
    assert build_series(season.project, season.store, "A20", START + timedelta(hours=21)).changed == ()
    assert verify(season.project, season.store) == []
    for entry in season.store.list("series"):
        season.store.delete(entry.key)
    rebuild(season.project, season.store, START + timedelta(hours=22))
    assert season.files() == on_disk
    frame = query_counts(season.project, season.store, taxa=["Acari"], by="day")
    assert frame["n_sum"].tolist() == [3]


def test_a_model_on_s3_is_copied_once_and_checked(
    options: dict[str, Any], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    card = {
        "name": "tiny",
        "taxa": ["Acari"],
        "um_per_px": 21.17,
        "threshold": 0.4,
        "validation": "none",
        "border_mm": 4.0,
        "border_tolerance": 1.3,
        "heads": ["fine"],
    }
    save_detector(tmp_path / "m", CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval(), card)
    store = Store(f"s3://{bucket}/prefix", options)
    version = register(store, "detector", tmp_path / "m")
    folder = model_path(store, "detector", version)
    assert load_detector(folder).info.version == version
    assert model_path(store, "detector", version) == folder
    (folder / "card.json").write_text("{}")
    assert load_detector(model_path(store, "detector", version)).info.version == version  # fetched again
    store.write_bytes(f"models/detector/{version}/card.json", b"{}")
    (folder / "card.json").unlink()
    with pytest.raises(ModelError, match="damaged"):
        model_path(store, "detector", version)
