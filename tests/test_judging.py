"""Judging on the project's own labels: which tiles, and what comes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import models
from soilpipe.detect import weights
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.coco import read_labels
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.evaluations import evaluations
from soilpipe.judging import NoLabelsError, given_labels, in_words, keep_evaluation, own_labels
from tests.evaluation_records import NOW, record
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.tiny_model import make_model


@pytest.fixture(autouse=True)
def _small_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="shipped", validation="simulated"))


class Finder:
    """Finds the mite that is marked in every tile, and nothing else."""

    info = DetectorInfo("finder", "change", ("Acari",), 21.2, 0.5, "none", uses_difference=False)

    def detect(self, scan: Any, references: Any, registrations: Any, *, threshold: Any = None) -> Detections:
        box = np.array([[20, 40, 37, 52]], np.float32)
        return Detections(box, np.array([0.9], np.float32), np.array([0]), self.info.taxa)


def judged(season: Season, folder: Path, **changes: Any) -> Any:
    on = own_labels(season.project, season.store, folder)
    finder = Finder()
    finder.info = replace(finder.info, **changes)
    found = evaluate_detector(finder, on.labels, on.images, where=on.where())
    return found, on, keep_evaluation(season.store, finder, found, on, NOW)


def test_with_enough_held_out_tiles_only_those_are_judged_on(tmp_path: Path) -> None:
    scanners = ("A20", "B20", "C20")
    season = labelled_project(tmp_path, scanners=scanners, days=10, tiles=3)
    found, on, kept = judged(season, tmp_path / "labels")
    whole = min(scanners, key=lambda scanner: hashlib.sha256(scanner.encode()).hexdigest())
    assert on.sample == kept.sample == "hold-out" and on.hold_out_scanner == kept.hold_out_scanner == whole
    assert found.images == 30 + 2 * 2 * 3, "one scanner whole, and of the others the last two of ten days"
    assert kept.validation == "local" and kept.trained_on == 0
    assert found.recall == 0.5 and found.by_taxon["Acari"].recall == 1.0
    assert {image.day[:3] for image in kept.matches.images} == set(scanners)
    assert "is marked `local`" in in_words(kept)
    assert evaluations(season.store, "detector", "change") == [kept]


def test_with_too_few_held_out_tiles_all_random_ones_are_and_the_gate_will_not_take_them(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=10, tiles=3)
    found, on, kept = judged(season, tmp_path / "labels")
    assert (on.sample, found.images) == ("random", 30)
    assert kept.validation == "local" and "its hold-out has 6, too few to decide on a promotion" in on.told


def test_fewer_than_thirty_tiles_stand_behind_nothing(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=7, tiles=4)
    found, on, kept = judged(season, tmp_path / "labels")
    assert found.images == 28 and kept.validation == "none"
    assert "from 30 on" in on.told and "28 tiles are too few" in in_words(kept)


def test_tiles_that_were_trained_on_stand_behind_nothing(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=10, tiles=3)
    on = own_labels(season.project, season.store, tmp_path / "labels")
    names = [image.file_name for image in read_labels(on.labels, on.images).labelled][:9]
    version = models.register(
        season.store, "detector", make_model(tmp_path / "m", trained_on={"image_names": names, "simulated": False})
    )
    _, _, kept = judged(season, tmp_path / "labels", version=version, threshold=0.4)
    assert kept.trained_on == 9 and kept.validation == "none" and "9 of the 30 tiles were trained on" in in_words(kept)


def test_suggested_tiles_alone_say_nothing_of_the_project(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=2, how="suggested")
    with pytest.raises(NoLabelsError, match="only suggested tiles"):
        own_labels(season.project, season.store, tmp_path / "labels")


def test_without_labels_it_is_said_how_to_get_some(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=0)
    with pytest.raises(NoLabelsError, match="soilpipe label draw"):
        own_labels(season.project, season.store, tmp_path / "labels")


def test_only_the_scanners_asked_for_are_judged_on(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, scanners=("A20", "B20"), days=2, tiles=1)
    on = own_labels(season.project, season.store, tmp_path / "labels")
    images = read_labels(on.labels, on.images).labelled
    assert [image.scanner_id for image in images if on.where(frozenset({"B20"}))(image)] == ["B20", "B20"]
    given = given_labels(on.labels, on.images)
    assert given.sample == "file" and all(given.where()(image) for image in images)


def test_every_outcome_has_its_words() -> None:
    assert "simulated" in in_words(record("a", simulated=True))
    assert "own random tiles" in in_words(record("a", sample="file"))
    assert "Not judged as runs use it" in in_words(record("a", as_used=False))
