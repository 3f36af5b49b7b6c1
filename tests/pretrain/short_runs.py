"""Pretraining of seven steps, for tests that need a whole run, and how to kill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect import checkpoint
from soilpipe.encoder.encoder import Encoder
from soilpipe.pretrain import learning_loop
from soilpipe.pretrain.learning import PretrainRecipe, pretrain
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
