"""How pretraining ends and goes on: killed, out of minutes, or with weights that are no numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect import checkpoint
from soilpipe.detect.checkpoint import CHECKPOINT, steps_kept
from soilpipe.encoder.encoder import Encoder
from soilpipe.pretrain import learning_loop
from soilpipe.pretrain.learning import PretrainCheckpointError, PretrainRecipe
from soilpipe.pretrain.learning_recipe import NoNumbersError
from soilpipe.pretrain.method import DenseCL
from tests.pretrain.short_runs import RECIPE, KilledError, crops, every_step, kill_at, run, start
from tests.pretrain.some_crops import SomeCrops

__all__ = ["crops", "every_step", "start"]


def test_a_killed_run_ends_with_the_same_weights_to_the_bit(crops: SomeCrops, start: Encoder, tmp_path: Path) -> None:
    work = tmp_path / "work"
    whole = run(crops, tmp_path / "whole", start)
    with pytest.raises(KilledError):
        run(crops, tmp_path / "killed", start, work=work, progress=kill_at(3))
    assert steps_kept(work) == 2 and not (tmp_path / "killed").exists()
    with pytest.raises(KilledError):
        run(crops, tmp_path / "killed", start, work=work, resume=True, progress=kill_at(6))
    assert steps_kept(work) == 5
    assert run(crops, tmp_path / "killed", start, work=work, resume=True) == whole
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("whole", "killed")]
    for key in ("loss", "spread", "steps", "ended_by", "trained_on"):
        assert cards[0][key] == cards[1][key], key
    assert steps_kept(work) == 7
    assert run(crops, tmp_path / "again", start, work=work, resume=True) == whole, "killed before the card was written"
    again = json.loads((tmp_path / "again" / "card.json").read_text())
    assert again["seconds"] == cards[1]["seconds"] and again["crops_per_second"] == cards[1]["crops_per_second"]


def test_what_is_kept_of_another_run_or_damaged_is_refused(crops: SomeCrops, start: Encoder, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with pytest.raises(KilledError):
        run(crops, tmp_path / "out", start, work=work, progress=kill_at(3))
    with pytest.raises(PretrainCheckpointError, match=r"recipe was .* now .* without --resume"):
        run(crops, tmp_path / "out", start, work=work, resume=True, recipe=replace(RECIPE, batch=4))
    with pytest.raises(PretrainCheckpointError, match="crops was"):
        run(SomeCrops(26, 13, 64), tmp_path / "out", start, work=work, resume=True)
    whole = (work / CHECKPOINT).read_bytes()
    for length in (0, 7, 500, -9):
        (work / CHECKPOINT).write_bytes(whole[:length])
        with pytest.raises(PretrainCheckpointError, match="not a whole checkpoint"):
            run(crops, tmp_path / "out", start, work=work, resume=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", ["loss", "weights"])
def test_what_is_no_longer_a_number_is_never_kept(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    monkeypatch.setattr(learning_loop, "TELL_EVERY", 100)  # no loss is read for a hundred steps
    step, count = learning_loop._step, [0]

    def spoiling(model: DenseCL, *given: Any) -> Any:
        losses = step(model, *given)
        count[0] += 1
        if count[0] == 4 and spoilt == "loss":
            return tuple(loss * math.nan for loss in losses)
        if count[0] == 4:
            next(model.query.parameters()).data[:] = math.inf
        return losses

    monkeypatch.setattr(learning_loop, "_step", spoiling)
    with pytest.raises(NoNumbersError, match=f"{spoilt} (is|are) no longer"):
        run(crops, tmp_path / "out", start, work=tmp_path / "work")
    assert steps_kept(tmp_path / "work") == 3 and not (tmp_path / "out").exists()
    monkeypatch.setattr(learning_loop, "_step", step)
    resumed = run(crops, tmp_path / "out", start, work=tmp_path / "work", resume=True)
    assert resumed == run(crops, tmp_path / "whole", start)


def test_a_checkpoint_whose_weights_are_no_numbers_is_not_taken_up(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an earlier release has kept."""
    work = tmp_path / "work"
    with pytest.raises(KilledError):
        run(crops, tmp_path / "out", start, work=work, progress=kill_at(3))
    resume = checkpoint.Checkpoints.resume

    def spoilt(self: checkpoint.Checkpoints, batches: Any, model: DenseCL, *given: Any) -> int:
        step = resume(self, batches, model, *given)
        next(model.query.parameters()).data[:] = math.nan
        return step

    monkeypatch.setattr(checkpoint.Checkpoints, "resume", spoilt)
    with pytest.raises(PretrainCheckpointError, match="its weights are not numbers"):
        run(crops, tmp_path / "out", start, work=work, resume=True)


class Clock:
    """A clock that goes on by so many seconds each time a step is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
        self.now, self.rates = 1000.0, []
        remember = DenseCL.remember

        def passing(model: DenseCL, *given: Any) -> None:
            self.now += step_s
            remember(model, *given)

        share = learning_loop._share_of_rate

        def seen(reached: int, recipe: PretrainRecipe) -> float:
            self.rates.append(share(reached, recipe))
            return self.rates[-1]

        monkeypatch.setattr(DenseCL, "remember", passing)
        monkeypatch.setattr(learning_loop.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(learning_loop, "_share_of_rate", seen)


def test_minutes_end_a_run_and_the_learning_rate_comes_down_all_the_same(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, step_s=6.0)
    run(crops, tmp_path / "out", start, recipe=replace(RECIPE, steps=1000, minutes=1.0))
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["ended_by"] == "minutes" and card["steps"] == 10 == len(clock.rates)
    assert max(clock.rates) > 0.9 and clock.rates[-1] < 0.1 and sorted(clock.rates[2:], reverse=True) == clock.rates[2:]
    assert card["seconds"] == 60.0 and card["spread"]["after"]["step"] == 10


@pytest.mark.slow
def test_minutes_that_suffice_change_nothing(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(crops, tmp_path / "whole", start)
    Clock(monkeypatch, step_s=6.0)
    assert run(crops, tmp_path / "timed", start, recipe=replace(RECIPE, minutes=1.0)) == whole


def test_the_minutes_of_a_killed_run_count(
    crops: SomeCrops, start: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, step_s=6.0)
    recipe = replace(RECIPE, steps=1000, minutes=1.0)
    with pytest.raises(KilledError):
        run(crops, tmp_path / "out", start, recipe=recipe, work=tmp_path / "work", progress=kill_at(600))
    clock.now += 10_000  # between the runs
    run(crops, tmp_path / "out", start, recipe=recipe, work=tmp_path / "work", resume=True)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["steps"] == 10 and card["seconds"] == 60.0
