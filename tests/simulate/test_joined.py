"""Several seasons as one set of labels."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soilpipe.detect.coco import read_labels
from soilpipe.simulate import SeasonSpec, SimulationError, join_truths, write_season

BEGIN = datetime(2024, 3, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def seasons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seasons")
    for name in ("A", "B"):
        times = (BEGIN, BEGIN + timedelta(hours=6))
        spec = SeasonSpec(name, "loam", 3, times, height_px=320, width_px=320, animals_per_100cm2=2000.0)
        write_season(spec, folder / name)
    return folder


def test_the_labels_of_all_seasons_are_those_of_each_under_its_own_folder(seasons: Path) -> None:
    together = read_labels(join_truths(seasons, ["B", "A"]), seasons)
    assert [image.scanner_id for image in together.images] == ["B", "B", "A", "A"]
    for image in together.images:
        alone = read_labels(seasons / image.scanner_id / "truth.json", seasons / image.scanner_id)
        (same,) = (other for other in alone.images if other.path == image.path)
        assert len(image.boxes) > 0 and image.boxes.tolist() == same.boxes.tolist()
        assert image.labels.tolist() == same.labels.tolist()


def test_ids_are_those_of_one_file(seasons: Path) -> None:
    joined = json.loads(join_truths(seasons, ["A", "B"]).read_text())
    for part in ("images", "annotations"):
        assert [entry["id"] for entry in joined[part]] == list(range(1, len(joined[part]) + 1))
    assert joined["info"] == {"generator": "loam", "simulated": True}


def test_an_unfinished_season_is_named(seasons: Path) -> None:
    with pytest.raises(SimulationError, match=r"C holds no truth.json"):
        join_truths(seasons, ["A", "C"])
