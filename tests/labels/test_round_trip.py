"""What people mark in a tool is what the store holds afterwards, in all three formats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe.labels import coco, cvat, label_studio
from soilpipe.labels.bundle import label_names
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.interchange import CROWD, TileToLabel, ToolBox
from soilpipe.labels.records import Tile, newest_labels
from soilpipe.labels.taking import take_labels
from soilpipe.taxonomy import SOIL, split_stage
from tests.labels import tools
from tests.labels.conftest import NOW

Season = Any
STAGED = "Diptera (larva)"
WRITE = {
    "coco": lambda tiles, names: coco.write(tiles, names, "test"),
    "cvat": lambda tiles, names: cvat.write(tiles, names, "test"),
    "label-studio": lambda tiles, names: label_studio.write(tiles, names, "test", "http://example.org/"),
}
TOOL = {"coco": tools.coco, "cvat": tools.cvat, "label-studio": tools.label_studio}
SUFFIX = {"coco": "json", "cvat": "xml", "label-studio": "json"}


@pytest.fixture
def drawn(make_season: Callable[..., Season]) -> tuple[Season, tuple[Tile, ...]]:
    """A season with a draw of eight tiles of 150 x 107 px."""
    season = make_season(scans=3)
    draw, _ = draw_tiles(season.project, season.store, tiles=8, tile_px=150)
    tools.SIZES.update({tile.tile_id: (tile.width, tile.height) for tile in draw.tiles})
    return season, draw.tiles


def hundredths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low * 100, high * 100).map(lambda value: value / 100)


@st.composite
def boxes(draw: st.DrawFn) -> list[tuple[str, float, float, float, float]]:
    """Boxes in a tile of at least 150 x 106 px, one a column of 30 px, so that no two are on one animal."""
    found = []
    for column in sorted(draw(st.sets(st.integers(0, 4), max_size=5))):
        name = draw(st.sampled_from([*SOIL.names, STAGED, CROWD]))
        x0 = draw(hundredths(30 * column, 30 * column + 14))
        y0 = draw(hundredths(0, 50))
        size = draw(hundredths(1, 15)), draw(hundredths(1, 56))
        found.append((name, x0, y0, round(x0 + size[0], 2), round(y0 + size[1], 2)))
    return found


def expected(tile: Tile, marked: list[tuple[str, float, float, float, float]]) -> list[tuple[Any, ...]]:
    told = []
    for name, x0, y0, x1, y1 in marked:
        what = (None, None) if name == CROWD else (SOIL.find(name).name, split_stage(name)[1])
        told.append((*what, *(round(v, 2) for v in (tile.x0 + x0, tile.y0 + y0, tile.x0 + x1, tile.y0 + y1))))
    return sorted(told, key=str)


@pytest.mark.parametrize("format_", ["coco", "cvat", "label-studio"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_labels_come_back_as_they_were_made(
    format_: Any, drawn: tuple[Season, tuple[Tile, ...]], tmp_path: Path, data: st.DataObject
) -> None:
    season, tiles = drawn
    by = data.draw(st.text("abcäé. -", min_size=1, max_size=8).filter(lambda text: text.strip() == text))
    by = f"{by}{len(newest_labels(season.store))}"
    at = NOW - timedelta(hours=data.draw(st.integers(0, 500)))
    marked = {tile.tile_id: data.draw(st.none() | boxes()) for tile in tiles}
    guesses = tuple(ToolBox((1.0, 2.0, 30.0, 40.0), "Acari", 0.4) for _ in range(data.draw(st.integers(0, 1))))
    given_ = [TileToLabel(t.tile_id, t.width, t.height, t.how, 1200.0, guesses, "detector v1") for t in tiles]
    names = [*label_names(SOIL), STAGED]
    file = tmp_path / f"back.{SUFFIX[format_]}"
    file.write_text(TOOL[format_](WRITE[format_](given_, names), marked, by, at), encoding="utf-8")

    taken = take_labels(season.project, season.store, file, NOW, by=by if format_ == "coco" else None)

    looked_at = {tile_id: found for tile_id, found in marked.items() if found is not None}
    assert (taken.format, taken.taken, taken.not_looked_at) == (format_, len(looked_at), len(tiles) - len(looked_at))
    kept = {tile_id: label for (tile_id, who), label in newest_labels(season.store).items() if who == by}
    assert kept.keys() == looked_at.keys()  # nothing there is kept, not looked at is not
    for tile in tiles:
        if tile.tile_id in kept:
            label = kept[tile.tile_id]
            assert label.at == (NOW if format_ == "coco" else at)
            told = [(b.taxon, b.stage, b.x_min, b.y_min, b.x_max, b.y_max) for b in label.boxes]
            assert sorted(told, key=str) == expected(tile, looked_at[tile.tile_id])
    before = season.files("labels")
    again = take_labels(season.project, season.store, file, NOW + timedelta(days=1), by=by)
    assert (again.taken, again.unchanged) == (0, len(looked_at)) and season.files("labels") == before


def test_two_people_are_kept_apart_and_the_newest_word_of_each_counts(
    drawn: tuple[Season, tuple[Tile, ...]], tmp_path: Path
) -> None:
    season, tiles = drawn
    given_ = [TileToLabel(t.tile_id, t.width, t.height, t.how, None, (), "nobody") for t in tiles]
    text = label_studio.write(given_, label_names(SOIL), "test", "")
    file = tmp_path / "back.json"
    first, *rest = (tile.tile_id for tile in tiles)
    nobody = dict.fromkeys(rest)

    def says(by: str, day: int, name: str | None) -> int:
        found = [] if name is None else [(name, 10.0, 10.0, 30.0, 30.0)]
        at = datetime(2024, 3, day, tzinfo=UTC)
        file.write_text(tools.label_studio(text, {first: found, **nobody}, by, at))
        return take_labels(season.project, season.store, file, NOW).taken

    assert [says("Ana", 10, "Acari"), says("Ben", 11, None), says("Ana", 12, "Protura")] == [1, 1, 1]
    assert says("Ana", 10, "Acari") == 0  # an older file that comes later changes nothing
    newest = newest_labels(season.store)
    assert {(who, *(box.taxon for box in label.boxes)) for (_, who), label in newest.items()} == {
        ("Ana", "Protura"),
        ("Ben",),
    }


def test_an_old_file_without_times_that_comes_again_takes_back_no_correction(
    drawn: tuple[Season, tuple[Tile, ...]], tmp_path: Path
) -> None:
    """COCO tells no times: what an import is worth is when the file came first."""
    season, tiles = drawn
    given_ = [TileToLabel(t.tile_id, t.width, t.height, t.how, None, (), "nobody") for t in tiles]
    text = coco.write(given_, label_names(SOIL), "test")
    first, *rest = (tile.tile_id for tile in tiles)
    one, two = ("Acari", 10.0, 10.0, 30.0, 30.0), ("Protura", 50.0, 50.0, 70.0, 60.0)

    def takes(name: str, day: int, boxes: list[Any], by: str = "Ana") -> tuple[int, int, int]:
        file = tmp_path / name
        file.write_text(tools.coco(text, {first: boxes, **dict.fromkeys(rest)}, by, NOW))
        taken = take_labels(season.project, season.store, file, NOW + timedelta(days=day), by=by)
        return taken.taken, taken.unchanged, taken.older

    def taxa(by: str) -> list[str | None]:
        return [box.taxon for box in newest_labels(season.store)[first, by].boxes]

    assert takes("a.json", 0, [one]) == (1, 0, 0)
    assert takes("b.json", 1, [one, two]) == (1, 0, 0) and taxa("Ana") == ["Acari", "Protura"]
    before = season.files("labels")
    assert takes("a.json", 2, [one]) == (0, 0, 1), "told as left out, since there is a newer word"
    assert takes("renamed.json", 2, [one]) == (0, 0, 1), "by its content, not its name"
    assert taxa("Ana") == ["Acari", "Protura"] and season.files("labels") == before
    assert takes("a.json", 3, [one], by="Ben") == (1, 0, 0), "of another person it is news"
    assert takes("c.json", 4, [two]) == (1, 0, 0) and taxa("Ana") == ["Protura"], "as is another file"
