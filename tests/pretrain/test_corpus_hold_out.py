"""The hold-out serves nothing else: not its scans, not its places nearby in time, not through a difference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from soilpipe.held_out import held_out
from soilpipe.labels.records import LabelFile, TileLabel, write_label_file
from soilpipe.pretrain.candidates_frame import HeldTile, held_boxes
from soilpipe.pretrain.corpus import Corpus, NoNewScansError, build_corpus
from soilpipe.pretrain.memory import HELD_OUT, remember
from tests.labelled_project import DRAW, PLACES, TILE, labelled_project
from tests.labels.conftest import NOW, START, Season
from tests.pretrain.corpus_fixtures import SMALL, Thumbnails, make_season

Box = tuple[float, float, float, float]


def built(season: Season, folder: Path, since: datetime | None = None) -> Corpus:
    return build_corpus(season.store, season.project, since=since, encoder=Thumbnails(), budget=SMALL, folder=folder)


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_no_crop_shows_what_the_hold_out_judges(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=5, tiles=2)
    held = held_out(season.project, season.store)
    assert len(held.scans) == 1
    (last,) = held.scans
    season.scan(21, animal=True)  # six hours after the newest labelled scan, which is of the hold-out
    corpus = built(season, tmp_path / "corpus")
    assert last not in {entry.scan_id for entry in corpus.entries}
    assert corpus.manifest.counts.scans_held_out == 1
    tiles = [(x, y, x + TILE, y + TILE) for x, y in PLACES[:2]]
    near = START + timedelta(days=1)  # the hold-out's scan is of the fourth day after the start
    late = [entry for entry in corpus.entries if entry.captured_at >= near]
    assert late
    assert not any(meet(entry.box, tile) for entry in late for tile in tiles)
    # Far enough before, the same places may be learned from, labelled or not: they are not of the hold-out.
    early = [entry for entry in corpus.entries if entry.captured_at < near]
    assert any(meet(entry.box, tile) for entry in early for tile in tiles)


def test_the_scanner_held_out_whole_is_not_read_at_all(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, scanners=("A20", "B7", "C1"), days=2, tiles=1)
    held = held_out(season.project, season.store)
    assert held.scanner is not None
    for scanner in ("A20", "B7", "C1"):
        season.scan(40, scanner_id=scanner)
    corpus = built(season, tmp_path / "corpus")
    assert held.scanner not in set(corpus.scanner.tolist())
    assert len(set(corpus.scanner.tolist())) == 2
    assert corpus.manifest.scanner_held_out == held.scanner
    assert "hold-out" in corpus.summary()


def test_a_place_is_kept_away_through_differences_too() -> None:
    at = datetime(2024, 3, 6, tzinfo=UTC)
    tiles = [HeldTile("held", at, (0, 0, 10, 10)), HeldTile("other", at - timedelta(days=9), (20, 0, 30, 10))]
    assert held_boxes(tiles, at + timedelta(hours=72), ()) == [(0, 0, 10, 10)]
    assert held_boxes(tiles, at - timedelta(hours=73), ()) == []
    assert held_boxes(tiles, at + timedelta(hours=73), ("other", "x")) == [(20, 0, 30, 10)]


def test_when_all_is_held_out_there_is_nothing_to_learn(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=2, tiles=1)
    with pytest.raises(NoNewScansError, match=r"all 1 new scans .* belong to the hold-out"):
        built(season, tmp_path / "corpus", since=START)


@pytest.mark.slow
def test_what_is_labelled_for_the_hold_out_later_leaves_the_memory(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    season = labelled_project(tmp_path / "project", days=2, tiles=1)
    fresh = season.scan(60, animal=True)
    remember(season.store, built(season, tmp_path / "first"), 200)
    from soilpipe.labels.records import Draw, Stratum, Tile, make_tile_id, write_draw

    tile = Tile(
        tile_id=make_tile_id(fresh, 0, 0, DRAW[::-1]),
        scan_id=fresh,
        x0=0,
        y0=0,
        x1=TILE,
        y1=TILE,
        how="suggested",
        reason="a test",
    )
    draw = Draw(
        draw_id=DRAW[::-1],
        seed=0,
        asked=1,
        tile_px=TILE,
        strata=(Stratum(scans=1, draws=1),),
        analyses={},
        design="-",
        estimator="-",
        tiles=(tile,),
    )
    write_draw(season.store, draw)
    label = TileLabel(tile_id=tile.tile_id, by="Ana", at=NOW, boxes=())
    write_label_file(
        season.store, LabelFile(imported_at=NOW, source_name="b", source_sha256="1", format="coco", labels=(label,))
    )
    assert fresh in held_out(season.project, season.store).scans
    season.scan(100)
    second = built(season, tmp_path / "second", since=START + timedelta(hours=6 * 60))
    assert second.manifest.counts.memory_dropped[HELD_OUT] > 0
    assert fresh not in {entry.scan_id for entry in second.entries}
    assert np.array_equal(second.is_new, [entry.captured_at > START + timedelta(days=20) for entry in second.entries])


def test_labels_of_a_single_scan_hold_nothing_back(tmp_path: Path) -> None:
    season = make_season(tmp_path, scans=2)
    assert built(season, tmp_path / "corpus").manifest.counts.scans_held_out == 0
