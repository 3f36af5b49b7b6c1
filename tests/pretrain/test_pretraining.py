"""Pretraining as a whole: what it writes, what it learns, what it tells."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect.backbone_weights import load_backbone
from soilpipe.detect.sizes import make_network
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import load_encoder
from soilpipe.pretrain.learning import PretrainError, PretrainRecipe, crops_per_second, pretrain
from soilpipe.pretrain.learning_recipe import NoNumbersError
from tests.encoder.tiny_encoder import encoder_of, tiny_network
from tests.pretrain.short_runs import RECIPE, crops, every_step, run, start
from tests.pretrain.some_crops import SomeCrops

__all__ = ["crops", "every_step", "start"]


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


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    crops: SomeCrops, start: Encoder, tmp_path: Path
) -> None:
    first = run(crops, tmp_path / "a", start)
    assert run(crops, tmp_path / "b", start) == first
    assert run(crops, tmp_path / "c", start, recipe=replace(RECIPE, seed=4)) != first
    assert run(crops, tmp_path / "d", start, recipe=replace(RECIPE, recompute=True)) == first


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
