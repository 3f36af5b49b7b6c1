"""Labelling with a store on S3, against two servers: the same records as on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soilpipe.labels.bundle import export_draw
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.taken import write_coco
from soilpipe.labels.taking import take_labels
from soilpipe.store import Store
from tests.labels.conftest import NOW
from tests.s3_servers import make_bucket


def test_a_draw_and_its_labels_on_s3_are_those_on_disk(
    make_season: Callable[..., Any], either: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    on_disk = make_season()
    on_s3 = replace(on_disk, store=Store(f"s3://{make_bucket(either, request)}/prefix", either))

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
