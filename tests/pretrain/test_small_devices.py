"""Pretraining on a device with too little memory: fewer crops a step, and activations computed again."""

from __future__ import annotations

import json
import logging
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.encoder.encoder import Encoder
from soilpipe.pretrain import learning_batches
from soilpipe.pretrain.learning import PretrainError
from soilpipe.pretrain.method import DenseCL
from tests.pretrain.short_runs import RECIPE, KilledError, crops, every_step, kill_at, run, start
from tests.pretrain.some_crops import SomeCrops

__all__ = ["crops", "every_step", "start"]


def small_device(monkeypatch: pytest.MonkeyPatch, room: int, *, in_step: str = "forward") -> list[int]:
    """A device with memory for so many crops a step; the batches that were tried."""
    tried: list[int] = []
    held: list[weakref.ref[torch.Tensor]] = []
    forward = DenseCL.forward

    def limited(self: DenseCL, views: torch.Tensor, places: torch.Tensor, autocast: Any) -> Any:
        tried.append(len(places))
        assert not any(loss() is not None for loss in held), "what a failed step held is free before the next try"
        if in_step == "forward" and len(places) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        answer = forward(self, views, places, autocast)
        if len(places) > room:
            answer[2].register_hook(_fail)
            held.append(weakref.ref(answer[2]))
        return answer

    monkeypatch.setattr(DenseCL, "forward", limited)
    return tried


def _fail(_: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("in_step", ["forward", "backward"])
def test_out_of_memory_halves_the_batch_says_so_and_goes_on(
    crops: SomeCrops,
    start: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    in_step: str,
) -> None:
    monkeypatch.setattr(learning_batches, "SMALLEST_BATCH", 2)
    tried = small_device(monkeypatch, 5, in_step=in_step)
    with caplog.at_level(logging.WARNING):
        run(crops, tmp_path / "out", start, recipe=replace(RECIPE, batch=12))
    assert tried == [12, 6, 3] + [3] * 6
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["batch"] == 3 and card["halved"] == [{"step": 0, "batch": 6}, {"step": 0, "batch": 3}]
    assert card["steps"] == 7 and card["recipe"]["batch"] == 12
    assert "no memory for 12 crops a step: going on with 6" in caplog.text


def test_out_of_memory_while_views_are_made_halves_the_batch_as_well(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = learning_batches.apply

    def limited(pixels: torch.Tensor, views: Any, side: int) -> torch.Tensor:
        if 6 < len(pixels) != RECIPE.probe:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return apply(pixels, views, side)

    monkeypatch.setattr(learning_batches, "apply", limited)
    run(crops, tmp_path / "out", start, recipe=replace(RECIPE, batch=12))
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["batch"] == 6 and card["steps"] == 7


def test_a_device_too_small_for_any_batch_is_told(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_device(monkeypatch, 0)
    with pytest.raises(PretrainError, match=r"no memory even for 6 crops of 32 px a step, activations computed again"):
        run(crops, tmp_path / "out", start)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_below_four_crops_activations_are_computed_again_and_the_same_is_learned(
    crops: SomeCrops,
    start: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forward = DenseCL.forward

    def limited(self: DenseCL, views: torch.Tensor, places: torch.Tensor, autocast: Any) -> Any:
        if len(places) > 6 or not self.query.recompute:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, views, places, autocast)

    whole = run(crops, tmp_path / "whole", start)
    monkeypatch.setattr(DenseCL, "forward", limited)
    assert run(crops, tmp_path / "small", start) == whole  # of 6 crops, half are 3
    card = json.loads((tmp_path / "small" / "card.json").read_text())
    assert card["batch"] == 6 and card["halved"] == [] and card["recompute"] == 0
    assert json.loads((tmp_path / "whole" / "card.json").read_text())["recompute"] is None
    assert "no memory for 6 crops a step: their activations are computed again" in caplog.text
    work = tmp_path / "work"
    with pytest.raises(KilledError):
        run(crops, tmp_path / "again", start, work=work, progress=kill_at(3))
    caplog.clear()
    assert run(crops, tmp_path / "again", start, work=work, resume=True) == whole
    assert "no memory" not in caplog.text, "what was taken up knows it"


def test_looking_and_settling_do_with_less_memory_too(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settle = DenseCL.settle

    def limited(self: DenseCL, batches: Any) -> None:
        parts = list(batches)
        if max(map(len, parts)) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        settle(self, parts)

    monkeypatch.setattr(DenseCL, "settle", limited)
    run(crops, tmp_path / "out", start)
    assert "no memory for 6 views at once: looking at 3 at a time" in caplog.text
