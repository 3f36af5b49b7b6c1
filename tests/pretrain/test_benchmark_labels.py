"""The benchmark of labels compares like with like: one scale, the same seconds, scanners that nobody learned from."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.detect.weights import SHIPPED, load_detector

ARGUMENTS = Namespace(
    size="medium",
    device="cpu",
    batch=8,
    seeds=2,
    only_seeds=None,
    shares=[0.5],
    detector_steps=100,
    seasons=1,
    season_scans=2,
    season_side=256,
    crops_a_scan=3,
    window=64,
    timed=1,
    judge_on="test",
    posterise=0.0,
    uncounted=False,
    stickypi=None,
)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining_data
    import pretraining_labels

    return pretraining_data, pretraining_labels


def test_seasons_and_scanners_are_others_for_each_seed_and_nobody_learns_from_those_that_judge(
    parts: tuple[Any, Any], tmp_path: Path
) -> None:
    data_parts, _ = parts
    specs = [data_parts.season_specs(seed, ARGUMENTS) for seed in range(3)]
    assert (
        len({spec.seed for each in specs for spec in each}) == len({s.scanner_id for each in specs for s in each}) == 15
    )
    data = data_parts.data_of(1, tmp_path, ARGUMENTS)
    assert (tmp_path / "seed-1" / "peat01-000" / "truth.json").exists()
    assert len(data.test) == len(data.validation) == 2 and not data.test & data.validation
    assert {name.split("/")[0] for name in data.training_names()} == {"peat01-000"}
    crops = data_parts.ScanCrops(data, 64, 3, 0)
    assert set(crops.scanner.tolist()) == {"peat01-000"} and crops.pixels(np.array([0])).shape == (1, 7, 64, 64)
    assert len(crops) == 6  # 256 px at 1200 dpi are 128 at the scale of the encoder: four windows, three of each scan
    judging = data.judges("validation")
    assert not any(judging(SimpleNamespace(scanner_id=name)) for name in data.test)


def test_sticky_pis_devices_are_dealt_by_the_seed(parts: tuple[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "stickypi" / "images").mkdir(parents=True)
    for number in range(22):
        cv2.imwrite(str(tmp_path / "stickypi" / "images" / f"{number}.jpg"), np.zeros((9, 9, 3), np.uint8))
    images = [
        {"id": n, "file_name": f"{n}.jpg", "width": 9, "height": 9, "device": f"d{n % 7}", "labelled": n < 14}
        for n in range(22)
    ]
    labels = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "Insecta"}]}
    (tmp_path / "stickypi" / "annotations.json").write_text(json.dumps(labels))
    dealt = [parts[0].sticky_pi(tmp_path, tmp_path / f"{seed}", seed) for seed in range(5)]
    assert len({data.test for data in dealt}) > 1
    for data in dealt:
        assert (len(data.test), len(data.validation)) == (2, 1) and not data.test & data.validation
        assert len(data.training_names()) == 8


def test_all_arms_stand_at_the_scale_of_the_shipped_encoder_and_pay_for_pretraining(
    parts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, labels = parts
    shipped = load_detector(SHIPPED, device="cpu").info.um_per_px
    trained: dict[str, tuple[Path | None, int, float]] = {}
    posterised: list[float] = []
    begun: dict[str, Any] = {}

    def pretrain(crops: Any, out: Path, *, start: Any, um_per_px: float, recipe: Any, **more: Any) -> None:
        posterised.append(recipe.posterise)
        begun[out.name] = (None if start is None else start.info.version, um_per_px, recipe.steps)
        out.mkdir(parents=True)
        (out / "card.json").write_text("{}")

    def train(
        labels: Any, images: Any, out: Path, *, um_per_px: float, recipe: Any, backbone: Any, **more: Any
    ) -> None:
        trained[out.name] = (backbone, recipe.steps, um_per_px)
        out.mkdir()
        (out / "card.json").write_text("{}")

    data = SimpleNamespace(
        labels=tmp_path, images=tmp_path, test=frozenset("t"), validation=frozenset("v"),
        training_names=lambda: ["a", "b", "c"], judges=lambda on: lambda image: image == on,
    )  # fmt: skip
    monkeypatch.setattr(labels, "data_of", lambda seed, folder, arguments: data)
    monkeypatch.setattr(labels, "ScanCrops", lambda *given: [0] * 8)
    monkeypatch.setattr(labels, "measure", lambda *given: labels.Seconds(detector=0.3, pretraining=0.1))
    monkeypatch.setattr(labels, "pretrain", pretrain)
    monkeypatch.setattr(labels, "train_detector", train)
    monkeypatch.setattr(labels, "load_detector", lambda *given, **more: None)
    found = SimpleNamespace(any_taxon=SimpleNamespace(ap50=0.5))
    monkeypatch.setattr(labels, "evaluate_detector", lambda *given, where: found if where("test") else None)
    monkeypatch.setattr(labels, "load_encoder", lambda folder, device: f"{folder.name} alone")
    of_package = labels.encoder_of_detector(SHIPPED, "cpu")
    monkeypatch.setattr(
        labels, "encoder_of_detector", lambda source, device: of_package if source == SHIPPED else source.name
    )
    embedded: dict[str, list[Any]] = {}

    def worth(data: Any, names: Any, where: Any, encoder: Any, folder: Path) -> Any:
        embedded.setdefault(str(sorted(names)), []).append(encoder)
        return labels.Worth(None if encoder is None else 0.25, 3, 40, 2)

    monkeypatch.setattr(labels, "_classifiers_worth", worth)
    given = Namespace(**{**vars(ARGUMENTS), "only_seeds": [4]})
    rows = list(labels.labels(given, tmp_path / "kept"))
    assert [row["arm"] for row in rows] == ["scratch", "pretrained", "supervised", "supervised+pretrained"]
    ((_, used),) = embedded.items()
    assert used == [
        *(None, "scratch-4-0.5"),
        *("pretrained-4 alone", "pretrained-4-0.5"),
        *(of_package, "supervised-4-0.5"),
        *("supervised+pretrained-4 alone", "supervised+pretrained-4-0.5"),
    ]
    assert [(row["macro_f1_of_start"], row["macro_f1_of_detector"]) for row in rows] == [(None, 0.25)] + 3 * [
        (0.25, 0.25)
    ]
    assert {(row["classes"], row["crops_judged"], row["crops_left_out"]) for row in rows} == {(3, 40, 2)}
    warm = load_detector(SHIPPED, device="cpu").info.version
    steps = 150  # of 0.1 s, for 50 of 0.3 s
    assert begun == {
        "pretrained-4": (None, shipped, steps),
        "supervised+pretrained-4": (f"detector:{warm}", shipped, steps),
    }
    kept = tmp_path / "kept"
    assert trained == {
        "scratch-4-0.5": (None, 100, shipped),
        "pretrained-4-0.5": (kept / "pretrained-4", 50, shipped),
        "supervised-4-0.5": (SHIPPED, 100, shipped),
        "supervised+pretrained-4-0.5": (kept / "supervised+pretrained-4", 50, shipped),
    }
    assert {row["pretraining_steps"] for row in rows} == {steps}
    trained.clear(), begun.clear(), embedded.clear()
    assert list(labels.labels(given, kept)) == rows and not trained and not begun  # it goes on, and does nothing twice
    earlier = kept / "pretrained-4-0.5-test.json"
    earlier.write_text(json.dumps({"macro_f1": 0.9}))  # of another encoder, as an earlier release judged it
    assert list(labels.labels(given, kept)) == rows and not trained and sum(map(len, embedded.values())) == 2
    assert posterised == [0.0, 0.0]
    trained.clear()
    more = list(labels.labels(Namespace(**{**vars(given), "uncounted": True}), kept))
    assert more[:4] == rows and [row["arm"] for row in more[4:]] == [
        "pretrained-uncounted",
        "supervised+pretrained-uncounted",
    ]
    assert [row["macro_f1_of_start"] for row in more[4:]] == [None, None]
    assert trained == {
        "pretrained-uncounted-4-0.5": (kept / "pretrained-4", 100, shipped),
        "supervised+pretrained-uncounted-4-0.5": (kept / "supervised+pretrained-4", 100, shipped),
    }
    share = Namespace(**{**vars(given), "posterise": 0.25})
    with pytest.raises(SystemExit, match=r"posterise 0.0 \(now 0.25\)"):
        list(labels.labels(share, kept))
    rows = list(labels.labels(share, tmp_path / "posterised"))
    assert posterised[2:] == [0.25, 0.25] and {row["posterise"] for row in rows} == {0.25}
    settings = json.loads((kept / "settings.json").read_text())
    without = {name: value for name, value in settings.items() if name != "posterise"}
    (kept / "settings.json").write_text(json.dumps(without))  # as an earlier release wrote them
    assert list(labels.labels(given, kept))
    del without["clock"]
    (kept / "settings.json").write_text(json.dumps(without))
    with pytest.raises(SystemExit, match=r"clock wall \(now cores\)"):  # steps that the wall clock had dealt
        list(labels.labels(given, kept))
    (kept / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SystemExit, match="detector_steps 100"):
        list(labels.labels(Namespace(**{**vars(given), "detector_steps": 200}), kept))


def test_a_steps_seconds_are_those_of_the_cores_without_what_comes_before_training(
    parts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the images takes long, and somebody else is at work on the machine: neither decides who gets how many."""
    _, labels = parts
    spent = 0.0

    def train(*given: Any, progress: Any, recipe: Any, **more: Any) -> None:
        nonlocal spent
        spent += 30
        progress("images", 1, 1, {})
        for step in range(1, recipe.steps + 1):
            spent += 0.25
            if step in (1, recipe.steps):
                progress("training", step, recipe.steps, {})
        spent += 30

    def rate(*given: Any, clock: Any, **more: Any) -> float:
        return 16 if clock() == spent else 1

    monkeypatch.setitem(labels.CLOCKS, "cores", lambda: spent)
    monkeypatch.setattr(labels, "train_detector", train)
    monkeypatch.setattr(labels, "crops_per_second", rate)
    data = SimpleNamespace(labels=tmp_path, images=tmp_path, training_names=lambda: ["a"])
    seconds = labels.measure(data, [0], tmp_path, Namespace(**{**vars(ARGUMENTS), "timed": 4}))
    assert seconds == labels.Seconds(detector=0.25, pretraining=0.5)
    monkeypatch.setattr(labels, "train_detector", None)
    assert labels.measure(data, [0], tmp_path, ARGUMENTS) == seconds  # what was measured in a folder stands
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seconds.json"]


