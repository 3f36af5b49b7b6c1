"""A training on disk, so that one that was killed goes on where it was: one file, written whole or not at all.

It holds what the next step depends on and nothing else: weights, their moving average, the optimiser, the states of
both random generators, the best weights so far and the curves. The drawing thread is one batch ahead, so the state of
its generator is the one before that batch: the batch is drawn again. On a CPU with as many threads a training that was
taken up again ends with the same weights, to the bit.

It is a safetensors file with JSON beside the tensors: nothing in it can run code.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from soilpipe.atomic import sync_folder
from soilpipe.detect.dataset import Sample
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.stopping import Stopping
from soilpipe.locks import HeldError, only_one
from soilpipe.user_cache import cache_folder

CHECKPOINT = "checkpoint.safetensors"
LOCK = "training.lock"
EVERY_S = 60.0
FORMAT = 1

Row = tuple[float, ...]
"""Of a curve: the step (from 1), then values."""


@dataclass
class Curves:
    """What is drawn beside the card: losses (step, parts, sum) and looks at validation images (step, values)."""

    losses: list[Row] = field(default_factory=list)
    looks: list[Row] = field(default_factory=list)


@dataclass
class Drawing:
    """What the next batch depends on: the generator that everything is drawn from; and what was pasted so far, which
    the card tells."""

    rng: np.random.Generator
    pasted: Counter[str] = field(default_factory=Counter)

    def state(self) -> dict[str, Any]:
        """JSON-able, as of now."""
        return {"rng": copy.deepcopy(dict(self.rng.bit_generator.state)), "pasted": dict(self.pasted)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.rng.bit_generator.state = state["rng"]
        self.pasted.clear()
        self.pasted.update(state["pasted"])


class Checkpoints:
    """Where a training is kept while it runs.

    `folder`: made when absent; None: nothing is kept. `fits`: what the training is of, JSON-able: a checkpoint of
    another is refused. `every_s`: seconds between two of them.
    """

    def __init__(self, folder: Path | str | None, fits: Mapping[str, Any], *, every_s: float = EVERY_S) -> None:
        self._path = None if folder is None else Path(folder) / CHECKPOINT
        self._fits = json.loads(json.dumps(fits))
        self._every = every_s
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last one is old enough."""
        return self._path is not None and time.monotonic() - self._last >= self._every

    def write(
        self,
        step: int,
        drawing: Mapping[str, Any],
        network: nn.Module,
        averaged: nn.Module,
        optimiser: torch.optim.Optimizer,
        stopping: Stopping,
        curves: Curves,
    ) -> None:
        """Keep a training after `step` steps; `drawing`: its state before the next batch."""
        if self._path is None:
            return
        tensors = {
            **_named("network", network.state_dict()),
            **_named("averaged", averaged.state_dict()),
            **_named("best", stopping.best),
            "torch": torch.get_rng_state(),
        }
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= _named(f"optimiser.{index}", state)
        if torch.cuda.is_available():
            tensors["cuda"] = torch.cuda.get_rng_state()
        told = {
            "format": FORMAT,
            "fits": self._fits,
            "step": step,
            "drawing": drawing,
            "looks": stopping.looks,
            "curves": {"losses": curves.losses, "looks": curves.looks},
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f"{uuid.uuid4().hex}.unfinished")
        try:
            save_file(
                {
                    name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                    for name, value in tensors.items()
                },
                unfinished,
                metadata={"training": json.dumps(told)},
            )
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(self._path)
            sync_folder(self._path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
        self._last = time.monotonic()

    def resume(
        self,
        drawing: Drawing,
        network: nn.Module,
        averaged: nn.Module,
        optimiser: torch.optim.Optimizer,
        stopping: Stopping,
        curves: Curves,
    ) -> int:
        """Put everything back as it was; the steps done, 0 where nothing is kept.

        TrainingError when the checkpoint is damaged or of another training, with what differs.
        """
        if self._path is None or not self._path.is_file():
            return 0
        told = read_told(self._path)
        _check_fits(told["fits"], self._fits, self._path)
        try:
            with safe_open(self._path, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            network.load_state_dict(_below("network", tensors))
            averaged.load_state_dict(_below("averaged", tensors))
            _fill_optimiser(optimiser, tensors)
            torch.set_rng_state(tensors["torch"])
            if "cuda" in tensors and torch.cuda.is_available():
                torch.cuda.set_rng_state(tensors["cuda"])
            drawing.restore(told["drawing"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(self._path, error) from error
        stopping.best = _below("best", tensors)
        stopping.looks = [(int(step), float(score)) for step, score in told["looks"]]
        curves.losses[:] = [tuple(row) for row in told["curves"]["losses"]]
        curves.looks[:] = [tuple(row) for row in told["curves"]["looks"]]
        return int(told["step"])


def work_folder(root: str, name: str) -> Path:
    """Where the training of a detector of this name for the store at `root` is kept: a folder of the user's cache."""
    return cache_folder("training") / hashlib.sha256(f"{root}\n{name}".encode()).hexdigest()[:12]


@contextlib.contextmanager
def alone_at_work(folder: Path) -> Iterator[None]:
    """Hold a training's folder, from before it is looked into until it is forgotten. TrainingError where another
    process does: the two would take each other's checkpoint and write over each other's samples."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(only_one(folder / LOCK))
        except HeldError as error:
            raise TrainingError(
                f"a training of this name is running (process {error.process}); give another --name, or wait for it"
            ) from None
        yield


def forget(folder: Path) -> None:
    """Remove the checkpoint of a training that is done. The lock stays: another process may hold it by then."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def steps_kept(folder: Path | str) -> int | None:
    """After how many steps the training kept in a folder was; None where there is none that can be read."""
    try:
        return int(read_told(Path(folder) / CHECKPOINT)["step"])
    except TrainingError:
        return None


def read_told(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint. TrainingError when it is not a whole one."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            told = json.loads((file.metadata() or {})["training"])
        if told["format"] != FORMAT:
            raise TrainingError(f"{path}: of another release of soilpipe; begin anew, without --resume")
        if not {"fits", "step", "drawing", "looks", "curves"} <= set(told):
            raise KeyError("training")
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error
    return dict(told)


def fingerprint(samples: Sequence[Sample]) -> str:
    """16 hex digits over pixels and labels of samples, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for sample in samples:
        image = sample.image
        digest.update(f"{image.file_name} {sample.um_per_px} {sample.references}".encode())
        for values in (image.boxes, image.labels, image.crowd, *(part.pixels for part in sample.passes.values())):
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _check_fits(theirs: Any, ours: Mapping[str, Any], path: Path) -> None:
    if isinstance(theirs.get("recipe"), dict):  # what its release did not know was as it is by default
        unknown = ours["recipe"].keys() - theirs["recipe"].keys()
        defaults = {key: value for key, value in asdict(Recipe()).items() if key in unknown}
        theirs = {**theirs, "recipe": {**defaults, **theirs["recipe"]}}
    if theirs == ours:
        return
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    told = "; ".join(f"{key} was {_short(theirs.get(key))}, now {_short(ours.get(key))}" for key in keys)
    raise TrainingError(
        f"{path}: the interrupted training was another one ({told}). Give the same options and labels, or begin anew, "
        "without --resume"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path}: not a whole checkpoint ({error}). Begin anew, without --resume")


def _named(group: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{group}/{name}": torch.as_tensor(value) for name, value in tensors.items()}


def _below(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{group}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _fill_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Its state, laid out in memory as the parameters are, so that every later step computes the very same way."""
    given = optimiser.state_dict()
    parameters = [value for group in optimiser.param_groups for value in group["params"]]
    given["state"] = {
        index: {
            name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape and value.ndim else value
            for name, value in state.items()
        }
        for index, parameter in enumerate(parameters)
        if (state := _below(f"optimiser.{index}", tensors))
    }
    optimiser.load_state_dict(given)
