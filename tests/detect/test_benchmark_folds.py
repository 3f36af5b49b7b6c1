"""The benchmarks on real photographs: what they keep, by whose labels a threshold is chosen, and what they tell."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.base import Detections
from soilpipe.detect.coco import read_labels
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.weights import SHIPPED, load_detector

DEVICES = {"a": 2, "b": 2, "c": 1}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import bccd
    import kept_settings
    import stickypi_folds
    import stickypi_folds_judge

    return SimpleNamespace(bccd=bccd, kept=kept_settings, folds=stickypi_folds, judge=stickypi_folds_judge)


@pytest.fixture
def stickypi(tmp_path: Path, labelled: Callable[..., Path]) -> Path:
    """A folder with a small stickypi/ of five photographs of three devices."""

    def with_devices(coco: dict[str, Any]) -> None:
        for image in coco["images"]:
            image |= {"device": image["scanner_id"], "labelled": True}

    labels = labelled(scanners=DEVICES, change=with_devices)
    images = tmp_path / "data" / "stickypi" / "images"
    images.mkdir(parents=True)
    for picture in tmp_path.glob("*.png"):
        shutil.move(picture, images)
    shutil.move(labels, images.parent / "annotations.json")
    return tmp_path / "data"


def keep(folder: Path, **changed: Any) -> dict[str, Any]:
    """The shipped detector as one that lies there from an earlier run; its card."""
    shutil.copytree(SHIPPED, folder)
    card = json.loads((folder / "card.json").read_text()) | changed
    (folder / "card.json").write_text(json.dumps(card))
    return dict(card)


def test_a_kept_detector_serves_what_it_was_trained_with_and_stops_anything_else(parts: Any, tmp_path: Path) -> None:
    of_shipped = json.loads((SHIPPED / "card.json").read_text())["recipe"]
    older = {key: value for key, value in of_shipped.items() if key not in ("muon", "finest_share")}
    kept = older | {"seed": 2, "steps": 12_000, "batch": 16, "light": 1.0}
    card = keep(tmp_path / "x", labels_taken="all devices but x", recipe=kept)
    recipe = Recipe(**card["recipe"])
    as_trained = {"labels_taken": "all devices but x", "um_per_px": card["um_per_px"], "size": "medium"}
    assert parts.kept.kept_card(tmp_path / "none", recipe, **as_trained) is None
    assert parts.kept.kept_card(tmp_path / "x", recipe, **as_trained)["seconds"] == card["seconds"]
    for recipe_too, others, word in (
        ({"seed": 5}, {}, "seed 2 (now 5)"),
        ({"steps": 40}, {}, "steps 12000 (now 40)"),
        ({"batch": 8}, {}, "batch 16 (now 8)"),
        ({"light": 0.5}, {}, "light 1.0 (now 0.5)"),
        ({"muon": True}, {}, "muon False (now True)"),  # the card is older than Muon, and than the finest pass
        ({"finest_share": 0.2}, {}, "finest_share 0.0 (now 0.2)"),
        ({}, {"um_per_px": 21.17}, "um_per_px 42.333 (now 21.17)"),
        ({}, {"size": "small"}, "size medium (now small)"),
        ({}, {"even": True}, "even_contrast False (now True)"),
        ({}, {"labels_taken": "all devices but y"}, "labels_taken all devices but x (now all devices but y)"),
    ):
        asked = Recipe(**{**card["recipe"], **recipe_too})
        with pytest.raises(SystemExit) as stopped:
            parts.kept.kept_card(tmp_path / "x", asked, **{**as_trained, **others})
        assert word in str(stopped.value) and str(tmp_path / "x") in str(stopped.value)
        assert "another --folder" in str(stopped.value)


def arguments(folder: Path, **changed: Any) -> Namespace:
    given = {"folder": folder, "steps": 12, "batch": 4, "size": "medium", "scale": 0.5, "light": 0.5, "second_steps": 0}
    return Namespace(**{**given, "as_scanned": True, **changed})


def test_each_seed_has_folds_of_its_own_and_a_fold_is_trained_once(
    parts: Any, stickypi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, images = tmp_path / "labels.json", stickypi / "stickypi" / "images"
    labels.write_text(json.dumps(parts.folds.labels_with_scanners(images.parent / "annotations.json")))
    given = read_labels(labels, images)
    asked: list[Any] = []

    def train(labels: Path, images: Path, out: Path, *, recipe: Recipe, where_told: str, **more: Any) -> Any:
        asked.append((where_told, recipe.seed))
        told = {**vars(recipe), "ema": recipe.decay}
        return keep(out, recipe=told, labels_taken=where_told, seconds=99.0, um_per_px=42.333)

    monkeypatch.setattr(parts.folds, "train_detector", train)
    for seed in (0, 1, 0, 1):
        fold = parts.folds.Fold.of("a", seed, arguments(tmp_path / "folds"))
        assert parts.folds.trained(fold, given, labels, images)[1] == 99
    assert asked == [("all devices but a", 0), ("all devices but a", 1)]
    told = capsys.readouterr().out
    assert "seed 1: trained now, in 99 s" in told and "seed 1: trained before, in 99 s" in told
    for changed in ({"steps": 13}, {"second_steps": 6}, {"scale": 0.25}, {"light": 1.0}, {"batch": 8}):
        fold = parts.folds.Fold.of("a", 1, arguments(tmp_path / "folds", **changed))
        with pytest.raises(SystemExit, match="another --folder"):
            parts.folds.trained(fold, given, labels, images)
    assert len(asked) == 2


@pytest.fixture
def run(
    parts: Any, stickypi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """Runs the folds with detectors that find all and, of each photograph, one that is none; the rows, what is told."""
    given = read_labels(stickypi / "stickypi" / "annotations.json", stickypi / "stickypi" / "images")
    boxes = {image.file_name: image.boxes for image in given.images}
    minutes = {"a": 10, "b": 59, "c": 61}

    class Finds:
        info = load_detector(SHIPPED, device="cpu").info

        def detect(self, scan: Any, references: Any, registrations: Any, *, threshold: float) -> Detections:
            found = np.concatenate([boxes[scan.scan_id], np.float32([[0, 0, 9, 9]])])
            scores = np.full(len(found), 0.9, np.float32)
            scores[-1] = 0.2
            return Detections(found, scores, np.zeros(len(found), np.int64), ("Invertebrata",))

    def trained(fold: Any, *_: Any) -> Any:
        return Finds(), 60.0 * minutes[fold.device] + fold.recipe.seed

    def command(*words: str) -> tuple[list[dict[str, Any]], str]:
        monkeypatch.setattr(parts.folds, "trained", trained)
        file = tmp_path / "figures.json"
        given = ["--data", str(stickypi), "--folder", str(tmp_path / "folds"), "--json", str(file), *words]
        monkeypatch.setattr(sys, "argv", ["stickypi_folds.py", *given])
        parts.folds.main()
        return json.loads(file.read_text()), capsys.readouterr().out

    return command


@pytest.mark.slow
def test_seeds_have_a_mean_and_a_spread_and_every_training_its_hour(run: Callable[..., Any]) -> None:
    rows, told = run()
    assert [row["seed"] for row in rows] == [0, 1, 2] and "asked of" not in told
    assert all(
        row["centre_f1"] == 1 and row["count_error"] == 0 and set(row["thresholds"]) == set("abc") for row in rows
    )
    assert "centre F1: 1.000 ± 0.000, met" in told and "count error: 0.000 ± 0.000, met" in told
    assert "longest of 9 trainings: 61.0 min, at most 60: MISSED by 3" in told
    _, told = run("--seed", "4", "--devices", "a,b")
    assert "2 of 3 devices, seeds 4 (asked of 3 seeds or more)" in told
    assert "longest of 2 trainings: 59.1 min, at most 60: met" in told


def test_one_device_alone_is_not_judged_by_its_own_labels(run: Callable[..., Any]) -> None:
    rows, told = run("--devices", "b", "--seeds", "0")
    assert rows[0]["thresholds"] == {} and rows[0]["ap50"] > 0.99
    assert rows[0]["f1"] is rows[0]["centre_f1"] is rows[0]["count_error"] is None
    assert "centre F1: not judged" in told and "count error: not judged" in told and "AP50: 1.000, met" in told


def test_a_device_that_there_is_not_is_named(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--devices", "a,x")
    assert "no photographs of x; there are a, b, c" in capsys.readouterr().err


def test_a_threshold_is_chosen_by_the_other_devices(parts: Any) -> None:
    def matches(right: float, wrong: float) -> Any:
        boxes = np.float32([[10, 10, 30, 30], [60, 60, 90, 90]])
        found = np.float32([[10, 10, 30, 30], [60, 60, 90, 90], [200, 200, 220, 220]])
        scores = np.float32([right, right, wrong])
        detections = Detections(found, scores, np.zeros(3, np.int64), ("Invertebrata",))
        return parts.judge.match(detections, boxes, None, np.zeros(2, bool))

    both = {"1": matches(0.9, 0.7), "2": matches(0.4, 0.1)}
    thresholds = parts.judge.thresholds_of(both, {"1": "a", "2": "b"})
    assert 0.1 < thresholds["a"] <= 0.4 and 0.7 < thresholds["b"] <= 0.9
    assert parts.judge.thresholds_of(both, {"1": "a", "2": "a"}) == {}


def test_the_scale_of_what_is_kept_is_told_as_a_training_rounds_it(parts: Any, labelled: Callable[..., Path]) -> None:
    from soilpipe.detect.training import _resolution

    labels = labelled(3, change=lambda coco: coco["images"][0].update(dpi=601))
    given = read_labels(labels, labels.parent)
    assert all(
        parts.kept.um_per_px_at(given, scale) == _resolution(given, None, scale, None) for scale in (0.3, 0.7, 1)
    )


@pytest.mark.slow
def test_blood_cells_are_not_judged_by_a_detector_of_other_settings(
    parts: Any, tmp_path: Path, labelled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data" / "bccd"
    (source / "images").mkdir(parents=True)
    labels = labelled(6)
    for picture in tmp_path.glob("*.png"):
        shutil.move(picture, source / "images")
    shutil.move(labels, source / "annotations.json")
    monkeypatch.setattr(parts.bccd, "TEST", 2)
    monkeypatch.setattr(parts.bccd, "VALIDATION", 1)

    def train(labels: Path, images: Path, out: Path, *, recipe: Recipe, where_told: str, **more: Any) -> Any:
        told = {**vars(recipe), "ema": recipe.decay}
        return keep(out, recipe=told, labels_taken=where_told, seconds=77.0, um_per_px=42.333)

    monkeypatch.setattr(parts.bccd, "train_detector", train)
    asked = {
        "data": tmp_path / "data",
        "folder": tmp_path / "bccd",
        "steps": 16,
        "batch": 4,
        "scale": 0.5,
        "second_steps": 0,
    }
    first, again = (parts.bccd.one_seed(0, Namespace(**asked)) for _ in range(2))
    assert (first["seconds"], first["trained_before"]) == (77, False)
    assert (again["seconds"], again["trained_before"]) == (77, True)
    for changed, word in (
        ({"steps": 80}, "steps 16 (now 80)"),
        ({"second_steps": 6}, "second_steps 0 (now 6)"),
        ({"batch": 8}, "batch 4 (now 8)"),
        ({"scale": 1.0}, "um_per_px 42.333 (now 21.167)"),
    ):
        with pytest.raises(SystemExit) as stopped:
            parts.bccd.one_seed(0, Namespace(**{**asked, **changed}))
        assert word in str(stopped.value)
