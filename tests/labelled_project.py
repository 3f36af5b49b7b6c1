"""A project whose store has scans, drawn tiles and what a person marked in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from soilpipe.config import load_project
from soilpipe.labels.records import Draw, LabelFile, LabelledBox, Stratum, Tile, TileLabel, make_tile_id, write_draw
from soilpipe.labels.records import How as HowDrawn
from soilpipe.labels.records import write_label_file as write_labels
from soilpipe.store import Store
from tests.labels.conftest import NOW, Season

DRAW = "0123456789abcdef"
TILE = 150  # px
PLACES = ((0, 0), (150, 0), (300, 0), (0, 150), (150, 150), (300, 150))


def labelled_project(
    folder: Path, *, scanners: Sequence[str] = ("A20",), days: int = 10, tiles: int = 3, how: HowDrawn = "random"
) -> Season:
    """One scan a day of each scanner, `tiles` tiles of each drawn and looked at; two animals marked in every tile."""
    document = {
        "project": "casca",
        "store": "./store",
        "timezone": "UTC",
        "sites": [{"id": "wood"}],
        "scanners": [{"id": one, "site": "wood", "inbox": f"./in/{one}", "dpi": 1200} for one in scanners],
        "taxa": "soil",
    }
    file = folder / "soilpipe.yaml"
    file.write_text(yaml.safe_dump(document))
    project = load_project(file)
    season = Season(project, Store(project.store))
    drawn: list[Tile] = []
    for scanner in scanners:
        for day in range(days):
            scan_id = season.scan(4 * day, scanner_id=scanner, animal=day % 2 == 0)
            drawn += [_tile(scan_id, x, y, how) for x, y in PLACES[:tiles]]
    draw = Draw(
        draw_id=DRAW,
        seed=0,
        asked=len(drawn),
        tile_px=TILE,
        strata=(Stratum(scans=len(scanners) * days, draws=len(drawn)),),
        analyses={},
        design="all of them",
        estimator="the mean",
        tiles=tuple(drawn),
    )
    write_draw(season.store, draw)
    labels = tuple(_label(tile) for tile in drawn)
    write_labels(
        season.store,
        LabelFile(imported_at=NOW, source_name="a.json", source_sha256="0", format="coco", labels=labels),
    )
    return season


def _tile(scan_id: str, x: int, y: int, how: HowDrawn) -> Tile:
    chosen = {"inclusion_probability": 0.5} if how == "random" else {"reason": "the rarest"}
    tile_id = make_tile_id(scan_id, x, y, DRAW)
    return Tile(tile_id=tile_id, scan_id=scan_id, x0=x, y0=y, x1=x + TILE, y1=y + TILE, how=how, **chosen)


def _label(tile: Tile) -> TileLabel:
    boxes = tuple(
        LabelledBox(x_min=tile.x0 + x, y_min=tile.y0 + 40, x_max=tile.x0 + x + w, y_max=tile.y0 + 52, taxon=taxon)
        for x, w, taxon in ((20, 17, "Acari"), (60, 60, "Collembola"))
    )
    return TileLabel(tile_id=tile.tile_id, by="Ana", at=NOW, boxes=boxes)
