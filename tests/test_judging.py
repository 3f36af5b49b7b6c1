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
from soilpipe.detect.ancestry import times_of
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
    finder = Finder()
    finder.info = replace(finder.info, **changes)
    on = own_labels(season.project, season.store, folder, finder)
    found = evaluate_detector(finder, on.labels, on.images, where=on.where())
    return found, on, keep_evaluation(season.store, finder, found, on, NOW)


def trained(season: Season, folder: Path, name: str, days: set[int], but_for: str | None = None) -> str:
    """A version whose card says that it was trained on the labelled scans of these days of the month of March."""
    on = own_labels(season.project, season.store, folder / name, Finder())
    images = [
        image
        for image in read_labels(on.labels, on.images).labelled
        if image.captured_at and image.captured_at.day in days and image.scanner_id != but_for
    ]
    told = {"simulated": False, "image_names": [image.file_name for image in images], **times_of(images, 1000)}
    made = make_model(folder / f"{name}.model", name=name, trained_on=told, served={})
    return models.register(season.store, "detector", made)


@pytest.mark.slow
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
    near = trained(season, tmp_path, "near", {11, 12, 13}, but_for=whole)  # the hold-out begins on the 14th
    found, on, kept = judged(season, tmp_path / "near.labels", version=near)
    assert (on.sample, found.images, kept.sampled.left_out, kept.sampled.hold_out) == ("hold-out", 30, 12, 42)
    assert kept.validation == "local" and {image.day[:3] for image in kept.matches.images} == {whole}
    assert "but for 12 that show what it, or one that it began from, was trained on, or are within 72 h" in on.told
    first = evaluations(season.store, "detector", "change")[0].sampled
    assert first is not None and first.sha256 == kept.sampled.sha256, "of the whole hold-out, whatever was left out"


def test_with_too_few_held_out_tiles_all_random_ones_are_and_the_gate_will_not_take_them(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=10, tiles=3)
    found, on, kept = judged(season, tmp_path / "labels")
    assert (on.sample, found.images) == ("random", 30)
    assert kept.validation == "local" and (kept.sampled.hold_out, kept.sampled.left_out) == (6, 0)
    assert "the hold-out has 6 random tiles that somebody has looked at; to decide on a promotion 24 more" in on.told


def test_fewer_than_thirty_tiles_stand_behind_nothing(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=7, tiles=4)
    found, on, kept = judged(season, tmp_path / "labels")
    assert found.images == 28 and kept.validation == "none"
    assert "from 30 on" in on.told and "28 tiles are too few to stand behind counts; 2 more random ones" in in_words(
        kept
    )


def test_what_was_trained_on_and_what_neighbours_it_in_time_judges_nothing(tmp_path: Path) -> None:
    """One scan a day from the 6th of March on: a scan of the 7th has neighbours up to the 10th."""
    season = labelled_project(tmp_path, days=15, tiles=3)
    early = trained(season, tmp_path, "early", {6, 7})
    found, on, kept = judged(season, tmp_path / "a", version=early)
    assert (on.sample, found.images, kept.sampled.tiles, kept.sampled.left_out) == ("random", 30, 45, 15)
    assert min(image.day for image in kept.matches.images) == "A20 2024-03-11"
    assert kept.validation == "local" and kept.trained_on == 0
    late = trained(season, tmp_path, "late", {10})
    found, on, kept = judged(season, tmp_path / "b", version=late)
    assert (found.images, kept.validation) == (24, "none")
    assert "6 more random ones that it is not familiar with are needed: of scans taken after 2024-03-13" in in_words(
        kept
    )
    everywhere = trained(season, tmp_path, "everywhere", {6, 9, 12, 15, 18, 20})
    found, on, kept = judged(season, tmp_path / "c", version=everywhere)
    assert (found.images, kept.trained_on, kept.sampled.left_out, kept.validation) == (45, 45, 0, "none")
    assert "It is familiar with 45 of the 45 tiles" in in_words(kept) and "the figures flatter" in in_words(kept)
    assert "the hold-out has 9 random tiles that somebody has looked at, 9 of them of no use" in on.told


def test_suggested_tiles_alone_say_nothing_of_the_project(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=2, how="suggested")
    with pytest.raises(NoLabelsError, match="only suggested tiles"):
        own_labels(season.project, season.store, tmp_path / "labels", Finder())


def test_without_labels_it_is_said_how_to_get_some(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=0)
    with pytest.raises(NoLabelsError, match="soilpipe label draw"):
        own_labels(season.project, season.store, tmp_path / "labels", Finder())


def test_tiles_are_evened_as_their_scans_for_a_detector_that_sees_evened_contrast(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=1, tiles=2)
    for settings, name in (({}, None), ({"contrast": "local"}, "contrast.npz")):
        _, on, _ = judged(season, tmp_path / f"labels-{name}", settings=settings)
        files = {image.contrast and image.contrast.name for image in read_labels(on.labels, on.images).labelled}
        assert {file and file.rpartition("-")[2] for file in files} == {name}


def test_only_the_scanners_asked_for_are_judged_on(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, scanners=("A20", "B20"), days=2, tiles=1)
    on = own_labels(season.project, season.store, tmp_path / "labels", Finder())
    images = read_labels(on.labels, on.images).labelled
    assert [image.scanner_id for image in images if on.where(frozenset({"B20"}))(image)] == ["B20", "B20"]
    given = given_labels(on.labels, on.images)
    assert given.sample == "file" and all(given.where()(image) for image in images)


def test_every_outcome_has_its_words() -> None:
    assert "simulated" in in_words(record("a", simulated=True))
    assert "own random tiles" in in_words(record("a", sample="file"))
    assert "Not judged as runs use it" in in_words(record("a", as_used=False))
