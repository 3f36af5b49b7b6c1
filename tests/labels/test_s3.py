"""Labelling with a store on S3, against moto's server: the same records as on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from soilpipe.labels.bundle import export_draw
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.taken import write_coco
from soilpipe.labels.taking import take_labels
from soilpipe.store import Store
from tests.labels.conftest import NOW


@pytest.fixture
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


def test_a_draw_and_its_labels_on_s3_are_those_on_disk(
    make_season: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    s3fs.S3FileSystem(**options).mkdir("labels-bucket")
    on_disk = make_season()
    on_s3 = replace(on_disk, store=Store("s3://labels-bucket/prefix", options))

    def label(season: Any, name: str) -> tuple[dict[str, bytes], bytes]:
        for number in range(3):
            season.scan(number, found=[("Acari", 0.32, (20.0, 30.0, 60.0, 50.0))])
        draw, _ = draw_tiles(season.project, season.store, tiles=6, tile_px=512)
        export_draw(season.project, season.store, draw, tmp_path / name, "coco")
        file = tmp_path / name / "annotations.json"
        taken = take_labels(season.project, season.store, file, NOW, by="Ana", all_looked_at=True)
        assert taken.taken == len(draw.tiles) and taken.boxes > 0
        path = write_coco(season.project, season.store, tmp_path / f"{name}-coco")
        assert path is not None
        return season.files("labels"), path.read_bytes()

    assert label(on_s3, "s3") == label(on_disk, "disk")
