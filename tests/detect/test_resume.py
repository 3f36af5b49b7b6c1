"""A training that was killed goes on where it was, and ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect import checkpoint
from soilpipe.detect.checkpoint import CHECKPOINT, steps_kept
from soilpipe.detect.training import Recipe, TrainingError, train_detector

Labelled = Callable[..., Path]
RECIPE = Recipe(steps=8, batch=2, crop=64, seed=3, check_every=3, scenes=0.5, muon=True)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is kept, instead of one a minute."""
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__kwdefaults__", {"every_s": 0.0})


@pytest.fixture
def path(labelled: Labelled) -> Path:
    def change(data: dict[str, Any]) -> None:
        data["annotations"][0].update(bbox=[2, 2, 210, 20])  # long: the coarse pass is trained as well

    return labelled(scanners={"A": 3, "B": 2}, change=change)


def train(path: Path, name: str, **given: Any) -> bytes:
    """The bytes of the weights."""
    given = {"recipe": RECIPE, "device": "cpu", **given}
    train_detector(path, path.parent, path.parent / name, **given)
    return (path.parent / name / "weights.safetensors").read_bytes()


def kill_at(last: int) -> Callable[..., None]:
    """A progress that ends the training after so many steps."""

    def told(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        if stage == "training" and done >= last:
            raise KilledError

    return told


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights_to_the_bit(path: Path) -> None:
    work = path.parent / "work"
    whole = train(path, "whole")
    with pytest.raises(KilledError):
        train(path, "killed", work=work, progress=kill_at(3))
    assert steps_kept(work) == 2  # told after step 3, before the third was kept
    with pytest.raises(KilledError):
        train(path, "killed", work=work, resume=True, progress=kill_at(6))
    assert steps_kept(work) == 5
    assert train(path, "killed", work=work, resume=True) == whole
    assert steps_kept(work) == 8
    again = train(path, "again", work=work, resume=True)  # killed after the last step: only the card was missing
    assert again == whole
    assert train(path, "other", recipe=replace(RECIPE, seed=4)) != whole


@pytest.mark.slow
def test_the_curves_of_a_resumed_training_are_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr("soilpipe.detect.training.plot_curves", lambda curves, parts, file: kept.append(curves))
    cards = [path.parent / name / "card.json" for name in ("whole", "killed")]
    train(path, "whole")
    with pytest.raises(KilledError):
        train(path, "killed", work=path.parent / "work", progress=kill_at(6))
    train(path, "killed", work=path.parent / "work", resume=True)
    assert kept[0] == kept[1] and [row[0] for row in kept[0].looks] == [3, 6, 8]
    whole, killed = (json.loads(card.read_text()) for card in cards)
    assert whole["scenes"] == killed["scenes"] and whole["scenes"]["crops"] > 0, "what was pasted is counted on"
    assert whole["share_of_crops"] == killed["share_of_crops"], "and what crops are of"
    assert whole["share_of_crops"]["artificial"] == whole["scenes"]["crops"] / 16


@pytest.mark.slow
def test_without_resume_it_begins_anew(path: Path) -> None:
    with pytest.raises(KilledError):
        train(path, "killed", work=path.parent / "work", progress=kill_at(6))
    steps: list[int] = []
    train(path, "anew", work=path.parent / "work", progress=lambda stage, done, *_: steps.append(done))
    assert 1 in steps


@pytest.mark.slow
def test_the_checkpoint_of_another_training_is_refused_with_what_differs(path: Path, labelled: Labelled) -> None:
    work = path.parent / "work"
    with pytest.raises(KilledError):
        train(path, "killed", work=work, progress=kill_at(6))
    with pytest.raises(TrainingError, match=r'recipe was .*"batch": 2.* now .*"batch": 4'):
        train(path, "killed", work=work, resume=True, recipe=replace(RECIPE, batch=4))
    labelled(scanners={"A": 3, "B": 2}, seed=1)
    with pytest.raises(TrainingError, match=r"training_samples was .* without --resume"):
        train(path, "killed", work=work, resume=True)


def test_a_checkpoint_fits_that_does_not_tell_what_its_release_did_not_know() -> None:
    theirs = {"recipe": {key: value for key, value in asdict(RECIPE).items() if key != "finest_share"}, "taxa": ["a"]}
    checkpoint._check_fits(theirs, {"recipe": asdict(RECIPE), "taxa": ["a"]}, Path("kept"))
    with pytest.raises(TrainingError, match="recipe was"):
        asked = asdict(replace(RECIPE, finest_share=0.2))
        checkpoint._check_fits(theirs, {"recipe": asked, "taxa": ["a"]}, Path("kept"))


@pytest.mark.parametrize("length", [7, *(pytest.param(length, marks=pytest.mark.slow) for length in (0, 500, -9))])
def test_a_truncated_checkpoint_is_told(path: Path, length: int) -> None:
    file = path.parent / "work" / CHECKPOINT
    with pytest.raises(KilledError):
        train(path, "killed", work=file.parent, progress=kill_at(6))
    file.write_bytes(file.read_bytes()[:length])
    assert steps_kept(file.parent) is None
    with pytest.raises(TrainingError, match=r"not a whole checkpoint .* Begin anew, without --resume"):
        train(path, "killed", work=file.parent, resume=True)


def test_a_pickle_in_its_place_is_never_opened(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (path.parent / "sprung",))

    (path.parent / "work").mkdir()
    torch.save({"step": Trap()}, path.parent / "work" / CHECKPOINT)
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        train(path, "killed", work=path.parent / "work", resume=True)
    assert not (path.parent / "sprung").exists()


@pytest.mark.slow
def test_a_process_killed_at_any_moment_can_be_taken_up(path: Path) -> None:
    """SIGKILL at three moments of a run that keeps every step; the last try is left alone."""
    recipe = replace(RECIPE, steps=40)
    whole = train(path, "whole", recipe=recipe)
    script = textwrap.dedent(
        f"""
        import torch
        from soilpipe.detect import checkpoint
        from soilpipe.detect.training import Recipe, train_detector
        torch.set_num_threads({torch.get_num_threads()})
        checkpoint.Checkpoints.__init__.__kwdefaults__["every_s"] = 0.0
        train_detector({str(path)!r}, {str(path.parent)!r}, "out", recipe={recipe!r}, device="cpu", work="work",
                       resume=True)
        """
    )
    command = [sys.executable, "-c", script]
    rng = np.random.default_rng(0)
    for _ in range(3):
        before = steps_kept(path.parent / "work") or 0
        process = subprocess.Popen(command, cwd=path.parent)
        while (steps_kept(path.parent / "work") or 0) <= before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.15)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=path.parent, check=True, timeout=250)
    assert (path.parent / "out" / "weights.safetensors").read_bytes() == whole
