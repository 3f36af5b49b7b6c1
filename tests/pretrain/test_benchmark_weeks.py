"""The benchmark of weeks labels as many scans as it was told to, and loses no week that was finished."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
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


def test_five_of_fourteen_scans_are_five(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = benchmark.Plan(2, 14, 5, 128, 2, RefreshPlan(minutes=1.0, steps=1, crops=16, memory=1))
    project = benchmark.SimulatedProject(tmp_path / "project", plan, 0)
    taken: list[list[str]] = []
    monkeypatch.setattr(project, "_take_in", lambda scanner_id, at, image: f"{scanner_id}_{at:%Y%m%d-%H%M%S}_00000000")
    monkeypatch.setattr(project, "_label", lambda week, tiles: taken.append([tile.scan_id for tile, _ in tiles]))
    project.add(1)
    assert [sum(name.startswith(scanner) for name in taken[0]) for scanner in ("S00", "S01")] == [5, 5]
    project.add(benchmark.GARBAGE)
    assert len(taken) == 1  # nobody labels garbage


@pytest.mark.parametrize(("scans", "labelled"), [(14, 5), (14, 7), (14, 14), (6, 2), (5, 9), (3, 1), (4, 0)])
def test_labelled_scans_are_spread_evenly(benchmark: Any, scans: int, labelled: int) -> None:
    chosen = sorted(benchmark.spread(scans, labelled))
    assert len(chosen) == min(scans, labelled) and all(0 <= number < scans for number in chosen)
    gaps = np.diff([*chosen, scans]) if chosen else np.zeros(1)
    assert gaps.max() - gaps.min() <= 1


def test_every_row_is_on_disk_before_the_next_is_begun(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed: list[int] = []

    class Project:
        def __init__(self, *_: Any) -> None: ...

        def add(self, week: int) -> None: ...

    def refresh(arm: Any, plan: Any, week: int, *_: Any) -> tuple[str, str]:
        refreshed.append(week)
        if len(refreshed) == 4:
            raise KeyboardInterrupt
        return "promoted", "better"

    monkeypatch.setattr(benchmark, "SimulatedProject", Project)
    monkeypatch.setattr(benchmark, "write_test", lambda *_: tmp_path)
    monkeypatch.setattr(benchmark, "one_refresh", refresh)
    monkeypatch.setattr(benchmark, "champions_worth", lambda *_: 0.5)
    rows: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        rows.extend(benchmark.weeks(Namespace(**{**vars(ARGUMENTS), "folder": tmp_path / "figures"})))
    (file,) = (tmp_path / "figures").glob("weeks-*.jsonl")
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["gated"], row["week"]) for row in kept] == [(True, 1), (True, 2), (False, 1)]
    refreshed.extend(range(9))
    assert len(list(benchmark.weeks(ARGUMENTS))) == 8
