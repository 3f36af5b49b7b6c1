"""Which tiles are drawn: half at random, half where detections are doubtful or rare, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.background import ModelInput, register
from soilpipe.ingest.mask_files import write_mask
from soilpipe.ingest.receipts import read_receipt, write_receipt
from soilpipe.ingest.window_mask import SATURATED
from soilpipe.labels import pictures as pictures_module
from soilpipe.labels.draw import draw_tiles
from soilpipe.labels.pictures import CONTRAST, GREY, tile_pictures
from soilpipe.labels.records import Draw, LabellingError, all_tiles, read_draws
from soilpipe.labels.sampling import inclusion_probability, tile_windows
from soilpipe.labels.suggesting import Candidate, suggest
from soilpipe.tiles import open_image
from tests.labels.conftest import ANIMAL, HEIGHT, WIDTH

SURE = ("Collembola", 0.9, (10.0, 10.0, 30.0, 20.0))
DOUBTFUL = ("Collembola", 0.31, (310.0, 210.0, 330.0, 220.0))
RARE = ("Protura", 0.8, (200.0, 10.0, 210.0, 30.0))

MakeSeason = Callable[..., Any]


def detected(make_season: MakeSeason, scans: int = 6) -> Any:
    """Two scanners; a sure animal in every scan, doubtful ones in one, a rare one in another."""
    season = make_season(("A20", "B07"))
    for scanner_id in ("A20", "B07"):
        for number in range(scans):
            found = [SURE, (*SURE[:2], (60.0, 10.0, 90.0, 30.0))]
            found += [DOUBTFUL] if (scanner_id, number) == ("A20", 2) else []
            found += [RARE] if (scanner_id, number) == ("B07", 4) else []
            season.scan(number, scanner_id=scanner_id, found=found)
    return season


def suggested(draw: Draw) -> list[Any]:
    return [tile for tile in draw.tiles if tile.how == "suggested"]


def test_half_is_random_with_probabilities_and_half_is_suggested_with_reasons(make_season: MakeSeason) -> None:
    season = detected(make_season)
    draw, new = draw_tiles(season.project, season.store, tiles=8, tile_px=128)
    assert new
    random = [tile for tile in draw.tiles if tile.how == "random"]
    assert len(random) == 6, "what cannot be suggested is drawn at random"
    windows = tile_windows(WIDTH, HEIGHT, 128)
    for tile in random:
        assert (tile.x0, tile.y0, tile.x1, tile.y1) in windows
        assert tile.inclusion_probability == inclusion_probability(draw.strata[tile.stratum], len(windows))
        assert tile.reason is None
    reasons = {(layout.parse_scan_id(tile.scan_id).scanner_id, tile.reason) for tile in suggested(draw)}
    assert reasons == {
        ("A20", "doubtful: 1 detection close to the threshold"),
        ("B07", "rare: Protura, 1 detection in all"),
    }
    assert all(tile.inclusion_probability is None for tile in suggested(draw))
    told = next(note for note in draw.notes if "only 2 of 4 tiles could be suggested" in note)
    assert told.endswith(": 6 are random")
    assert any("passes over altogether shows in the random half" in note for note in draw.notes)
    assert {layout.parse_scan_id(tile.scan_id).scanner_id for tile in random} == {"A20", "B07"}


def test_the_same_store_and_seed_give_the_same_draw(make_season: MakeSeason) -> None:
    one, other = detected(make_season), detected(lambda *a, **k: make_season(*a, name="other", **k))
    first, _ = draw_tiles(one.project, one.store, tiles=8, tile_px=128)
    second, _ = draw_tiles(other.project, other.store, tiles=8, tile_px=128)
    assert first == second
    files = one.files("labels")
    again, new = draw_tiles(one.project, one.store, tiles=8, tile_px=128)
    assert again == first and not new
    assert one.files("labels") == files


def test_another_seed_gives_other_random_tiles_and_repeats_no_suggestion(make_season: MakeSeason) -> None:
    season = detected(make_season)
    first, _ = draw_tiles(season.project, season.store, tiles=8, tile_px=128)
    second, new = draw_tiles(season.project, season.store, tiles=8, tile_px=128, seed=1)
    assert new
    places = [{tile.place for tile in draw.tiles if tile.how == "random"} for draw in (first, second)]
    assert places[0] != places[1]
    assert not {tile.place for tile in suggested(first)} & {tile.place for tile in suggested(second)}
    assert len(all_tiles(read_draws(season.store).values())) == len(first.tiles) + len(second.tiles)


def test_without_detections_all_tiles_are_random(make_season: MakeSeason) -> None:
    season = make_season(scans=5)
    draw, _ = draw_tiles(season.project, season.store, tiles=7, tile_px=128)
    assert [tile.how for tile in draw.tiles] == ["random"] * 7
    assert any("none is suggested" in note for note in draw.notes)
    assert not any("suggested tiles come from" in note for note in draw.notes)


def test_only_the_scanners_asked_for_are_drawn_from(make_season: MakeSeason) -> None:
    season = make_season(("A20", "B07"), scans=3)
    draw, _ = draw_tiles(season.project, season.store, tiles=5, tile_px=128, scanners=[season.project.scanner("B07")])
    assert {layout.parse_scan_id(tile.scan_id).scanner_id for tile in draw.tiles} == {"B07"}


def test_each_tile_names_its_references_and_scans_without_pixels_are_left_out(make_season: MakeSeason) -> None:
    season = make_season()
    ids = [season.scan(number) for number in range(4)]
    for entry in season.store.list(layout.image_zarr(ids[1])):
        season.store.delete(entry.key)
    draw, _ = draw_tiles(season.project, season.store, tiles=8, tile_px=512)
    references = {tile.scan_id: tile.references for tile in draw.tiles}
    assert references == {ids[0]: (), ids[2]: (ids[0],), ids[3]: (ids[2], ids[0])}
    assert any(ids[1] in note and "no longer stored" in note for note in draw.notes)


@pytest.mark.parametrize(
    ("asked", "told"), [({"tiles": 0}, "--tiles 0"), ({"tiles": 10**6}, "--tiles"), ({"tile_px": 10}, "--size 10")]
)
def test_numbers_that_make_no_sense_are_told(make_season: MakeSeason, asked: dict[str, int], told: str) -> None:
    season = make_season(scans=1)
    with pytest.raises(LabellingError, match=told):
        draw_tiles(season.project, season.store, **asked)


def test_a_store_without_scans_is_told(make_season: MakeSeason) -> None:
    season = make_season()
    with pytest.raises(LabellingError, match="has no scan of A20"):
        draw_tiles(season.project, season.store)


def candidate(number: int, doubt: float, x0: int = 0, **taxa: int) -> Candidate:
    place = (layout.make_scan_id("A20", np.datetime64("2024-03-06", "s").item(), f"{number:08x}"), x0, 0, x0 + 100, 100)
    made = Candidate(place, doubt, 1)
    made.taxa.update(taxa)
    return made


def test_of_one_place_one_scan_is_suggested_before_any_second() -> None:
    stone = [candidate(number, 5.0 - number / 10, Acari=1) for number in range(4)]
    other = candidate(9, 0.2, x0=100, Acari=1)
    chosen = [suggestion.place for suggestion in suggest([*stone, other], 3, ())]
    assert chosen == [stone[0].place, other.place, stone[1].place]


def test_suggestions_do_not_depend_on_the_order_and_leave_out_what_is_taken() -> None:
    rng = np.random.default_rng(3)
    many = [candidate(n, float(rng.uniform(0, 3)), 100 * (n % 5), Acari=n % 3, Protura=int(n == 7)) for n in range(30)]
    first = suggest(many, 10, ())
    assert suggest(many[::-1], 10, ()) == first and len(first) == 10
    assert first[0].reason == "rare: Protura, 1 detection in all"
    taken = {suggestion.place for suggestion in first}
    assert not taken & {suggestion.place for suggestion in suggest(many, 10, taken)}


def test_the_difference_shows_what_came_and_is_grey_without_earlier_scans(make_season: MakeSeason) -> None:
    season = make_season(scans=4)  # the last one has an animal
    draw, _ = draw_tiles(season.project, season.store, tiles=16, tile_px=512)
    pictures = {picture.tile.scan_id: picture for picture in tile_pictures(season.store, draw.tiles)}
    first, *_, last = (pictures[scan_id] for scan_id in sorted(pictures))
    assert first.missing == "no difference: no earlier scan to compare with"
    assert np.isin(first.difference, (0, GREY)).mean() > 0.95 and (first.difference == 0).any()  # grey, with words
    x, y = ANIMAL
    assert last.missing is None
    assert last.difference[y, x].min() > GREY + 20 * CONTRAST  # brighter than before
    assert np.abs(last.difference[20:80, 20:100].astype(int) - GREY).mean() < 8 * CONTRAST
    assert np.array_equal(last.scan.shape, (HEIGHT, WIDTH, 3)) and last.scan[y, x].min() > 150


def test_dark_scans_are_shown_brighter_by_one_curve_and_bright_ones_as_they_are(make_season: MakeSeason) -> None:
    season = make_season()
    bright, dark = season.scan(0), season.scan(1, light=0.15)
    draw, _ = draw_tiles(season.project, season.store, tiles=4, tile_px=512)
    pictures = {picture.tile.scan_id: picture for picture in tile_pictures(season.store, draw.tiles)}
    plain = {picture.tile.scan_id: picture.scan for picture in tile_pictures(season.store, draw.tiles, as_scanned=True)}
    assert np.array_equal(pictures[bright].scan, plain[bright])
    assert np.median(plain[dark].max(axis=-1)) < 15 and 45 < np.median(pictures[dark].scan.max(axis=-1)) < 75
    before, after = plain[dark].max(axis=-1), pictures[dark].scan.max(axis=-1)
    shown = [set(after[before == value].tolist()) for value in np.unique(before)]
    assert all(len(shades) == 1 for shades in shown)  # one curve
    assert all(np.diff([shades.pop() for shades in shown]) > 0)  # and no two levels become one
    x, y = 200, 20
    grown = pictures[dark].scan[y, x] / pictures[dark].scan[y, x].max()
    assert np.allclose(grown, plain[dark][y, x] / plain[dark][y, x].max(), atol=0.02)  # the colour stays


def difference_of_the_whole(season: Any, tile: Any) -> np.ndarray:
    """The tile's difference with the references registered to the whole scan, as detection does it."""
    scan, *references = (open_image(season.store, scan_id, 21.2) for scan_id in (tile.scan_id, *tile.references))
    whole = ModelInput(scan, references, [register(scan, reference) for reference in references], 21.2)
    assert whole.usable == len(references)
    return whole.read(tile.y0, tile.y1, tile.x0, tile.x1)[3:6].transpose(1, 2, 0)


