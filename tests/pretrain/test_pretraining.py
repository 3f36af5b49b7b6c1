"""Pretraining as a whole: what it writes, how it ends, and what it does when it is killed or out of memory."""

from __future__ import annotations

import json
import logging
import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect import checkpoint
from soilpipe.detect.backbone_weights import load_backbone
from soilpipe.detect.checkpoint import CHECKPOINT, steps_kept
from soilpipe.detect.sizes import make_network
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import load_encoder
from soilpipe.pretrain import learning_batches, learning_loop
from soilpipe.pretrain.learning import (
    PretrainCheckpointError,
    PretrainError,
    PretrainRecipe,
    crops_per_second,
    pretrain,
)
from soilpipe.pretrain.learning_recipe import NoNumbersError
from soilpipe.pretrain.method import DenseCL
from tests.encoder.tiny_encoder import encoder_of, tiny_network
from tests.pretrain.some_crops import SomeCrops

RECIPE = PretrainRecipe(steps=7, batch=6, side=32, queue=32, looks=2, probe=6, seed=3)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is kept, and each loss told, instead of one a minute and one in ten."""
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__kwdefaults__", {"every_s": 0.0})
    monkeypatch.setattr(learning_loop, "TELL_EVERY", 1)


@pytest.fixture(scope="module")
def crops() -> SomeCrops:
    return SomeCrops(side=64)


@pytest.fixture(scope="module")
def start() -> Encoder:
    return encoder_of(tiny_network())


def run(crops: SomeCrops, out: Path, start: Encoder | None, **given: Any) -> bytes:
    """The bytes of the weights."""
    pretrain(crops, out, **{"start": start, "recipe": RECIPE, "device": "cpu", **given})
    return (out / "weights.safetensors").read_bytes()


def kill_at(last: int) -> Callable[..., None]:
    def told(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        if done >= last:
            raise KilledError

    return told


def test_it_writes_an_encoder_that_a_detector_can_begin_from(crops: SomeCrops, tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    card = pretrain(
        crops,
        tmp_path / "new",
        name="week 12",
        size="small",
        recipe=RECIPE,
        um_per_px=42.3,
        told={"manifest_hash": "abc"},
        device="cpu",
        progress=lambda *words: told.append(words),
    )
    encoder = load_encoder(tmp_path / "new", device="cpu")
    assert encoder.info.name == "week 12" and encoder.info.size == "small" and encoder.info.um_per_px == 42.3
    assert card == encoder.card == json.loads((tmp_path / "new" / "card.json").read_text())
    assert card["manifest_hash"] == "abc" and card["start"] is None and card["difference"]
    assert card["trained_on"] == {"crops": 24, "new": 12, "scanners": 3, "places": 12}
    assert card["steps"] == 7 and card["ended_by"] == "steps" and card["batch"] == 6 and card["halved"] == []
    assert card["spread"]["before"]["step"] == 0 and card["spread"]["after"]["step"] == 7
    assert set(card["spread"]["after"]) == {"step", "std", "effective_rank", "uniformity", "alignment"}
    assert 1 <= card["spread"]["after"]["effective_rank"] <= 5 and card["crops_per_second"] > 0
    assert "lightly" in card["method"] and card["recipe"]["posterise"] == 0
    assert (tmp_path / "new" / "pretraining.png").stat().st_size > 10_000
    assert [words[1] for words in told] == list(range(1, 8)) and {words[2] for words in told} == {7}
    assert all(words[0] == "pretraining" and math.isfinite(words[3]["loss"]) for words in told)
    load_backbone(make_network("small", 4), tmp_path / "new")


def test_it_changes_the_encoder_it_begins_from_and_not_the_one_it_was_given(
    crops: SomeCrops, start: Encoder, tmp_path: Path
) -> None:
    pixels = crops.pixels(np.arange(4))
    before = start.embed(pixels)
    run(crops, tmp_path / "new", start)
    after = load_encoder(tmp_path / "new", device="cpu")
    assert np.array_equal(start.embed(pixels), before)
    changed = (after.network().stem.conv.weight - start.network().stem.conv.weight).abs().max()
    assert 0 < changed < 7 * RECIPE.learning_rate, "by a quarter of the rate a step: it is begun from, not begun anew"
    assert not np.array_equal(after.embed(pixels), before)
    assert (
        after.card["start"] == {"name": "tiny", "version": "unsaved"} and after.info.um_per_px == start.info.um_per_px
    )


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    crops: SomeCrops, start: Encoder, tmp_path: Path
) -> None:
    first = run(crops, tmp_path / "a", start)
    assert run(crops, tmp_path / "b", start) == first
    assert run(crops, tmp_path / "c", start, recipe=replace(RECIPE, seed=4)) != first
    assert run(crops, tmp_path / "d", start, recipe=replace(RECIPE, recompute=True)) == first


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


def test_loss_and_all_four_figures_of_the_spread_are_told_and_logged(
    crops: SomeCrops, start: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Mapping[str, float]] = []
    with caplog.at_level(logging.INFO, logger="soilpipe"):
        run(crops, tmp_path / "out", start, progress=lambda stage, done, of, figures: told.append(figures))
    names = ["loss", "effective rank", "standard deviation", "alignment", "uniformity"]
    assert all(list(figures) == names for figures in told)
    after = json.loads((tmp_path / "out" / "card.json").read_text())["spread"]["after"]
    assert told[-1]["effective rank"] == after["effective_rank"] and told[-1]["alignment"] == after["alignment"]
    assert "step 7: standard deviation" in caplog.text and "uniformity" in caplog.text


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


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_run_learns_something(crops: SomeCrops, start: Encoder, tmp_path: Path, steps: int) -> None:
    run(crops, tmp_path / "out", start, recipe=replace(RECIPE, steps=steps))
    after = load_encoder(tmp_path / "out", device="cpu").network().state_dict()
    assert any(not torch.equal(value, after[name]) for name, value in start.network().named_parameters())


def test_nothing_to_learn_from_is_told(crops: SomeCrops, start: Encoder, tmp_path: Path) -> None:
    for none, told in (
        (SomeCrops(0), "no crops to pretrain on. Take in scans first"),
        (SomeCrops(5, places=1), "all 5 crops are of one place"),
        (SomeCrops(8, side=16), "smaller than 32 px"),
    ):
        with pytest.raises(PretrainError, match=told):
            pretrain(none, tmp_path / "out", start=start, recipe=replace(RECIPE, side=None), device="cpu")
    with pytest.raises(PretrainError, match=r"tiny \(unsaved\), is of no size and not medium"):
        run(crops, tmp_path / "out", start, size="medium")


def test_crops_without_any_difference_make_an_encoder_that_is_shown_none(start: Encoder, tmp_path: Path) -> None:
    run(SomeCrops(12, 6, 64, valid=False), tmp_path / "out", start)
    assert not load_encoder(tmp_path / "out", device="cpu").info.uses_difference


def test_weights_to_begin_from_that_are_no_numbers_are_told(crops: SomeCrops, tmp_path: Path) -> None:
    network = tiny_network()
    network.stem.conv.weight.data[:] = float("nan")
    with pytest.raises(PretrainError, match="begin from hold what are no numbers"):
        run(crops, tmp_path / "out", encoder_of(network))
    assert not (tmp_path / "out").exists()


def test_weights_or_a_loss_that_become_no_numbers_are_told(crops: SomeCrops, start: Encoder, tmp_path: Path) -> None:
    with pytest.raises(NoNumbersError, match=r"no longer (a number at|numbers after) step [1-7]\. A lower"):
        run(crops, tmp_path / "out", start, recipe=replace(RECIPE, learning_rate=1e38))
    assert not (tmp_path / "out").exists()


def test_the_loss_falls_and_the_vectors_do_not_collapse(tmp_path: Path) -> None:
    """From nothing, on views that are easy to match: 60 steps are few."""
    crops = SomeCrops(48, places=24, side=64)
    easy = {"area": (0.6, 1.0), "light": 0.0, "learning_rate": 5e-3}
    recipe = PretrainRecipe(steps=60, batch=12, side=32, queue=48, looks=1, probe=48, seed=1, **easy)
    card = pretrain(crops, tmp_path / "out", size="small", recipe=recipe, device="cpu")
    assert card["loss"]["from_step"] == 5, "before, the queue was not yet full of crops"
    assert (
        card["loss"]["last"] < 0.9 * card["loss"]["first"] and card["loss"]["last"] < 0.9 * card["loss"]["of_a_guess"]
    )
    before, after = card["spread"]["before"], card["spread"]["after"]
    assert after["effective_rank"] > max(15, before["effective_rank"]) and after["std"] > max(0.5, before["std"])
    assert after["uniformity"] < before["uniformity"]


def test_speed_is_told_as_crops_a_second(crops: SomeCrops) -> None:
    speed = crops_per_second(crops, size="small", recipe=RECIPE, device="cpu", steps=2, warm_up=1)
    assert 0 < speed < 1e5
