"""Deliveries as they are: late, twice, broken off, or never."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.ingest.names import parse_name
from soilpipe.simulate import SeasonSpec, SimulationError, write_season
from soilpipe.simulate.faults import FAULTS, LATE_BY, choose_faults, deliver

START = datetime(2024, 3, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("season")
    times = tuple(START + timedelta(hours=6 * i) for i in range(6))
    write_season(SeasonSpec("S1", "loam", 5, times, 128, 128, animals_per_100cm2=3000.0), folder)
    return folder


def test_without_faults_every_scan_comes_whole_and_once(season: Path, tmp_path: Path) -> None:
    delivered = deliver(season, tmp_path / "inbox")
    assert [one.fault for one in delivered] == [None] * 6
    for one in delivered:
        (name,) = one.names
        assert (tmp_path / "inbox" / name).read_bytes() == (season / name).read_bytes()
    assert len(list((tmp_path / "inbox").iterdir())) == 6


def test_each_fault_does_what_it_says(season: Path, tmp_path: Path) -> None:
    delivered = deliver(season, tmp_path, {1: "missing", 2: "truncated", 3: "twice", 4: "late"})
    assert [one.fault for one in delivered] == [None, "missing", "truncated", "twice", "late", None]
    _, missing, truncated, twice, late, _ = delivered
    assert missing.names == () and missing.captured_at is None
    whole = (season / truncated.names[0]).stat().st_size
    assert 0 < (tmp_path / truncated.names[0]).stat().st_size < whole
    assert len({(tmp_path / name).read_bytes() for name in twice.names}) == 1
    assert len(twice.names) == 2
    assert {parse_name(name, "soil_scan").time for name in twice.names} == {twice.slot.replace(tzinfo=None)}
    assert late.captured_at == late.slot + LATE_BY
    assert parse_name(late.names[0], "soil_scan").time == late.captured_at.replace(tzinfo=None)
    assert {path.name for path in tmp_path.iterdir()} == {name for one in delivered for name in one.names}


def test_the_true_counts_come_along(season: Path, tmp_path: Path) -> None:
    truth = json.loads((season / "truth.json").read_text())
    per_image = Counter(annotation["image_id"] for annotation in truth["annotations"])
    delivered = deliver(season, tmp_path)
    assert [sum(one.counts.values()) for one in delivered] == [per_image[image["id"]] for image in truth["images"]]
    assert sum(per_image.values()) > 0


def test_each_fault_is_chosen_once_and_neither_first_nor_last() -> None:
    for seed in range(20):
        chosen = choose_faults(8, seed=seed)
        assert sorted(chosen.values()) == sorted(FAULTS)
        assert not {0, 7} & set(chosen)
    assert choose_faults(8, seed=3) == choose_faults(8, seed=3)


def test_what_cannot_be_delivered_is_told(season: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="unfinished"):
        deliver(tmp_path, tmp_path / "inbox")
    with pytest.raises(SimulationError, match="no scan 9"):
        deliver(season, tmp_path / "inbox", {9: "late"})
    with pytest.raises(SimulationError, match="too short"):
        choose_faults(4)
