"""The folder that a person gets, and the commands."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.errors import SoilpipeError
from soilpipe.labels.bundle import export_draw
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.records import Draw, LabellingError, newest_labels
from soilpipe.taxonomy import SOIL
from soilpipe.tiles import open_image
from tests.labels import tools
from tests.labels.conftest import NOW

FOUND = [("Acari", 0.4, (20.0, 30.0, 60.0, 50.0)), ("insect thing", 0.35, (140.0, 10.0, 170.0, 30.0))]


@pytest.fixture
def drawn(make_season: Callable[..., Any]) -> tuple[Any, Draw]:
    """All nine tiles of 150 x 107 px of one detected scan; the first has a box, one lies over an edge."""
    season = make_season()
    season.scan(0, found=FOUND)
    draw, _ = draw_tiles(season.project, season.store, tiles=18, tile_px=150)
    assert len({tile.place for tile in draw.tiles}) == 9
    return season, draw


def exported(season: Any, draw: Draw, folder: Path, format_: Any, **options: Any) -> Path:
    out = folder / f"out-{format_}"
    export_draw(season.project, season.store, draw, out, format_, **options)
    return out


def test_each_format_has_the_pictures_as_the_scan_shows_them(drawn: tuple[Any, Draw], tmp_path: Path) -> None:
    season, draw = drawn
    scan = open_image(season.store, draw.tiles[0].scan_id, 21.2)
    files: dict[str, dict[str, bytes]] = {}
    for format_ in ("coco", "label-studio"):
        out = exported(season, draw, tmp_path, format_, as_scanned=True)
        files[format_] = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}
    archive = exported(season, draw, tmp_path, "cvat", as_scanned=True) / "images.zip"
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as zipped:
        files["cvat"] = {name: zipped.read(name) for name in zipped.namelist()}
    for tile in draw.tiles:
        name = tile.tile_id
        pairs = {
            "coco": (f"images/{name}.png", f"difference/{name}.png"),
            "label-studio": (f"images/{name}.png", f"difference/{name}.png"),
            "cvat": (f"{name}.png", f"related_images/{name}_png/difference.png"),
        }
        for format_, (picture, difference) in pairs.items():
            shown = cv2.imdecode(np.frombuffer(files[format_][picture], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert np.array_equal(shown, scan.levels[0].read(tile.y0, tile.y1, tile.x0, tile.x1))
            beside = cv2.imdecode(np.frombuffer(files[format_][difference], np.uint8), cv2.IMREAD_COLOR)
            assert beside.shape == shown.shape
    assert {len(found) for found in files.values()} == {2 * len(draw.tiles)}


def test_the_detectors_boxes_are_there_to_begin_with_and_nothing_says_looked_at(
    drawn: tuple[Any, Draw], tmp_path: Path
) -> None:
    season, draw = drawn
    first = next(tile for tile in draw.tiles if (tile.x0, tile.y0) == (0, 0))
    second = next(tile for tile in draw.tiles if (tile.x0, tile.y0) == (150, 0))
    coco = json.loads((exported(season, draw, tmp_path, "coco") / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    images = {image["id"]: image["file_name"].removesuffix(".png") for image in coco["images"]}
    boxes = {images[a["image_id"]]: (names[a["category_id"]], a["bbox"], a["score"]) for a in coco["annotations"]}
    assert boxes[first.tile_id] == ("Acari", [20, 30, 40, 20], 0.4)
    assert boxes[second.tile_id] == ("Invertebrata", [0, 10, 20, 20], 0.35)  # clipped; no taxon is called so
    assert not any(image["looked_at"] for image in coco["images"])

    root = Xml.parse(exported(season, draw, tmp_path, "cvat") / "annotations.xml").getroot()
    elements = root.findall("image")
    assert [int(image.get("id", "")) for image in elements] == list(range(len(draw.tiles)))
    assert [image.get("name", "") for image in elements] == sorted(f"{tile.tile_id}.png" for tile in draw.tiles)
    (box,) = next(image for image in elements if first.tile_id in image.get("name", "")).findall("box")
    assert [box.get(key) for key in ("label", "xtl", "ytl", "xbr", "ybr")] == [
        "Acari",
        "20.00",
        "30.00",
        "60.00",
        "50.00",
    ]
    assert not root.findall("image/tag")

    out = exported(season, draw, tmp_path, "label-studio")
    tasks = {task["data"]["tile_id"]: task for task in json.loads((out / "tasks.json").read_text())}
    (prediction,) = tasks[first.tile_id]["predictions"]
    assert prediction["model_version"] == "detector v1"
    assert prediction["result"][0]["value"]["x"] == pytest.approx(100 * 20 / 150)
    assert not any("annotations" in task for task in tasks.values())
    labels = {element.get("value") for element in Xml.parse(out / "interface.xml").iter("Label")}
    assert labels == {*SOIL.names, "crowd"}


def test_an_export_can_begin_without_boxes_or_from_what_a_person_marked(
    drawn: tuple[Any, Draw], tmp_path: Path
) -> None:
    season, draw = drawn
    bare = json.loads((exported(season, draw, tmp_path / "bare", "coco", boxes=False) / "annotations.json").read_text())
    assert bare["annotations"] == []
    out = exported(season, draw, tmp_path, "cvat")
    marked: dict[str, Any] = {tile.tile_id: None for tile in draw.tiles}
    marked[draw.tiles[0].tile_id] = [("Diptera (larva)", 5.0, 6.0, 17.5, 28.25)]
    back = tmp_path / "back.xml"
    back.write_text(tools.cvat((out / "annotations.xml").read_text(), marked, "Ana", NOW))
    result = CliRunner().invoke(app, ["label", "import", str(back), "-p", str(season.project.path)])
    assert result.exit_code == 0, result.output
    assert "1 tiles taken by Ana: 1 boxes; in 0 of them is nothing." in result.output
    assert "8 tiles left out: nobody says to have looked at them." in " ".join(result.output.split())

    again = json.loads((exported(season, draw, tmp_path / "again", "coco") / "annotations.json").read_text())
    image = next(one for one in again["images"] if draw.tiles[0].tile_id in one["file_name"])
    assert image["boxes_from"] == "labels by Ana, 2024-04-01 09:30 UTC" and not image["looked_at"]
    (annotation,) = [one for one in again["annotations"] if one["image_id"] == image["id"]]
    names = {category["id"]: category["name"] for category in again["categories"]}
    assert (names[annotation["category_id"]], annotation["bbox"]) == ("Diptera (larva)", [5, 6, 12.5, 22.25])
    left = exported(season, draw, tmp_path / "left", "coco", open_only=True)
    assert len(json.loads((left / "annotations.json").read_text())["images"]) == len(draw.tiles) - 1


def test_a_folder_in_use_is_not_written_over_and_a_failed_export_leaves_nothing(
    drawn: tuple[Any, Draw], tmp_path: Path
) -> None:
    season, draw = drawn
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(LabellingError, match="not empty"):
        export_draw(season.project, season.store, draw, tmp_path / "mine", "coco")
    for entry in season.store.list("scans"):
        season.store.delete(entry.key)
    with pytest.raises(LabellingError, match=r"Restore its image\.zarr"):
        export_draw(season.project, season.store, draw, tmp_path / "new", "coco")
    assert sorted(path.name for path in tmp_path.iterdir() if "new" in path.name) == []


@pytest.mark.parametrize("format_", ["coco", "cvat", "label-studio"])
def test_the_readme_says_size_mark_and_estimator(drawn: tuple[Any, Draw], tmp_path: Path, format_: str) -> None:
    season, draw = drawn
    text = (exported(season, draw, tmp_path, format_) / "README.md").read_text()
    assert "at most 150 x 107 px (3.2 x 2.3 mm at 1200 dpi)" in text
    assert "not looked at" in text and "inclusion_probability" in text
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "{" not in text and ("label import" in text)


def test_the_commands_from_draw_to_status(make_season: Callable[..., Any], tmp_path: Path) -> None:
    season = make_season(scans=2)
    runner, project = CliRunner(), ["-p", str(season.project.path)]

    def say(*words: str) -> str:
        result = runner.invoke(app, ["label", *words, *project])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    assert "No tiles have been drawn yet" in say("status")
    with pytest.raises(SoilpipeError, match="label draw"):
        runner.invoke(app, ["label", "export", *project], catch_exceptions=False)
    assert "6 random tiles, 0 suggested" in say("draw", "--tiles", "6", "--size", "150")
    assert "It was there already" in say("draw", "--tiles", "6", "--size", "150")
    out = tmp_path / "out"
    assert "6 tiles of at most 150 x 107 px" in say("export", "-f", "coco", "-o", str(out))
    file = str(out / "annotations.json")
    assert "0 tiles taken" in say("import", file)
    assert "6 tiles taken by Ana: 0 boxes; in 6 of them is nothing." in say(
        "import", file, "--by", "Ana", "--all-looked-at"
    )
    assert len(newest_labels(season.store)) == 6
    told = say("status")
    assert "6 tiles were looked at and have nothing in them." in told and "24 are missing" in told
    shown = json.loads(runner.invoke(app, ["label", "status", "--json", *project]).output)
    assert (shown["draws"][0]["random_looked_at"], shown["random_places"]) == (6, 6)
    say("draw", "--tiles", "3", "--size", "150", "--seed", "1")
    with pytest.raises(SoilpipeError, match="Name one of them"):
        runner.invoke(app, ["label", "export", *project], catch_exceptions=False)
