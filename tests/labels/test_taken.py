"""All labels of a store as training and judging read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.background import ModelInput, even_contrast
from soilpipe.detect.coco import read_labels, taxa_with_examples
from soilpipe.detect.dataset import build_samples, open_scenes
from soilpipe.detect.labelled import LabelError, LabelSet
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.progress import progress_of
from soilpipe.labels.records import LabelFile, LabelledBox, LabellingError, Tile, TileLabel, write_label_file
from soilpipe.labels.taken import random_tiles_looked_at, write_coco
from soilpipe.tiles import open_image
from tests.labels.conftest import NOW

Season = Any


def mark(
    season: Season, tile: Tile, *boxes: tuple[str | None, float, float, float, float], by: str = "Ana", hours: int = 0
) -> None:
    """Boxes in px of the tile; taxon None: a crowd."""
    made = tuple(
        LabelledBox(
            x_min=tile.x0 + x0,
            y_min=tile.y0 + y0,
            x_max=tile.x0 + x1,
            y_max=tile.y0 + y1,
            taxon=taxon and taxon.split(" ")[0],
            stage="larva" if taxon and "larva" in taxon else None,
            crowd=taxon is None,
        )
        for taxon, x0, y0, x1, y1 in boxes
    )
    label = TileLabel(tile_id=tile.tile_id, by=by, at=NOW + timedelta(hours=hours), boxes=made)
    write_label_file(
        season.store,
        LabelFile(imported_at=label.at, source_name="a.json", source_sha256="0", format="coco", labels=(label,)),
    )


@pytest.fixture
def season(make_season: Callable[..., Season]) -> tuple[Season, list[Tile]]:
    """Six scans; eight random tiles and some suggested ones, none looked at."""
    made = make_season()
    for number in range(6):
        made.scan(number, animal=number == 5, found=[("Acari", 0.31 + number / 100, (170.0, 140.0, 230.0, 160.0))])
    draw, _ = draw_tiles(made.project, made.store, tiles=16, tile_px=225)
    return made, list(draw.tiles)


def late(tiles: list[Tile], how: str = "random") -> Tile:
    """A tile of that kind whose scan has references."""
    return next(tile for tile in tiles if tile.how == how and len(tile.references) >= 3)


def test_nothing_labelled_is_none(season: tuple[Season, list[Tile]], tmp_path: Path) -> None:
    made, _ = season
    assert write_coco(made.project, made.store, tmp_path / "out") is None
    assert random_tiles_looked_at(made.store) == 0
    assert not (tmp_path / "out").exists()


def test_tiles_come_as_they_are_in_their_scans_with_their_boxes(
    season: tuple[Season, list[Tile]], tmp_path: Path
) -> None:
    made, tiles = season
    tile = late(tiles)
    mark(made, tile, ("Diptera (larva)", 10, 20, 40.5, 50), (None, 100, 10, 120, 40))
    path = write_coco(made.project, made.store, tmp_path / "out")
    assert path is not None
    labels = read_labels(path, path.parent)
    (image,) = labels.labelled
    assert image.boxes.tolist() == [[10, 20, 40.5, 50], [100, 10, 120, 40]]
    assert image.crowd.tolist() == [False, True]
    assert labels.categories[image.labels[0]] == "Diptera (larva)"
    assert taxa_with_examples(labels, made.project.taxonomy) == ("Diptera",)
    assert (image.scanner_id, image.dpi, image.origin) == ("A20", 1200.0, (tile.x0, tile.y0))
    scan = open_image(made.store, tile.scan_id, 21.2)
    (scene,) = open_scenes(labels)
    cut = scan.levels[0].read(tile.y0, tile.y1, tile.x0, tile.x1)
    assert np.array_equal(scene.scan.levels[0].read(0, tile.height, 0, tile.width), cut)


def test_a_tile_is_evened_as_its_scan_is(season: tuple[Season, list[Tile]], tmp_path: Path) -> None:
    made, tiles = season
    tile = next(one for one in tiles if one.x0 > 0 or one.y0 > 0)
    mark(made, tile, ("Acari", 10, 20, 40, 50))
    path = write_coco(made.project, made.store, tmp_path / "out", contrast=True)
    assert path is not None
    (sample,) = build_samples(read_labels(path, path.parent), 21.17, difference=False, even=True)
    scan = open_image(made.store, tile.scan_id, 25400 / 1200)
    whole = ModelInput(scan, (), (), 21.17, even=even_contrast(scan)).read(tile.y0, tile.y1, tile.x0, tile.x1)
    cut = sample.passes["fine"].pixels
    assert np.abs(cut[:3].astype(int) - whole[:3]).max() <= 2, "cells are counted from another corner"
    (alone,) = build_samples(_without_contrast(path), 21.17, difference=False, even=True)
    assert np.abs(alone.passes["fine"].pixels[:3].astype(int) - whole[:3]).max() > 2
    kept = path.parent / f"{tile.scan_id}-contrast.npz"
    for damaged in (b"", b"PK", kept.read_bytes()[:-100]):
        kept.write_bytes(damaged)
        with pytest.raises(LabelError, match=r"-contrast\.npz: not what evens a scan"):
            build_samples(read_labels(path, path.parent), 21.17, difference=False, even=True)


def _without_contrast(path: Path) -> LabelSet:
    labels = read_labels(path, path.parent)
    return replace(labels, images=tuple(replace(image, contrast=None) for image in labels.images))


def test_a_tile_has_the_references_of_its_scan_at_the_same_place(
    season: tuple[Season, list[Tile]], tmp_path: Path
) -> None:
    made, tiles = season
    tile = late(tiles)
    mark(made, tile)
    # Another place of the same scan, and the same place of an earlier one, must not get in the way.
    elsewhere = next(other for other in tiles if other.scan_id == tile.scan_id and other.place != tile.place)
    mark(made, elsewhere)
    path = write_coco(made.project, made.store, tmp_path / "out")
    assert path is not None
    labels = read_labels(path, path.parent)
    named = {image["file_name"]: image for image in json.loads(path.read_text())["images"]}
    wanted = {one.tile_id: one.references for one in (tile, elsewhere)}
    compared = {
        named[scene.image.file_name]["tile_id"]: tuple(image.scan_id for image in scene.references)
        for scene in open_scenes(labels)
    }
    assert compared == wanted
    assert all(registration.ok for scene in open_scenes(labels) for registration in scene.registrations)
    assert not any(scene.references for scene in open_scenes(labels, difference=False))


def test_the_newest_label_of_a_place_counts_and_nothing_there_is_a_label(
    season: tuple[Season, list[Tile]], tmp_path: Path
) -> None:
    made, tiles = season
    one, other = tiles[0], next(tile for tile in tiles if tile.place != tiles[0].place)
    mark(made, one, ("Acari", 1, 1, 20, 20), by="Ana", hours=2)
    mark(made, one, ("Protura", 1, 1, 20, 20), by="Ben", hours=1)
    mark(made, other, ("Acari", 1, 1, 20, 20), hours=0)
    mark(made, other, hours=5)
    path = write_coco(made.project, made.store, tmp_path / "out")
    assert path is not None
    labels = read_labels(path, path.parent)
    told = {image.origin: [labels.categories[label] for label in image.labels] for image in labels.labelled}
    assert sorted(told.values()) == [[], ["Acari"]]
    shown = progress_of(made.store)
    assert (shown.taxa, shown.empty, shown.draws[0].by) == ((("Acari", 1, 1),), 1, ("Ana", "Ben"))


def test_only_the_random_tiles_are_for_figures(season: tuple[Season, list[Tile]], tmp_path: Path) -> None:
    made, tiles = season
    by_chance = [tile for tile in tiles if tile.how == "random"]
    hinted = [tile for tile in tiles if tile.how == "suggested"]
    assert hinted
    for tile in (*by_chance[:3], *hinted):
        mark(made, tile)
    mark(made, by_chance[0], by="Ben")
    assert random_tiles_looked_at(made.store) == 3
    path = write_coco(made.project, made.store, tmp_path / "out", which="random")
    assert path is not None
    entries = [entry for entry in json.loads(path.read_text())["images"] if entry.get("labelled", True)]
    assert {entry["tile_id"] for entry in entries} == {tile.tile_id for tile in by_chance[:3]}
    assert all(0 < entry["inclusion_probability"] <= 1 for entry in entries)
    path = write_coco(made.project, made.store, tmp_path / "all")
    assert path is not None
    assert len(read_labels(path, path.parent).labelled) == 3 + len(hinted)


def test_tiles_without_pixels_are_told_and_none_left_is_an_error(
    season: tuple[Season, list[Tile]], tmp_path: Path
) -> None:
    made, tiles = season
    one, other = tiles[0], next(tile for tile in tiles if tile.scan_id != tiles[0].scan_id)
    for tile in (one, other):
        mark(made, tile)
    for entry in made.store.list(layout.image_zarr(one.scan_id)):
        made.store.delete(entry.key)
    path = write_coco(made.project, made.store, tmp_path / "out")
    assert path is not None
    (told,) = json.loads(path.read_text())["info"]["left_out"]
    assert one.scan_id in told
    for entry in made.store.list(layout.image_zarr(other.scan_id)):
        made.store.delete(entry.key)
    with pytest.raises(LabellingError, match="none of the 2 labelled tiles"):
        write_coco(made.project, made.store, tmp_path / "none")


def test_a_place_looked_at_as_a_random_tile_stays_one(season: tuple[Season, list[Tile]], tmp_path: Path) -> None:
    made, tiles = season
    hinted = next(tile for tile in tiles if tile.how == "suggested")
    draws = [draw_tiles(made.project, made.store, tiles=30, tile_px=225, seed=seed)[0] for seed in range(1, 9)]
    same = next(tile for draw in draws for tile in draw.tiles if tile.how == "random" and tile.place == hinted.place)
    mark(made, same, ("Acari", 1, 1, 20, 20))
    mark(made, hinted, ("Protura", 1, 1, 20, 20), hours=1)
    path = write_coco(made.project, made.store, tmp_path / "out")
    assert path is not None
    (entry,) = [entry for entry in json.loads(path.read_text())["images"] if entry.get("labelled", True)]
    assert (entry["tile_id"], entry["how"]) == (same.tile_id, "random")
    labels = read_labels(path, path.parent)
    assert [labels.categories[label] for image in labels.labelled for label in image.labels] == ["Protura"]
