"""Labelled tiles are compared with the scans, and by the registration, that a run compares their scans with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe import layout
from soilpipe.background import ModelInput, register_all
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import Sample, build_samples, open_scenes
from soilpipe.detect.labelled import LabelError
from soilpipe.detect.run import suitable_references
from soilpipe.ingest.receipts import read_receipt
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.records import Tile
from soilpipe.labels.taken import write_coco
from soilpipe.tiles import open_image
from tests.labels.conftest import picture
from tests.labels.test_taken import mark

Season = Any
UM = 25400 / 1200


def as_a_run_sees(season: Season, tile: Tile, um_per_px: float = UM) -> ModelInput:
    """The whole scan of a tile with its background."""
    receipt = read_receipt(season.store, tile.scan_id)
    scan = open_image(season.store, tile.scan_id, UM)
    references = suitable_references(season.store, season.project.scanner(receipt.scanner_id), receipt, UM)
    return ModelInput(scan, references, register_all(scan, references), um_per_px)


def sample_of(season: Season, tile: Tile, folder: Path, **given: Any) -> Sample:
    """The tile as training reads it."""
    mark(season, tile)
    path = write_coco(season.project, season.store, folder, **given)
    assert path is not None
    (sample,) = build_samples(read_labels(path, path.parent), UM)
    return sample


def tile_at(season: Season, x0: int, y0: int, tile_px: int) -> Tile:
    """A random tile of the newest scan with that corner."""
    for seed in range(30):
        draw, _ = draw_tiles(season.project, season.store, tiles=30, tile_px=tile_px, seed=seed)
        for tile in draw.tiles:
            if (tile.x0, tile.y0) == (x0, y0) and len(tile.references) >= 3:
                return tile
    raise AssertionError("no such tile was drawn")


def test_a_tile_of_bare_ground_has_the_difference_that_its_scan_has_in_a_run(
    make_season: Callable[..., Season], tmp_path: Path
) -> None:
    """Nothing in the tile tells where a reference lies; the scan around it does."""
    season = make_season()
    for number in range(4):
        season.scan(number, animal=number == 3, bare=True)
    tile = tile_at(season, 150, 107, 150)
    run = as_a_run_sees(season, tile)
    sample = sample_of(season, tile, tmp_path)
    assert sample.references == run.usable == 3
    assert np.array_equal(sample.passes["fine"].pixels, run.read(tile.y0, tile.y1, tile.x0, tile.x1))


@pytest.fixture
def moving(make_season: Callable[..., Season]) -> Season:
    """Four scans of 641 x 702 px, each moved by some px and lit otherwise, so that a reference ends within the scan."""
    season = make_season()
    ground = cv2.GaussianBlur(picture(0, size=(720, 790)), (0, 0), 0.8)
    for number, (down, right, light) in enumerate(
        [(37.6, 33.3, 0.9), (43.2, 38.0, 1.1), (36.0, 36.4, 1.0), (40, 40, 1)]
    ):
        still = np.float32([[1, 0, -right], [0, 1, -down]])
        seen = cv2.warpAffine(ground, still, (702, 641)).astype(np.float32) * light
        seen[:, :, 0] += np.linspace(0, 12, 702) * (number == 1)  # fog that a local tone follows
        seen += np.random.default_rng(number).normal(0, 2, seen.shape)
        season.scan(number, pixels=np.clip(np.rint(seen), 0, 255).astype(np.uint8))
    return season


@pytest.mark.parametrize("corner", [(0, 0), (281, 160), (562, 481)])
def test_the_difference_of_a_tile_is_that_of_its_scan_to_the_bit(
    moving: Season, tmp_path: Path, corner: tuple[int, int]
) -> None:
    tile = tile_at(moving, *corner, 170)
    run = as_a_run_sees(moving, tile)
    sample = sample_of(moving, tile, tmp_path)
    assert sample.references == run.usable == 3
    assert np.array_equal(sample.passes["fine"].pixels, run.read(tile.y0, tile.y1, tile.x0, tile.x1))


def test_at_a_quarter_of_the_scale_it_is_as_near_as_the_pixels_allow(moving: Season, tmp_path: Path) -> None:
    tile = tile_at(moving, 281, 160, 170)
    coarse = sample_of(moving, tile, tmp_path).passes["coarse"].pixels
    height, width = coarse.shape[1:]
    y, x = tile.y0 // 4, tile.x0 // 4
    whole = as_a_run_sees(moving, tile, 4 * UM).read(y, y + height, x, x + width)
    assert np.array_equal(coarse[6], whole[6]) and whole[6].all()
    apart = np.abs(coarse[3:6].astype(int) - whole[3:6])
    assert apart.mean() < 1


def test_a_reference_that_lost_its_pixels_is_replaced_as_in_a_run(moving: Season, tmp_path: Path) -> None:
    season = moving
    season.scan(4, pixels=picture(4, size=(641, 702)))
    tile = next(
        tile
        for seed in range(30)
        for tile in draw_tiles(season.project, season.store, tiles=30, tile_px=170, seed=seed)[0].tiles
        if len(tile.references) == 4
    )
    mark(season, tile)
    for entry in season.store.list(layout.image_zarr(tile.references[0])):
        season.store.delete(entry.key)
    path = write_coco(season.project, season.store, tmp_path)
    assert path is not None
    (scene,) = open_scenes(read_labels(path, path.parent))
    assert [image.scan_id for image in scene.references] == list(tile.references[1:])


def test_labels_without_their_references_are_told_and_those_that_are_not_wanted_are_not_made(
    moving: Season, tmp_path: Path
) -> None:
    tile = tile_at(moving, 281, 160, 170)
    assert sample_of(moving, tile, tmp_path / "none", difference=False).references == 0
    assert not list((tmp_path / "none").glob("*.npz"))
    sample_of(moving, tile, tmp_path / "some")
    (file,) = (tmp_path / "some").glob("*-registered.npz")
    labels = read_labels(tmp_path / "some" / "labels.json", tmp_path / "some")
    for damaged in (b"", b"PK", file.read_bytes()[:-100]):
        file.write_bytes(damaged)
        with pytest.raises(LabelError, match=r"-registered\.npz: not the references of a scan"):
            list(open_scenes(labels))
    file.unlink()
    with pytest.raises(LabelError, match=r"its file .*-registered\.npz is not in"):
        read_labels(tmp_path / "some" / "labels.json", tmp_path / "some")
