from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe import layout
from soilpipe.background import register_all
from soilpipe.config import Project
from soilpipe.held_out import held_out
from soilpipe.ingest.mask_files import write_mask
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import read_receipt, write_receipt
from soilpipe.pretrain import candidates as module
from soilpipe.pretrain.candidates import Asked, ScanCandidates, candidates_of_scan, choose_cells
from soilpipe.pretrain.candidates_cells import Lattice, usable_cells
from soilpipe.pretrain.candidates_change import changed_places
from soilpipe.pretrain.candidates_frame import ScanPlan, scans_to_read
from soilpipe.pretrain.candidates_unreadable import UnreadableScanError
from soilpipe.store import Store, StoreError
from soilpipe.tiles import image_from_array
from tests.labels.conftest import ANIMAL, START, Season, picture
from tests.pretrain.corpus_fixtures import SIDE, make_season

ALL = Asked(quota=1000, side=SIDE, um_per_px=21.17, seed=0)
sides = st.integers(20, 1500)


@settings(deadline=None, max_examples=50)
@given(sides, sides, st.sampled_from([32, 64, 96, 256]), st.sampled_from([0.5, 1.0, 4.0]))
def test_cells_never_overlap_and_lie_inside(height: int, width: int, side: int, factor: float) -> None:
    lattice = Lattice(height, width, side, factor)
    rows = sorted({lattice.corner(cell)[0] for cell in range(len(lattice))})
    columns = sorted({lattice.corner(cell)[1] for cell in range(len(lattice))})
    assert len(rows) * len(columns) == len(lattice)
    for starts, size in ((rows, height), (columns, width)):
        assert all(later - earlier >= side for earlier, later in pairwise(starts))
        if size >= side:
            assert starts[0] >= 0
            assert starts[-1] + side <= size
        # No room for one more cell is left unused.
        assert (len(starts) + 1) * side > size
    middle = lattice.boxes().reshape(-1, 2, 2).mean(axis=1)
    inside = (middle[:, 0] < width * factor) & (middle[:, 1] < height * factor)
    found = lattice.cells_at(middle[inside, 0], middle[inside, 1])
    assert np.array_equal(found, np.flatnonzero(inside))
    beyond = lattice.boxes().max(axis=0)[2:] + 1
    assert lattice.cells_at(beyond[:1], beyond[1:]) == [-1], "what is left over is of no cell"


@settings(deadline=None)
@given(st.integers(0, 60), st.data())
def test_seven_in_ten_cells_show_change_where_there_is_enough(quota: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 80))
    some = st.lists(st.integers(0, n - 1), max_size=n).map(lambda cells: np.array(cells, np.int64))
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    detected, changed = data.draw(some), data.draw(some)
    chosen = choose_cells(usable, detected, changed, quota, np.random.default_rng(0))
    told = {int(cell) for cell in (*detected, *changed) if usable[cell]}
    around = {cell for cell, reason in chosen.items() if reason != "anywhere"}
    assert all(usable[cell] for cell in chosen)
    assert around <= told
    assert len(around) == min(round(0.7 * quota), len(told))
    anywhere = len(chosen) - len(around)
    assert anywhere == min(quota - round(0.7 * quota), int(usable.sum()) - len(around))
    assert all(cell in set(detected.tolist()) for cell, reason in chosen.items() if reason == "detection")


def test_where_change_cannot_be_told_all_cells_are_from_anywhere() -> None:
    chosen = choose_cells(np.ones(30, bool), None, None, 20, np.random.default_rng(0))
    assert len(chosen) == 20
    assert set(chosen.values()) == {"anywhere"}


def test_change_is_seen_where_an_animal_came_and_nowhere_else() -> None:
    scans = [image_from_array(picture(number, animal=number == 0), 21.2, str(number)) for number in range(4)]
    places = changed_places(scans[0], scans[1:], register_all(scans[0], scans[1:]))
    assert places is not None
    assert len(places) >= 1
    assert (np.abs(places - np.array(ANIMAL)) <= (35, 20)).all()
    still = changed_places(scans[1], scans[2:], register_all(scans[1], scans[2:]))
    assert still is not None
    assert len(still) == 0
    assert changed_places(scans[0], scans[1:2], register_all(scans[0], scans[1:2])) is None


