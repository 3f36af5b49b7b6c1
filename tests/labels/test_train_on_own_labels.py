"""`soilpipe train detector` on the labels that people made in the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe import training_labels
from soilpipe.detect.coco import read_labels
from soilpipe.errors import SoilpipeError
from soilpipe.held_out import held_out
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.taken import write_coco
from tests.labels.test_taken import mark

cli = CliRunner()


@pytest.fixture
def season(make_season: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Three scanners with five scans each, five days apart; nothing is labelled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    season = make_season(scanners := ("A20", "B30", "C40"))
    for scanner in scanners:
        for number in range(5):
            season.scan(20 * number, scanner_id=scanner, animal=True)
    return season


def train(season: Any, *words: str) -> Any:
    """What the command says as JSON, raising what it raises; its lines on standard error are in `told`."""
    ran = cli.invoke(
        app, ["train", "detector", "--project", str(season.project.path), "--steps", "2", "--json", *words]
    )
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return {**json.loads(ran.stdout), "told": ran.stderr}


def test_without_labels_the_first_steps_are_told(season: Any) -> None:
    with pytest.raises(SoilpipeError, match=r"nobody has looked at a tile .* `soilpipe label draw`"):
        train(season)


@pytest.mark.slow
def test_labels_of_the_project_are_taken_without_the_hold_out_and_pasted_onto_its_scans(
    season: Any, tmp_path: Path
) -> None:
    draw, _ = draw_tiles(season.project, season.store, tiles=15, tile_px=450)
    for tile in draw.tiles:  # the animal that is in every scan, and one that nobody could cut out
        x, y = 165 - tile.x0, 138 - tile.y0
        mark(season, tile, ("Collembola", x, y, x + 70, y + 24), ("Acari", 300, 40, 320, 62))
    path = write_coco(season.project, season.store, tmp_path / "all")
    assert path is not None
    images = read_labels(path, path.parent).labelled
    holds = held_out(season.project, season.store).holds
    held = {image.file_name for image in images if holds(image)}
    how = ("--scenes", "0.5", "--least-examples", "2", "--even-contrast")
    made = train(season, "--from", "none", "--name", "first", *how)
    card = made["card"]
    assert held and not held & set(card["trained_on"]["image_names"])
    assert card["contrast"] == "local"
    served = card["served"]
    assert served["grounds"]["scanner_times"] and served["validation"]["image_names"]
    assert not held & set(served["validation"]["image_names"])
    assert card["labels_taken"].startswith(f"{len(held)} of {len(images)} labelled tiles are of the hold-out")
    assert card["taxa"] == ["Collembola", "Acari"] and card["warm_start"] is None
    assert card["scenes"]["crops"] > 0 and card["scenes"]["grounds_from"] == "unlabelled"
    assert card["recipe"]["scenes"] == 0.5 and card["trained_on"]["share_of_images"]["simulated"] == 0
    again = train(season, "--from", "none", "--name", "first", *how)
    assert again["version"] != "" and _weights(season, again) == _weights(season, made)


def _weights(season: Any, made: Any) -> bytes:
    found: bytes = season.store.read_bytes(f"models/detector/{made['version']}/weights.safetensors")
    return found


@pytest.mark.slow
def test_the_ground_of_scenes_is_drawn_by_the_seed_of_the_training(
    season: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, _ = draw_tiles(season.project, season.store, tiles=15, tile_px=450)
    for tile in draw.tiles:
        mark(season, tile, ("Collembola", 165 - tile.x0, 138 - tile.y0, 235 - tile.x0, 162 - tile.y0))
    seeds: list[int] = []
    drawn = training_labels.grounds_of_store

    def watched(*given: Any, **more: Any) -> Any:
        seeds.append(more["seed"])
        return drawn(*given, **more)

    monkeypatch.setattr(training_labels, "grounds_of_store", watched)
    train(season, "--from", "none", "--size", "small", "--scenes", "0.5", "--least-examples", "2", "--seed", "5")
    assert seeds == [5]


def test_three_labels_of_three_taxa_make_a_detector_of_animals(season: Any) -> None:
    draw, _ = draw_tiles(season.project, season.store, tiles=12, tile_px=225)
    (first, second, *_) = sorted(draw.tiles, key=lambda tile: tile.scan_id)
    mark(season, first, ("Collembola", 60, 60, 130, 84), ("Acari", 150, 40, 170, 62), ("Symphyla", 10, 40, 50, 62))
    mark(season, second)
    card = train(season, "--from", "none", "--scenes", "0")["card"]
    assert card["taxa"] == ["Invertebrata"] and card["trained_on"]["animals"] == {"Invertebrata": 3}
    assert card["rolled_up"]["Symphyla"] == {"as": "Invertebrata", "animals": 1}
    assert card["threshold"] == 0.3 and card["threshold_from"].startswith("default")


@pytest.mark.slow
def test_the_champion_is_what_a_training_begins_from(season: Any) -> None:
    draw, _ = draw_tiles(season.project, season.store, tiles=6, tile_px=225)
    for tile in draw.tiles:
        mark(season, tile, ("Collembola", 60, 60, 130, 84))
    first = train(season, "--name", "first", "--scenes", "0")
    assert first["card"]["recipe"]["learning_rate"] == 1e-3, "less than afresh: it knows something already"
    assert first["card"]["warm_start"] == "shipped" and "Begins from the weights of shipped" in first["told"]
    promoted = ["models", "promote", "first", "--force", "--reason", "a test", "--project", str(season.project.path)]
    assert cli.invoke(app, promoted).exit_code == 0
    assert train(season, "--name", "second", "--scenes", "0")["card"]["warm_start"] == "first"
    small = train(season, "--name", "third", "--scenes", "0", "--size", "small")
    assert small["card"]["warm_start"] is None and "is of the kind medium, not small" in small["told"]
    with pytest.raises(SoilpipeError, match="first is of the kind medium, asked for is small"):
        train(season, "--from", "first", "--size", "small")
