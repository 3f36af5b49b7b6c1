"""The benchmark of the classifier judges what the product does, on background as a detector brings it."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.examples import BACKGROUND
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.tuning import Tuning
from soilpipe.detect.coco import read_labels
from soilpipe.taxonomy import SOIL
from tests.classify.drawn_labels import draw_labels, tiny_encoder
from tests.classify.made_crops import made_crops


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import classifier

    return classifier


@pytest.fixture
def made(benchmark: Any) -> Any:
    """What makes the benchmark's crops."""
    import classifier_crops

    return classifier_crops


def test_both_arms_are_judged_the_products_own_way_and_with_scanners_kept_apart(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"Oribatida": 8, "Symphyla": 6, BACKGROUND: 8}
    crops = benchmark.Crops(
        made_crops(counts, ("A", "B"), as_it_comes=False),
        made_crops(counts, ("C", "D"), seed=1),
        made_crops(counts, ("J", "K"), seed=2),
    )
    asked: list[Any] = []
    fit = benchmark.fit_classifier

    def noted(examples: Any, **given: Any) -> Any:
        asked.append(given.get("calibrate"))
        return fit(examples, **given)

    monkeypatch.setattr(benchmark, "fit_classifier", noted)
    rows = {arm: benchmark.judged(crops, 0.1, arm) for arm in ("product", "calibrate")}
    assert asked == [None, ["C", "D"]] and list(rows) == ["product", "calibrate"]
    assert all(row["crops judged"] == len(crops.judge) and row["macro-F1"] > 0.7 for row in rows.values())
    trunk = replace(crops, trunk_dim=2).of_trunk()
    assert trunk.judge.embeddings.shape == (len(crops.judge), 2) and trunk.judge.taxa == crops.judge.taxa
    np.testing.assert_allclose(np.linalg.norm(trunk.judge.embeddings, axis=1), 1, rtol=1e-5)
    table = benchmark.table([rows["product"]], 0.1)
    assert "coverage of sets" in table and "0.90 ± 0.02" in table


@pytest.mark.slow
def test_the_tuned_arm_judges_by_the_encoder_that_the_final_classifier_stands_on(
    benchmark: Any, made: Any, tmp_path: Path
) -> None:
    labels = draw_labels(tmp_path / "labels", {"Acari": 3, "Collembola": 3}, scanners=("A", "B"), scans=2)
    encoder = tiny_encoder(tmp_path / "encoder")
    of_worker, keep = CropPixels(tmp_path / "worker"), CropPixels(tmp_path / "all")
    crops = labelled_crops(read_labels(labels, labels.parent), encoder, taxonomy=SOIL, keep=of_worker)
    kept = [made.kept_with(keep, crops, of_worker) for _ in range(3)]
    assert kept[2].rows.tolist() == list(range(2 * len(crops), 3 * len(crops)))
    tuner = made.Tuner(encoder, keep, Tuning(steps=2, batch=4))
    seed = benchmark.Crops(*kept, tuner=tuner)
    assert benchmark.judged(seed, 0.1, "tuned")["classes"] == 3
    classifier, judge = benchmark.fitted(seed, benchmark.joined(kept[:2], 24), 0.1, "tuned")
    assert np.array_equal(judge.embeddings, classifier.examples.embeddings[: len(crops)])
    assert not np.array_equal(judge.embeddings, crops.embeddings)


def test_what_a_detector_invents_is_background_and_what_it_finds_is_not(made: Any, tmp_path: Path) -> None:
    labels = draw_labels(tmp_path, {"Acari": 1}, scanners=("A",), scans=2)
    given = read_labels(labels, tmp_path)
    animals = [image.boxes[0] for image in given.images]
    invented = np.array([150.0, 150, 170, 170], np.float32)

    class Finds:
        def detect(self, scan: Any, references: Any, registrations: Any) -> Any:
            return SimpleNamespace(boxes=np.stack([*animals, invented]))

    found = made.alarms_of(Finds(), given)
    assert set(found) == {image.file_name for image in given.images}
    for image in given.images:
        assert invented.tolist() in found[image.file_name].tolist()
        assert image.boxes[0].tolist() not in found[image.file_name].tolist()


def test_a_folder_of_seasons_is_for_one_crowd_size_and_number_of_scans(
    benchmark: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BegunError(Exception):
        """The seasons may be used, or made."""

    def begin(*_: object) -> None:
        raise BegunError

    monkeypatch.setattr(benchmark, "crops_of_seed", begin)

    def check(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["classifier.py", "--folder", str(tmp_path), *words])
        with contextlib.suppress(BegunError):
            benchmark.main()

    def make(folder: str) -> None:
        (tmp_path / folder / "peat-learn-000").mkdir(parents=True)
        (tmp_path / folder / "peat-learn-000" / "truth.json").write_text("{}")

    check("--seeds", "0", "--scans", "4")
    for kind in made.KINDS:
        make(f"seed-0/{kind}")
    check("--seeds", "0", "--scans", "4", "--seasons", "3", "--learn-from", "loam")  # others beside those
    for words, told in (
        (("--scans", "5"), "scans 4 (now 5)"),
        (("--scans", "4", "--size", "640"), "size 800 (now 640)"),
        (("--scans", "4", "--crowd", "50"), "crowd 200.0 (now 50.0)"),
        (("--scans", "4", "--field-crowd", "50"), "crowd 120.0 (now 50.0)"),
    ):
        with pytest.raises(SystemExit) as stopped:
            check("--seeds", "1", "0", *words)
        assert told in str(stopped.value) and "another --folder" in str(stopped.value)
    make("seed-2/judge")  # of a release that kept no settings
    check("--seeds", "2")
    with pytest.raises(SystemExit, match=r"scans 8 \(now 4\)"):
        check("--seeds", "2", "--scans", "4")
