"""The script that makes the shipped detector runs from nothing to a detector that loads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.weights import SHIPPED, load_detector

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "make_shipped_detector.py"


@pytest.mark.slow
def test_two_phases_make_a_detector_that_loads(tmp_path: Path) -> None:
    size = ["--seasons", "2", "--val-seasons", "1", "--scans", "4", "--size", "512", "--workers", "2"]
    crowd = ["--crowd", "900", "--val-crowd", "600", "--steps", "4", "--batch", "4", "--crop", "128", "--device", "cpu"]
    for phase in ("simulate", "train"):
        subprocess.run(
            [sys.executable, str(SCRIPT), phase, "--folder", "seasons", "--out", "out", *size, *crowd],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=280,
        )
    labels = json.loads((tmp_path / "seasons" / "labels.json").read_text())
    assert labels["info"]["simulated"] and len(labels["images"]) == 12
    assert len({annotation["id"] for annotation in labels["annotations"]}) == len(labels["annotations"])
    info = load_detector(tmp_path / "out", device="cpu").info
    assert info.validation == "simulated" and set(info.taxa) <= {"Collembola", "Acari", "Diplura", "Protura",
        "Formicidae", "Coleoptera", "Diptera", "Symphyla", "Pauropoda", "Diplopoda", "Chilopoda", "Isopoda",
        "Pseudoscorpiones", "Araneae", "Enchytraeidae", "Lumbricidae", "Nematoda", "Gastropoda"}  # fmt: skip
    assert json.loads((tmp_path / "out" / "card.json").read_text())["licence"] == "Apache-2.0"


class Here:
    """A pool that does the work in this process."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, work: Any, jobs: Iterable[Any]) -> Iterable[Any]:
        return map(work, jobs)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(SCRIPT.parent), *sys.path])
    import make_shipped_detector
    import shipped_seasons

    monkeypatch.setattr(shipped_seasons, "ProcessPoolExecutor", Here)
    return make_shipped_detector


@pytest.fixture
def seasons(script: Any) -> Any:
    import shipped_seasons

    return shipped_seasons


def simulated(script: Any, arguments: Namespace) -> None:
    script.simulate(arguments, script.arguments_of(["simulate"]))


def asked(script: Any, folder: Path, *words: str) -> Namespace:
    small = ["--seasons", "1", "--val-seasons", "0", "--scans", "1", "--size", "128"]
    return script.arguments_of(["simulate", "--folder", str(folder), *small, *words])  # type: ignore[no-any-return]


def test_seasons_of_other_settings_are_not_taken_for_those_asked_for(script: Any, tmp_path: Path) -> None:
    folder = tmp_path / "seasons"
    simulated(script, asked(script, folder))
    truth = folder / "T0000" / "truth.json"
    made = truth.stat().st_mtime_ns
    for words, told in (
        (("--crowd", "900"), "crowd 200.0 (now 900.0)"),
        (("--val-crowd", "9"), "val_crowd 40.0 (now 9.0)"),
        (("--size", "192"), "size 128 (now 192)"),
        (("--scans", "2"), "scans 1 (now 2)"),
        (("--seed", "7"), "seed 2 (now 7)"),
        (("--generator", "both"), "generator loam (now both)"),
    ):
        with pytest.raises(SystemExit) as stopped:
            simulated(script, asked(script, folder, *words))
        assert told in str(stopped.value) and str(folder) in str(stopped.value)
        assert "another --folder" in str(stopped.value)
    simulated(script, asked(script, folder, "--seasons", "2"))  # how many there are may grow
    assert truth.stat().st_mtime_ns == made and (folder / "T0001" / "truth.json").exists()


def test_seasons_may_be_of_one_kind_of_soil_of_many_or_of_both(script: Any, seasons: Any, tmp_path: Path) -> None:
    def generators(*words: str) -> list[str]:
        asked_for = script.arguments_of(["simulate", "--seasons", "3", "--val-seasons", "2", *words])
        return [spec.generator for spec in seasons.season_specs(asked_for)]

    assert generators() == ["loam"] * 5
    assert generators("--generator", "both") == ["loam", "varied", "loam", "loam", "loam"]
    assert generators("--generator", "varied", "--val-generator", "both") == ["varied"] * 3 + ["loam", "varied"]
    folder = tmp_path / "seasons"
    simulated(script, asked(script, folder))
    before = json.loads((folder / "settings.json").read_text())
    older = {name: value for name, value in before.items() if "generator" not in name}  # as earlier releases wrote it
    (folder / "settings.json").write_text(json.dumps(older))
    simulated(script, asked(script, folder))
    with pytest.raises(SystemExit, match="generator loam"):
        simulated(script, asked(script, folder, "--generator", "varied"))


def test_large_seasons_are_trained_on_and_have_twice_the_side(script: Any, seasons: Any) -> None:
    def specs(*words: str) -> list[Any]:
        return seasons.season_specs(script.arguments_of(["simulate", "--seasons", "2", "--val-seasons", "1", *words]))  # type: ignore[no-any-return]

    more = specs("--large-seasons", "2")
    sides = {spec.scanner_id: (spec.height_px, spec.width_px) for spec in more}
    small, large = (1024, 1024), (2048, 2048)
    assert sides == {"T0000": small, "T0001": small, "L0000": large, "L0001": large, "V0000": small}
    assert [spec for spec in more if spec.scanner_id[0] != "L"] == specs()
    assert [seasons.is_validation(spec.scanner_id) for spec in more] == [False] * 4 + [True]


