"""Files that cannot be meant: each is told with the file and the entry, and nothing of them is kept."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soilpipe.labels import coco, cvat, label_studio
from soilpipe.labels.bundle import label_names
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.interchange import TileToLabel
from soilpipe.labels.records import LabellingError, newest_labels, read_draws
from soilpipe.labels.taken import newest_by_place
from soilpipe.labels.taking import take_labels
from soilpipe.taxonomy import SOIL
from tests.labels import tools
from tests.labels.conftest import NOW

Box = tuple[str, float, float, float, float]
GOOD: Box = ("Acari", 10.0, 10.0, 30.0, 30.0)
FORMATS = ("coco", "cvat", "label-studio")


class Desk:
    """A person with a tool: the file that comes back when tile 0 is marked so, and the last tile as empty."""

    def __init__(self, season: Any, folder: Path) -> None:
        self.season, self.folder = season, folder
        draw, _ = draw_tiles(season.project, season.store, tiles=4, tile_px=150)
        self.tiles = draw.tiles
        tools.SIZES.update({tile.tile_id: (tile.width, tile.height) for tile in draw.tiles})

    def file(self, format_: str, *boxes: Box, change: Callable[[str], str] = lambda text: text) -> Path:
        given = [TileToLabel(t.tile_id, t.width, t.height, t.how, 1200.0, (), "") for t in self.tiles]
        names = [*label_names(SOIL), "Colembola", "looked at"]
        marked: dict[str, list[Box] | None] = {tile.tile_id: None for tile in self.tiles}
        marked[self.tiles[0].tile_id] = list(boxes)
        marked[self.tiles[-1].tile_id] = []
        if format_ == "coco":
            text = tools.coco(coco.write(given, names[:-1], ""), marked, "Ana", NOW)
        elif format_ == "cvat":
            text = tools.cvat(cvat.write(given, names[:-1], ""), marked, "Ana", NOW)
        else:
            text = tools.label_studio(label_studio.write(given, names, "", ""), marked, "Ana", NOW)
        path = self.folder / f"ana.{'xml' if format_ == 'cvat' else 'json'}"
        path.write_text(change(text), encoding="utf-8")
        return path

    def take(self, file: Path, **options: Any) -> Any:
        return take_labels(self.season.project, self.season.store, file, NOW, **{"by": "Ana", **options})

    def refused(self, file: Path, **options: Any) -> str:
        """What is said; nothing may be kept."""
        before = self.season.files()
        with pytest.raises(LabellingError) as error:
            self.take(file, **options)
        assert self.season.files() == before
        assert file.name in str(error.value)
        return str(error.value)


@pytest.fixture
def desk(make_season: Callable[..., Any], tmp_path: Path) -> Desk:
    return Desk(make_season(scans=1), tmp_path)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("box", "told"),
    [
        (("Acari", 400.0, 10.0, 420.0, 30.0), "lies outside its tile of 150 x 107 px"),
        (("Acari", -30.0, -30.0, -5.0, -5.0), "lies outside its tile"),
        (("Acari", 10.0, 10.0, 10.0, 30.0), "has no area"),
        (("Acari", 30.0, 10.0, 10.0, 30.0), "has no area"),
        (("Acari", float("nan"), 10.0, 20.0, 30.0), "values that are not numbers"),
        (("Acari", 1.0, 1.0, float("inf"), 30.0), "values that are not numbers"),
        (("Colembola", 10.0, 10.0, 30.0, 30.0), "no taxon is called 'Colembola'; the nearest are Collembola"),
    ],
)
def test_boxes_that_cannot_be_meant_are_named_and_nothing_is_kept(
    desk: Desk, format_: str, box: Box, told: str
) -> None:
    message = desk.refused(desk.file(format_, ("Protura", 60.0, 60.0, 80.0, 80.0), box))
    assert told in message
    assert "annotation 1" in message or "box 2" in message or "region aB3" in message
    assert desk.tiles[0].tile_id in message
    assert "Nothing was imported" in message


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("other", [GOOD, ("Protura", 10.0, 10.0, 30.5, 30.0)])
def test_two_labels_on_one_animal_are_refused(desk: Desk, format_: str, other: Box) -> None:
    assert "once more" in desk.refused(desk.file(format_, GOOD, ("Acari", 60.0, 20.0, 70.0, 30.0), other))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_box_over_the_edge_is_cut_at_the_edge(desk: Desk, format_: str) -> None:
    desk.take(desk.file(format_, ("Acari", -5.0, 10.0, 20.0, 500.0)))
    tile = desk.tiles[0]
    (box,) = newest_labels(desk.season.store)[tile.tile_id, "Ana"].boxes
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (tile.x0, tile.y0 + 10, tile.x0 + 20, tile.y1)


@pytest.mark.parametrize("format_", FORMATS)
def test_tiles_of_another_store_are_refused(desk: Desk, format_: str, make_season: Callable[..., Any]) -> None:
    other = make_season(scans=1, name="other")
    draw_tiles(other.project, other.store, tiles=2, tile_px=150)
    with pytest.raises(LabellingError, match="exported from another store") as error:
        take_labels(other.project, other.store, desk.file(format_, GOOD), NOW, by="Ana")
    assert desk.tiles[0].tile_id in str(error.value) or "task 1" in str(error.value)
    assert not newest_labels(other.store)


@pytest.mark.parametrize("format_", FORMATS)
def test_truncated_files_are_refused(desk: Desk, format_: str) -> None:
    file = desk.file(format_, GOOD)
    whole = file.read_bytes().rstrip()
    for share in (0.0, 0.01, 0.3, 0.6, 0.999):
        file.write_bytes(whole[: int(share * len(whole))])
        message = desk.refused(file)
        assert "not whole" in message or "empty" in message


def test_a_truncated_or_ambiguous_archive_is_refused_and_a_whole_one_is_read(desk: Desk) -> None:
    inner = desk.file("cvat", GOOD).read_bytes()

    def archive(*names: str) -> Path:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name in names:
                zipped.writestr(name, inner)
        path = desk.folder / "task.zip"
        path.write_bytes(data.getvalue())
        return path

    file = archive("annotations.xml")
    file.write_bytes(file.read_bytes()[:-40])
    assert "not a whole archive" in desk.refused(file)
    assert "one file with labels is needed" in desk.refused(archive("a.xml", "b.xml"))
    assert desk.take(archive("annotations.xml", "images/a.png")).taken == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello", "neither JSON nor XML"),
        ("{}", "not COCO"),
        ('[{"data": {}}]', "names no tile_id and no image"),
        ('[{"data": {"image": "a.png"}}]', "no list of annotations"),
        ("[1, 2]", "not a list of tasks"),
        ("<html></html>", "not an annotations.xml of CVAT, but <html>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "CVAT writes no DOCTYPE"),
        ("<annotations><track/></annotations>", "CVAT for video"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "has no file_name"),
    ],
)
def test_other_files_are_told_apart(desk: Desk, text: str, told: str) -> None:
    file = desk.folder / "odd.txt"
    file.write_text(text)
    assert told in desk.refused(file)


def test_a_label_of_a_missing_image_or_category_is_refused(desk: Desk) -> None:
    def without_images(text: str) -> str:
        return json.dumps({**json.loads(text), "images": []})

    def without_categories(text: str) -> str:
        return json.dumps({**json.loads(text), "categories": []})

    assert "no image of the file has the id 7" in desk.refused(desk.file("coco", GOOD, change=without_images))
    assert "no category of the file has the id" in desk.refused(desk.file("coco", GOOD, change=without_categories))


def test_a_scaled_picture_is_refused(desk: Desk) -> None:
    file = desk.file("cvat", GOOD, change=lambda text: text.replace('width="150"', 'width="75"', 1))
    assert "75 x 107 px there, and 150 x 107 px here" in desk.refused(file)


def test_shapes_that_are_no_boxes_are_refused(desk: Desk) -> None:
    def as_points(text: str) -> str:
        return text.replace("<box ", '<points points="1,2" ', 1)

    assert "a points is no box" in desk.refused(desk.file("cvat", GOOD, change=as_points))


@pytest.mark.parametrize("encoding", ["tf-8", "utf-7", "big5"])
def test_an_encoding_that_nobody_knows_is_told(encoding: str, desk: Desk) -> None:
    file = desk.file("cvat", GOOD, change=lambda text: text.replace('encoding="utf-8"', f'encoding="{encoding}"', 1))
    if f'encoding="{encoding}"' not in file.read_text():
        file.write_text(f'<?xml version="1.0" encoding="{encoding}"?>\n' + file.read_text().split("?>")[-1])
    assert "not whole XML" in desk.refused(file)


def test_who_must_be_known(desk: Desk) -> None:
    assert "--by" in desk.refused(desk.file("coco", GOOD), by=None)
    assert desk.take(desk.file("cvat", GOOD), by=None).by == ("Ana",)


def test_a_format_that_the_file_is_not_is_told(desk: Desk) -> None:
    assert "looks like cvat, not coco" in desk.refused(desk.file("cvat", GOOD), format_="coco")


def test_a_tile_twice_in_a_file_is_refused(desk: Desk) -> None:
    def doubled(text: str) -> str:
        begin, end = text.index("<image "), text.index("</image>") + len("</image>")
        return text.replace("</annotations>", text[begin:end] + "</annotations>")

    assert "comes twice" in desk.refused(desk.file("cvat", GOOD, change=doubled))


def test_boxes_without_the_mark_are_left_out_and_counted_unless_all_are_said_to_be_looked_at(desk: Desk) -> None:
    file = desk.file("cvat", GOOD, change=lambda text: text.replace('label="looked at"', 'label="other"'))
    left = desk.take(file)
    assert (left.taken, left.not_looked_at, left.with_boxes, left.key) == (0, 4, 1, None)
    assert not newest_labels(desk.season.store)
    taken = desk.take(file, all_looked_at=True)
    assert (taken.taken, taken.empty, taken.not_looked_at) == (4, 3, 0)


def test_names_that_tools_put_around_the_tile_are_understood(desk: Desk) -> None:
    tile_id = desk.tiles[0].tile_id
    file = desk.file("coco", GOOD, change=lambda text: text.replace(tile_id, f"images/3fa1-{tile_id}_png.rf.8c1"))
    assert desk.take(file).taken == 2
    assert (tile_id, "Ana") in newest_labels(desk.season.store)


def test_a_turned_box_is_taken_as_the_upright_box_around_it(desk: Desk) -> None:
    turned = desk.file(
        "cvat", ("Acari", 20.0, 40.0, 60.0, 60.0), change=lambda t: t.replace("<box ", '<box rotation="90" ')
    )
    desk.take(turned)
    tile = desk.tiles[0]
    (box,) = newest_labels(desk.season.store)[tile.tile_id, "Ana"].boxes
    assert (box.x_min - tile.x0, box.y_min - tile.y0, box.x_max - tile.x0, box.y_max - tile.y0) == (30, 30, 50, 70)


def test_an_edited_record_is_told(desk: Desk) -> None:
    desk.take(desk.file("cvat", GOOD))
    (key,) = desk.season.files("labels/annotations")
    desk.season.store.write_bytes(key, b'{"labels": []}')
    with pytest.raises(LabellingError, match="no record of labels"):
        newest_by_place(desk.season.store)


def test_without_a_draw_there_is_nothing_to_import(desk: Desk, make_season: Callable[..., Any]) -> None:
    other = make_season(scans=1, name="other")
    assert not read_draws(other.store)
    with pytest.raises(LabellingError, match="no draw of tiles yet"):
        take_labels(other.project, other.store, desk.file("cvat", GOOD), NOW)


@pytest.mark.slow
def test_fifty_thousand_boxes_in_one_tile_are_taken(desk: Desk) -> None:
    tile = desk.tiles[0]
    columns, rows = 250, 200
    step = tile.width / columns, tile.height / rows
    boxes = [
        ("Acari", x * step[0], y * step[1], (x + 0.9) * step[0], (y + 0.9) * step[1])
        for x in range(columns)
        for y in range(rows)
    ]
    taken = desk.take(desk.file("cvat", *boxes))
    assert taken.boxes == 50_000
