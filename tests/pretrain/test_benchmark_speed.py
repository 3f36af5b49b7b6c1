"""The benchmark of speed times both loops alike: in turn, with nothing drawn before the clock starts."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from soilpipe.detect.torchvision_here import import_torchvision


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    import_torchvision()
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining_speed

    return pretraining_speed


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "warm_up"), [(0, 3), (5, 5)])
def test_lightlys_loop_draws_what_it_learns_from_while_the_clock_runs(
    speed: Any, monkeypatch: pytest.MonkeyPatch, workers: int, warm_up: int
) -> None:
    import torch

    crops = speed.MadeCrops(5, 64, 0)
    now = [0.0]
    drawn: list[tuple[float, int]] = []
    load = torch.utils.data.DataLoader

    class Loader:
        def __init__(self, pictures: Any, *, sampler: Any, num_workers: int, **more: Any) -> None:
            assert num_workers == workers and ("persistent_workers" in more) == bool(workers)
            more = {key: value for key, value in more.items() if key in ("batch_size", "drop_last")}
            self._loader = load(pictures, sampler=sampler, **more)

        def __iter__(self) -> Iterator[Any]:
            drawn.append((now[0], 0))
            for views in self._loader:
                now[0] += 1  # a batch takes a second
                drawn[-1] = (drawn[-1][0], drawn[-1][1] + 1)
                yield views

    monkeypatch.setattr(torch.utils.data, "DataLoader", Loader)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert speed.lightly_images_per_second(crops, "resnet18", 2, 32, "cpu", 4, workers) == 2.0
    assert drawn == [(0, warm_up), (warm_up, 4)]


def test_an_epoch_has_each_crop_about_as_often(speed: Any) -> None:
    epoch = speed.Epoch(5)
    epoch.images = 13
    rows = list(epoch)
    assert len(epoch) == len(rows) == 13 and {rows.count(row) for row in range(5)} == {2, 3}


def test_loops_are_timed_in_turn_and_the_faster_of_lightlys_is_compared_with(
    speed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    rates = {"0": [10.0, 11.0, 30.0], "8": [4.0, 5.0, 40.0], "ours": [20.0, 22.0, 30.0]}

    def rate(name: str) -> float:
        ran.append(name)
        return rates[name][ran.count(name) - 1]

    def lightlys(crops: Any, size: str, batch: int, side: int, device: str, steps: int, workers: int) -> float:
        assert steps == 32  # four a loader process, where fewer are asked for
        return rate(str(workers))

    monkeypatch.setattr(speed, "os", SimpleNamespace(cpu_count=lambda: 8))
    monkeypatch.setattr(speed, "MadeCrops", lambda *_: None)
    monkeypatch.setattr(speed, "lightly_images_per_second", lightlys)
    monkeypatch.setattr(speed, "crops_per_second", lambda crops, *, steps, **_: rate("ours"))
    asked = Namespace(device="cpu", batch=4, crop_side=64, speed_steps=3, sizes=["resnet18"])
    figures = speed.speed(asked)
    assert ran == ["0", "8", "ours", "ours", "8", "0", "0", "8", "ours"]
    assert (figures["lightly resnet18"], figures["ours resnet18"], figures["ratio resnet18"]) == (11, 22, 2)
    told = capsys.readouterr().out
    assert "ours resnet18 over lightly resnet18, 0 loader processes: 2.00 (1.00-2.00)" in told
    assert "22.0 (20.0-30.0) images/s" in told
    ran.clear()
    assert "ratio medium" not in speed.speed(Namespace(**{**vars(asked), "sizes": ["medium"]})) and len(ran) == 3