def test_the_detector_that_ships_sees_no_peat(
    script: Any, seasons: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the command line says of the seasons: what counts is what the folder holds."""
    folder = tmp_path / "seasons"
    simulated(script, asked(script, folder, "--val-generator", "peat"))
    before = SHIPPED.joinpath("card.json").read_bytes()
    for phase in ("train", "second", "judge"):
        monkeypatch.setattr(sys, "argv", ["make", phase, "--folder", str(folder)])
        with pytest.raises(SystemExit, match="seasons of peat, on which what ships is tested"):
            script.main()
    assert SHIPPED.joinpath("card.json").read_bytes() == before
    assert seasons.are_of_peat(folder)


def test_seasons_without_settings_are_of_the_defaults_and_none_at_all_may_be_begun_anew(
    script: Any, seasons: Any, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    (before / "T0000").mkdir(parents=True)
    (before / "T0000" / "truth.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"scans 12 \(now 1\), size 1024 \(now 128\)"):
        simulated(script, asked(script, before))
    defaults = script.arguments_of(["simulate"])
    settings = {name: getattr(defaults, name) for name in seasons.OF_SEASONS}
    seasons.check_seasons(before, settings, settings)
    assert json.loads((before / "settings.json").read_text()) == settings
    empty = tmp_path / "empty"
    seasons.check_seasons(empty, settings, settings)
    seasons.check_seasons(empty, settings | {"scans": 3}, settings)  # nothing was made before it was stopped
    assert json.loads((empty / "settings.json").read_text())["scans"] == 3


@pytest.mark.slow
def test_a_third_phase_judges_it_anew_and_leaves_the_weights(script: Any, tmp_path: Path) -> None:
    """On more validation seasons than it was trained beside; the middle pass is chosen on them, not on others."""
    words = ["--folder", str(tmp_path / "seasons"), "--scans", "4", "--size", "512", "--crowd", "900", "--val-crowd"]
    words += ["600", "--seasons", "0", "--workers", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    foreign = {"middle_mm": [0.1, 0.2], "middle_tolerance": 9.0}
    shutil.copytree(SHIPPED, tmp_path / "out")
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    (tmp_path / "out" / "card.json").write_text(json.dumps({**card, "threshold": 0.99, **foreign}))
    for seasons in ("1", "2"):
        for phase, work in (("simulate", partial(simulated, script)), ("judge", script.judge_anew)):
            work(script.arguments_of([phase, *words, "--val-seasons", seasons]))
        judged = json.loads((tmp_path / "out" / "card.json").read_text())
        assert judged["figures"]["images"] == 4 * int(seasons)
        assert judged["figures"]["split"].startswith(f"{seasons} simulated scanners, V0000 to V000{int(seasons) - 1}")
        assert judged["threshold"] < 0.99 and judged.get("middle_mm") in (None, [2.29, 4.91])
        assert judged.get("middle_tolerance") in (None, 1.55)
    for flags, finest in ((["--finest"], 0.45), ([], 0.45), (["--no-finest"], None)):  # without either: as it is
        script.judge_anew(script.arguments_of(["judge", *words, *flags]))
        judged = json.loads((tmp_path / "out" / "card.json").read_text())
        assert judged.get("finest_mm") == finest and judged["figures"]["images"] == 8
    with pytest.raises(SystemExit, match="no validation season with animals"):
        labels = json.loads((tmp_path / "seasons" / "labels.json").read_text())
        (tmp_path / "seasons" / "labels.json").write_text(json.dumps({**labels, "annotations": []}))
        script.judge_anew(script.arguments_of(["judge", *words]))
    assert json.loads((tmp_path / "out" / "card.json").read_text()) == judged, "it was left as it is"
    same = set(card) - {
        "coarse_raised",
        "middle_mm",
        "middle_tolerance",
        "threshold",
        "threshold_best_f1",
        "thresholds",
        "figures",
        "threshold_from",
        "shortest_found_mm",
        "not_good_for",
    }
    assert {key: judged[key] for key in same} == {key: card[key] for key in same}
    weights = "weights.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (SHIPPED / weights).read_bytes()


@pytest.mark.slow
def test_a_second_stage_is_made_of_the_training_seasons_in_place_of_the_one_before(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SCANNERS_AT_ONCE", 1)
    words = ["--folder", str(tmp_path / "seasons"), "--scans", "4", "--size", "512", "--crowd", "900", "--val-crowd"]
    words += ["600", "--seasons", "2", "--val-seasons", "1", "--workers", "1", "--device", "cpu"]
    simulated(script, script.arguments_of(["simulate", *words]))
    written = []
    for out in ("one", "other"):
        shutil.copytree(SHIPPED, tmp_path / out)
        for _ in range(2):  # the second of them is given one that has a second stage already
            asked = ["second", *words, "--out", str(tmp_path / out), "--second-steps", "2"]
            script.train_second_stage(script.arguments_of(asked))
            written.append((tmp_path / out / "weights.safetensors").read_bytes())
    assert len(set(written)) == 1
    card = json.loads((tmp_path / "one" / "card.json").read_text())
    learned = card["second_stage"]["trained_on"]
    assert card["second_stage"]["from"] == script.CANDIDATES_FROM and card["second_stage"]["recipe"]["steps"] == 2
    assert learned["images"] == 8 and 20 < learned["on_animals"] < learned["candidates"]
    now, before = (load_detector(folder, device="cpu").network.state_dict() for folder in (tmp_path / "one", SHIPPED))
    assert all(np.array_equal(now[name], values) for name, values in before.items() if not name.startswith("second."))
    assert any(name.startswith("second.") for name in now)