@pytest.mark.parametrize("bare", [False, True])
def test_the_difference_is_that_of_detection_also_where_the_tile_alone_could_not_be_registered(
    make_season: MakeSeason, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    monkeypatch.setattr(pictures_module, "MARGIN", 8)
    season = make_season()
    for number in range(4):
        season.scan(number, animal=number == 3, bare=bare)
    draw, _ = draw_tiles(season.project, season.store, tiles=36, tile_px=150)
    last = max(tile.scan_id for tile in draw.tiles)
    tile = next(tile for tile in draw.tiles if tile.scan_id == last and (tile.x0, tile.y0) == (150, 107))
    sizes: list[int] = []
    original = pictures_module._input
    monkeypatch.setattr(
        pictures_module, "_input", lambda scan, others: (sizes.append(scan.width), original(scan, others))[1]
    )
    (picture,) = tile_pictures(season.store, [tile])
    assert sizes == ([166, WIDTH] if bare else [166])  # the tile with its margin, and where that is not enough the scan
    assert picture.missing is None
    shown = (picture.difference[:-30].astype(float) - GREY) / CONTRAST  # without the bar of the scale
    expected = np.clip(difference_of_the_whole(season, tile)[:-30].astype(float) - GREY, -64, 63.5)
    assert np.abs(shown - expected).mean() < 1.5
    assert shown.max() > 40  # the animal


def test_tiles_that_are_mostly_masked_are_not_drawn(make_season: MakeSeason) -> None:
    season = make_season()
    scan_id = season.scan(0, found=[DOUBTFUL, ("Acari", 0.32, (10.0, 10.0, 30.0, 20.0))])
    cell = 50
    mask = np.zeros((-(-HEIGHT // cell), -(-WIDTH // cell)), np.uint8)
    mask[:, :6] = SATURATED  # the left two of three columns of tiles
    write_mask(season.store, scan_id, mask)
    receipt = read_receipt(season.store, scan_id)
    quality = receipt.quality.model_copy(update={"masked": {"saturated": 0.67}, "mask_cell_px": cell})
    write_receipt(season.store, receipt.model_copy(update={"quality": quality}))
    draw, _ = draw_tiles(season.project, season.store, tiles=6, tile_px=150)
    assert {tile.x0 for tile in draw.tiles} == {300}
    assert {tile.inclusion_probability for tile in draw.tiles if tile.how == "random"} == {1.0}  # 3 of 3 usable
    assert [tile.reason for tile in suggested(draw)] in ([], ["doubtful: 1 detection close to the threshold"])
