"""The rival of the benchmark of speed runs as it would on a data set of its own: one long epoch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.torchvision_here import import_torchvision


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    import_torchvision()
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining_speed

    return pretraining_speed


def test_lightlys_loop_has_two_hundred_batches_an_epoch_of_the_same_crops(
    speed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    crops = speed.MadeCrops(5, 64, 0)
    asked: list[tuple[int, int]] = []

    def loader(pictures: Any, *, batch_size: int, drop_last: bool, **more: Any) -> list[Any]:
        asked.append((len(pictures), batch_size))
        assert drop_last
        assert pictures[1003][0].shape == (3, 32, 32)  # behind the last of the five crops it begins anew
        views = torch.stack([pictures[row][0] for row in range(batch_size)])
        return [(views, views)] * (len(pictures) // batch_size)

    monkeypatch.setattr(torch.utils.data, "DataLoader", loader)
    assert speed.lightly_images_per_second(crops, "resnet18", 2, 32, "cpu", 1) > 0
    assert asked == [(400, 2)]