def test_two_that_measure_at_once_go_by_the_same_seconds(
    parts: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, labels = parts

    def train(*given: Any, progress: Any, recipe: Any, **more: Any) -> None:
        progress("training", 1, recipe.steps, {})
        progress("training", recipe.steps, recipe.steps, {})
        (tmp_path / "seconds.json").write_text(json.dumps({"detector": 7.0, "pretraining": 5.0}))  # the other was first

    monkeypatch.setattr(labels, "train_detector", train)
    monkeypatch.setattr(labels, "crops_per_second", lambda *given, **more: 1.0)
    data = SimpleNamespace(labels=tmp_path, images=tmp_path, training_names=lambda: ["a"])
    assert labels.measure(data, [0], tmp_path, ARGUMENTS) == labels.Seconds(7.0, 5.0)


def test_the_report_says_how_many_images_and_classes_stand_behind_a_share(
    parts: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Sticky-Pi's ten per cent are two images of six or of eleven, and few labels make few classes."""
    row = {"judged_on": "test", "ap50": 0.5, "macro_f1_of_detector": 0.4, "macro_f1_of_start": None}
    rows = [
        {**row, "seed": seed, "share": share, "arm": "scratch", "images": images, "classes": classes}
        for seed, share, images, classes in ((0, 0.1, 2, 9), (1, 0.1, 2, 13), (0, 1.0, 6, 22), (1, 1.0, 11, 22))
    ]
    parts[1].report(rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["of", "the", "labels", "10%:", "2", "images", "100%:", "6", "to", "11", "images"]
    assert [line.split() for line in lines if line.startswith("classes")] == [["classes", "9", "to", "13", "22"]] * 2
    assert sum(line.startswith("scratch") for line in lines) == 3 and lines[2].split() == [
        "scratch",
        *2 * ["0.500", "(0.000)"],
    ]