def taken(season: Season, scan_id: str) -> ScanCandidates:
    plan = scans_to_read(
        season.store, season.project, held_out(season.project, season.store), since=None, most=99, seed=0
    )
    (one,) = [plan for plan in plan.plans if plan.scan_id == scan_id]
    return candidates_of_scan(season.store, season.project, one, ALL)


def with_quality(season: Season, scan_id: str, **quality: object) -> None:
    receipt = read_receipt(season.store, scan_id)
    given = Quality.model_validate({**receipt.quality.model_dump(), **quality})
    write_receipt(season.store, receipt.model_copy(update={"quality": given}))


def test_masked_parts_and_flat_bands_are_left_out(tmp_path: Path) -> None:
    season = make_season(tmp_path)
    scan_id = season.scan(0)
    whole = taken(season, scan_id)
    assert len(whole.crops) == 35
    mask = np.zeros((6, 8), np.uint8)  # cells of 64 px
    mask[:, :3] = 4
    write_mask(season.store, scan_id, mask)
    with_quality(season, scan_id, masked={"veiled or out of focus": 0.4}, mask_cell_px=64, flat_bands=[[250, 290]])
    rest = taken(season, scan_id)
    assert 0 < len(rest.crops) < 35
    assert all(crop.x0 + SIDE // 4 >= 192 - SIDE for crop in rest.crops)
    assert all(crop.y0 + SIDE <= 250 or crop.y0 >= 290 for crop in rest.crops)
    assert min(crop.x0 for crop in rest.crops) > 128


def test_unusable_and_black_scans_are_passed_over(tmp_path: Path) -> None:
    season = make_season(tmp_path)
    scan_id = season.scan(0)
    with_quality(season, scan_id, usable_fraction=0.4)
    assert "usable" in str(taken(season, scan_id).passed_over)
    with_quality(season, scan_id, usable_fraction=1.0, level_mean=0.2)
    assert "nearly black" in str(taken(season, scan_id).passed_over)


def test_scans_whose_pixels_expired_or_are_damaged_are_passed_over(tmp_path: Path) -> None:
    season = make_season(tmp_path, scans=2)
    first, second = (plan.scan_id for plan in plans(season))
    for entry in season.store.list(layout.image_zarr(first)):
        season.store.delete(entry.key)
    assert "no longer stored" in str(taken(season, first).passed_over)
    chunks = [entry for entry in season.store.list(layout.image_zarr(second)) if not entry.key.endswith(".json")]
    for entry in chunks:
        season.store.write_bytes(entry.key, b"\0" * entry.size)
    assert "cannot be decoded" in str(taken(season, second).passed_over)


def test_a_scan_that_breaks_the_reading_is_named_and_a_disk_or_a_memory_that_fails_is_not_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = make_season(tmp_path)
    scan_id = season.scan(0)

    def ended_by(error: Exception) -> BaseException:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(module, "register_all", fails)
        with pytest.raises(Exception) as raised:
            taken(season, scan_id)
        return raised.value

    told = ended_by(IndexError("out of bounds"))
    assert isinstance(told, UnreadableScanError) and scan_id in str(told) and "IndexError: out of bounds" in str(told)
    no_room = type("error", (Exception,), {})("(-4:Insufficient memory) Failed to allocate 7 bytes")  # as of OpenCV
    for error in (StoreError("cannot read"), OSError(5, "input/output error"), MemoryError(), no_room):
        assert ended_by(error) is error


def test_scans_are_read_from_each_scanner_s_own_last_one_on_and_up_to_a_bound(tmp_path: Path) -> None:
    season = make_season(tmp_path, "A20", "B07", "C11", scans=3)
    held = held_out(season.project, season.store)

    def read(since: Any, until: Any) -> list[str]:
        frame = scans_to_read(season.store, season.project, held, since=since, until=until, most=99, seed=0)
        return [f"{plan.scanner_id} {(plan.captured_at - START) // timedelta(hours=6)}" for plan in frame.plans]

    first, second, third = (START + number * timedelta(hours=6) for number in range(3))
    assert read({"A20": second}, {"A20": third, "B07": second}) == ["A20 2", "B07 0", "B07 1"], "and C11 not at all"
    assert read(first, second) == ["A20 1", "B07 1", "C11 1"]
    assert read({"A20": first, "B07": first}, second) == ["A20 1", "B07 1", "C11 0", "C11 1"]


def plans(season: Season) -> tuple[ScanPlan, ...]:
    held = held_out(season.project, season.store)
    return scans_to_read(season.store, season.project, held, since=None, most=99, seed=0).plans


def test_the_references_are_those_that_the_detection_file_names(tmp_path: Path) -> None:
    season = make_season(tmp_path, scans=4)
    newest = plans(season)[-1]
    suited = candidates_of_scan(season.store, season.project, newest, ALL)
    assert len(suited.crops[0].references) == 3
    season.detect(newest.scan_id, [])
    named = [plan.scan_id for plan in plans(season)[:2]]
    from soilpipe.detections import read_detection_file, write_detection_file

    (detected,) = [plan for plan in plans(season) if plan.scan_id == newest.scan_id]
    assert detected.analysis_id is not None
    table, metadata = read_detection_file(season.store, detected.analysis_id, newest.scan_id)
    told = metadata | {"references": [{"scan_id": one} for one in named]}
    write_detection_file(season.store, detected.analysis_id, newest.scan_id, table, told)
    as_detected = candidates_of_scan(season.store, season.project, detected, ALL)
    assert set(as_detected.crops[0].references) == set(named)
    assert not np.array_equal(as_detected.pixels, suited.pixels)


def test_each_scanner_has_the_same_chance_when_there_are_too_many_scans(tmp_path: Path) -> None:
    season = make_season(tmp_path, "A20", "B7")
    for number in range(9):
        season.scan(number, scanner_id="A20")
    season.scan(0, scanner_id="B7")
    season.scan(1, scanner_id="B7")
    held = held_out(season.project, season.store)
    frame = scans_to_read(season.store, season.project, held, since=None, most=6, seed=1)
    assert frame.since == 11
    assert frame.scanners == {"A20": 4, "B7": 2}
    order = [(plan.scanner_id, plan.captured_at) for plan in frame.plans]
    assert order == sorted(order)
    again = scans_to_read(season.store, season.project, held, since=None, most=6, seed=1)
    assert again == frame


def test_a_forbidden_place_takes_every_cell_that_it_touches(tmp_path: Path) -> None:
    season = make_season(tmp_path)
    receipt = read_receipt(season.store, season.scan(0))
    lattice = Lattice(receipt.height_px, receipt.width_px, SIDE, 1.0)
    usable = usable_cells(lattice, receipt, None, [(100.0, 100.0, 110.0, 101.0)])
    touched = [box for box, free in zip(lattice.boxes(), usable, strict=True) if not free]
    assert len(touched) == 1
    assert touched[0][0] < 110 and touched[0][2] > 100


def test_quota_bounds_what_a_scan_gives(tmp_path: Path) -> None:
    season = make_season(tmp_path)
    season.scan(0)
    few = candidates_of_scan(season.store, season.project, plans(season)[0], replace(ALL, quota=5))
    assert len(few.crops) == len(few.pixels) == 5
    with pytest.raises(FileNotFoundError):
        gone = replace(plans(season)[0], scan_id="A20-20240306T000000-ffffffff")
        candidates_of_scan(season.store, season.project, gone, ALL)


def test_no_more_scans_are_in_memory_than_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    season = make_season(tmp_path, scans=3)
    begun: list[str] = []

    def noted(store: Store, project: Project, plan: ScanPlan, asked: Asked) -> ScanCandidates:
        begun.append(plan.scan_id)
        return candidates_of_scan(store, project, plan, asked)

    monkeypatch.setattr(module, "candidates_of_scan", noted)
    room = 2 * ALL.quota * 7 * SIDE**2
    one_by_one = module.candidates(season.store, season.project, plans(season), ALL, in_memory=room)
    next(one_by_one)
    assert len(begun) == 2
    assert [one.scan_id for one in one_by_one] == [plan.scan_id for plan in plans(season)[1:]]
    begun.clear()
    next(module.candidates(season.store, season.project, plans(season), ALL, in_memory=1))
    assert len(begun) == 1
