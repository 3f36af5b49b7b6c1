"""The hold-out of a store follows from its label records, and no later import takes anything back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from soilpipe.config import Project, load_project
from soilpipe.held_out import HeldOut, held_out
from soilpipe.labels.records import (
    Draw,
    LabelFile,
    Stratum,
    Tile,
    TileLabel,
    make_tile_id,
    write_draw,
    write_label_file,
)
from soilpipe.store import Store

FIRST, WEEK = datetime(2024, 3, 6), timedelta(days=7)  # by the clocks of the devices
MADE = datetime(2024, 5, 1, tzinfo=UTC)


def project_of(folder: Path, scanners: Sequence[str]) -> Project:
    document = {
        "project": "casca",
        "store": "./store",
        "timezone": "Europe/Paris",
        "sites": [{"id": "wood"}],
        "scanners": [{"id": one, "site": "wood", "inbox": f"./in/{one}", "dpi": 1200} for one in scanners],
        "taxa": "soil",
    }
    file = folder / "soilpipe.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_project(file)


def scan(scanner: str, day: int) -> str:
    return f"{scanner}-{FIRST + timedelta(days=day):%Y%m%dT%H%M%S}-0123abcd"


def take(store: Store, week: int, days: dict[str, Sequence[int]], by: str = "Ana") -> None:
    """Two tiles of each of these scans are drawn, looked at and imported in that week."""
    draw = f"{week:016x}"
    tiles = tuple(
        Tile(
            tile_id=make_tile_id(scan_id, x, 0, draw),
            scan_id=scan_id,
            x0=x,
            y0=0,
            x1=x + 9,
            y1=9,
            how="random",
            inclusion_probability=0.5,
        )
        for scanner, found in days.items()
        for scan_id in (scan(scanner, day) for day in found)
        for x in (0, 9)
    )
    shape = {"seed": 0, "asked": len(tiles), "tile_px": 9, "analyses": {}, "design": "-", "estimator": "-"}
    write_draw(
        store, Draw.model_validate({"draw_id": draw, "strata": (Stratum(scans=1, draws=1),), "tiles": tiles, **shape})
    )
    at = MADE + week * WEEK
    labels = tuple(TileLabel(tile_id=tile.tile_id, by=by, at=MADE, boxes=()) for tile in tiles)
    told = {"source_name": "a", "source_sha256": "0", "format": "coco"}
    write_label_file(store, LabelFile.model_validate({"imported_at": at, "labels": labels, **told}))


def told(held: HeldOut) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for scan_id in sorted(held.scans):
        day = datetime.strptime(scan_id.split("-")[-2], "%Y%m%dT%H%M%S") - FIRST  # noqa: DTZ007
        found.setdefault(scan_id.split("-")[0], []).append(day.days)
    return found


def test_scanners_that_come_later_and_labels_of_earlier_scans_move_nothing(tmp_path: Path) -> None:
    project = project_of(tmp_path, "ABC")
    store = Store(project.store)
    assert held_out(project, store) == HeldOut(None, frozenset(), frozenset())
    take(store, 0, {"A": range(10, 20), "B": range(10, 20)})
    first = told(held_out(project, store))
    assert first == {"A": [18, 19], "B": [18, 19]}
    take(store, 1, {"A": range(10), "C": range(5)})  # of the three A has the smallest sha256
    held = held_out(project, store)
    assert held.scanner == "C" and told(held) == {**first, "C": [0, 1, 2, 3, 4]}
    take(store, 2, {"B": range(40), "C": range(9)}, by="Ben")  # another draw, and another person
    later = held_out(project, store)
    assert later.scanner == "C" and told(later)["A"] == [18, 19] and told(later)["C"] == list(range(9))
    assert later.holds_scan("C", scan("C", 30)) and not later.holds_scan("B", scan("B", 0))


def test_it_is_the_same_whatever_the_project_file_says_of_clocks_and_scanners(tmp_path: Path) -> None:
    project = project_of(tmp_path, "ABC")
    store = Store(project.store)
    take(store, 0, {"A": range(10), "B": range(10)})
    take(store, 1, {"C": range(5)})
    whole = held_out(project, store)
    assert ("A", datetime(2024, 3, 14, 23, tzinfo=UTC)) in whole.times
    without = held_out(project_of(tmp_path, "AB"), store)
    assert without.scanner == "C" and told(without) == {"A": [8, 9], "B": [8, 9]}
