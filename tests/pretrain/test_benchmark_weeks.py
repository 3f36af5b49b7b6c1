"""The benchmark of weeks labels as many scans as it was told to, and loses no week that was finished."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from soilpipe.config import RefreshPlan

ARGUMENTS = Namespace(
    scanners=2, scans=14, labelled=5, side=128, animals=2, minutes=1.0, steps=1, crops=16, weeks=2, seeds=2,
    only_seeds=None, device="cpu", folder=None,
)  # fmt: skip


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining_weeks

    return pretraining_weeks


@pytest.fixture
def project_part(benchmark: Any) -> Any:
    import pretraining_weeks_project

    return pretraining_weeks_project


def test_five_of_fourteen_scans_are_five(project_part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = project_part.Plan(2, 14, 5, 128, 2, RefreshPlan(minutes=1.0, steps=1, crops=16, memory=1))
    project = project_part.SimulatedProject(tmp_path / "project", plan, 0)
    taken: list[list[str]] = []
    monkeypatch.setattr(project, "_take_in", lambda scanner_id, at, image: f"{scanner_id}_{at:%Y%m%d-%H%M%S}_00000000")
    monkeypatch.setattr(project, "_label", lambda week, tiles: taken.append([tile.scan_id for tile, _ in tiles]))
    project.add(1)
    assert [sum(name.startswith(scanner) for name in taken[0]) for scanner in ("S00", "S01")] == [5, 5]
    project.add(project_part.GARBAGE)
    assert len(taken) == 1  # nobody labels garbage


@pytest.mark.parametrize(("scans", "labelled"), [(14, 5), (14, 7), (14, 14), (6, 2), (5, 9), (3, 1), (4, 0)])
def test_labelled_scans_are_spread_evenly(project_part: Any, scans: int, labelled: int) -> None:
    chosen = sorted(project_part.spread(scans, labelled))
    assert len(chosen) == min(scans, labelled) and all(0 <= number < scans for number in chosen)
    gaps = np.diff([*chosen, scans]) if chosen else np.zeros(1)
    assert gaps.max() - gaps.min() <= 1


class Refreshes:
    """Stands for the work of an arm: counts the weeks that were run, and is cut off before the fourth."""

    def __init__(self, benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run: list[tuple[bool, int]] = []
        self.cut_off_at = 4
        monkeypatch.setattr(benchmark, "SimulatedProject", lambda *_: SimpleNamespace(add=lambda week: None))
        monkeypatch.setattr(benchmark, "write_test", lambda folder, *_: folder)
        monkeypatch.setattr(benchmark, "one_refresh", self)
        monkeypatch.setattr(benchmark, "champions_worth", lambda *_: 0.5)

    def __call__(self, arm: Any, plan: Any, week: int, gated: bool, *_: Any) -> tuple[str, str]:
        self.run.append((gated, week))
        if len(self.run) == self.cut_off_at:
            raise KeyboardInterrupt
        return "promoted", "better"


def test_every_row_is_on_disk_before_the_next_is_begun_and_a_finished_arm_is_not_run_again(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshes = Refreshes(benchmark, monkeypatch)
    kept = tmp_path / "figures"
    given = Namespace(**{**vars(ARGUMENTS), "folder": kept})
    with pytest.raises(KeyboardInterrupt):
        list(benchmark.weeks(given))
    assert refreshes.run == [(True, 1), (True, 2), (False, 1), (False, 2)]
    lines = [json.loads(line) for file in sorted(kept.glob("weeks-0-*.jsonl")) for line in file.open()]
    assert [(row["gated"], row["week"]) for row in lines] == [(True, 1), (True, 2), (False, 1)]
    refreshes.cut_off_at = 0
    refreshes.run.clear()
    rows = list(benchmark.weeks(given))
    assert refreshes.run == [(False, 1), (False, 2), *[(gated, week) for gated in (True, False) for week in (1, 2)]]
    assert [(r["seed"], r["gated"], r["week"]) for r in rows] == [
        (seed, gated, week) for seed in (0, 1) for gated in (True, False) for week in (1, 2)
    ]
    assert list(benchmark.weeks(given)) == rows and len(refreshes.run) == 6
    assert list(benchmark.weeks(ARGUMENTS)) == rows and len(refreshes.run) == 14  # without a folder nothing is kept
    with pytest.raises(SystemExit, match=r"labelled 5 \(now 7\)"):
        list(benchmark.weeks(Namespace(**{**vars(given), "labelled": 7})))
