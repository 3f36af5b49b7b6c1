"""The best look at the validation images wins, and patience ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect import fitting, training
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.stopping import Stopping
from soilpipe.detect.training import train_detector

Labelled = Callable[..., Path]


def saw(stopping: Stopping, scores: list[float]) -> Stopping:
    for look, score in enumerate(scores, start=1):
        stopping.saw(10 * look, score, {"w": torch.full((1,), float(look))})
    return stopping


def test_the_earlier_of_the_best_looks_is_kept() -> None:
    stopping = saw(Stopping(10, 0), [0.2, 0.5, float("nan"), 0.5, 0.4])
    assert stopping.best_look == (20, 0.5) and stopping.best["w"].item() == 2
    assert not stopping.is_over and "step 20" in stopping.told()


def test_it_is_over_after_so_many_looks_without_a_better_one() -> None:
    assert not saw(Stopping(10, 3), [0.1, 0.5, 0.4, 0.5]).is_over
    assert saw(Stopping(10, 3), [0.1, 0.5, 0.4, 0.5, 0.3]).is_over
    assert not saw(Stopping(10, 3), [0.001, 0, 0, 0, 0]).is_over, "it has found nothing yet"


def test_looks_are_due_every_so_often_and_at_the_end() -> None:
    due = Stopping.of(Recipe(steps=25, check_every=10), judged=True)
    assert [step for step in range(1, 26) if due.is_due(step, 25)] == [10, 20, 25]
    assert not Stopping.of(Recipe(steps=25, check_every=10), judged=False).is_due(25, 25)
    assert not Stopping.of(Recipe(steps=25), judged=True).is_due(25, 25)


def test_what_a_recipe_cannot_mean_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"patience \(-1\)"):
        Recipe(patience=-1)
    with pytest.raises(TrainingError, match=r"scenes \(1\) is a share"):
        Recipe(scenes=1)


def scores_of(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, torch.Tensor]]:
    """Looks give these scores; what was looked at is kept."""
    seen: list[dict[str, torch.Tensor]] = []

    def look(card: Any, samples: Any, device: Any) -> fitting.Look:
        def see(network: torch.nn.Module, heads: Any) -> Mapping[str, float]:
            seen.append({name: value.clone() for name, value in network.state_dict().items()})
            return {"score": scores[len(seen) - 1], "AP50": 0.5}

        return see

    monkeypatch.setattr(training, "look_of", look)
    return seen


def test_training_stops_early_and_the_best_weights_are_those_that_are_saved(
    labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = labelled(scanners={"A": 2, "B": 1})
    seen = scores_of(monkeypatch, [0.1, 0.6, 0.3, 0.2])
    recipe = Recipe(steps=20, batch=2, crop=64, check_every=2, patience=2)
    told: list[Mapping[str, float]] = []
    fitted: list[fitting.Fitted] = []

    def fit(*given: Any, **more: Any) -> fitting.Fitted:
        fitted.append(fitting.fit(*given, **more))
        return fitted[0]

    monkeypatch.setattr(training, "fit", fit)
    card = train_detector(
        path, path.parent, path.parent / "out", recipe=recipe, device="cpu", difference=False,
        progress=lambda stage, done, of, figures: told.append({"done": done, **figures}),
    )  # fmt: skip
    assert card["steps"] == 8 and len(seen) == 4
    assert sum(fitted[0].crops.values()) == 8 * 2, "the batch that was drawn ahead was not learned from"
    assert "step 4" in card["kept"] and "stopped after 2 looks without a better one" in card["kept"]
    from soilpipe.detect.weights import load_detector

    for name, value in load_detector(path.parent / "out", device="cpu").network.state_dict().items():
        np.testing.assert_array_equal(value, seen[1][name], err_msg=name)
    assert told[-1]["done"] == 8 and told[-1]["score"] == 0.2, "looks are part of the progress"


def test_looking_changes_no_weight(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 2, "B": 1})
    recipe = Recipe(steps=6, batch=2, crop=64)
    seen = []
    for look_every in (0, 6):
        train_detector(path, path.parent, path.parent / "out", recipe=replace(recipe, check_every=look_every),
                       device="cpu", difference=False)  # fmt: skip
        seen.append((path.parent / "out" / "weights.safetensors").read_bytes())
    assert seen[0] == seen[1]


def test_without_validation_the_last_weights_are_kept(labelled: Labelled) -> None:
    path = labelled(images=2)
    card = train_detector(path, path.parent, path.parent / "out", device="cpu",
                          recipe=Recipe(steps=4, batch=2, crop=64, check_every=2, patience=1))  # fmt: skip
    assert card["steps"] == 4 and card["kept"].startswith("the last weights")
