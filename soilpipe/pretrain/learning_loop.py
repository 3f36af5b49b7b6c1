"""The loop of a pretraining: batches in, a trained branch out.

While one batch is learned the next is drawn. Steps and minutes are one budget: the step that counts for the learning
rate, the momentum and the end is the larger of the steps done and of the share of the minutes that is gone, in steps.
Either way the cosine comes down to its end. Where the minutes bind, the weights depend on the clock; where the steps
do, a training that was killed and taken up again ends with the same weights on a CPU.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_ as clip_gradients

from soilpipe.detect.checkpoint import Checkpoints, Curves
from soilpipe.detect.fitting import drawing_thread
from soilpipe.detect.learning import bf16_pays
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.stopping import Stopping
from soilpipe.pretrain.learning_batches import Batch, Batches
from soilpipe.pretrain.learning_memory import halve, make_room, settle
from soilpipe.pretrain.learning_recipe import NoNumbersError, PretrainError, PretrainRecipe
from soilpipe.pretrain.method import DenseCL
from soilpipe.pretrain.method_lightly import cosine_schedule, cosine_warmup_schedule
from soilpipe.pretrain.spread import Spread

log = logging.getLogger(__name__)

TELL_EVERY = 10  # steps: reading a loss waits for the device
LOOKED = ("standard deviation", "effective rank", "uniformity", "alignment")  # of a look, as in `curves.looks`
FIGURES = ("loss", "effective rank", "standard deviation", "alignment", "uniformity")
"""What is told, each as last measured."""
TRUNK = "query.trunk."  # before the names of its weights

Look = Callable[[], Spread]
Told = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Learned:
    """How it went. ended_by: `steps` or `minutes`. seconds: of the loop, with what a killed run had taken before.

    curves.losses: (step, of the whole, of the parts, sum); curves.looks: (step, standard deviation, effective rank,
    uniformity, alignment). crops: learned from, each time counted.
    """

    curves: Curves
    steps: int
    ended_by: str
    seconds: float
    crops: int


class Budget:
    """Steps and minutes as one."""

    def __init__(self, recipe: PretrainRecipe, elapsed: float) -> None:
        self.steps = recipe.steps
        self._seconds = None if recipe.minutes is None else 60 * recipe.minutes
        self._begin = time.monotonic() - elapsed

    def elapsed(self) -> float:
        """Seconds, with those before this run."""
        return time.monotonic() - self._begin

    def reached(self, step: int) -> int:
        """The step that counts, up to `steps`, at which it is over."""
        if self._seconds is None:
            return step
        return min(self.steps, max(step, int(self.elapsed() / self._seconds * self.steps)))


def learn(
    model: DenseCL,
    batches: Batches,
    recipe: PretrainRecipe,
    device: torch.device,
    *,
    warm: bool,
    settle_on: torch.Tensor | None = None,
    look: Look | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    progress: Told | None = None,
) -> Learned:
    """Train a model, which lies on `device`, in place.

    warm: its trunk begins from another encoder. settle_on: views on which its statistics settle after the first look.

    Out of memory, the batch is halved and the step is done again; where so few crops are left that no more can go,
    activations are computed again from then on. PretrainError when that does not help, NoNumbersError when loss or
    weights are no longer numbers, which are never kept; TrainingError where the checkpoint is damaged or of another
    training.
    """
    optimiser = _optimiser(model, recipe, device, warm)
    curves, nothing, never = Curves(), nn.Module(), Stopping(0, 0)
    checkpoints = checkpoints or Checkpoints(None, {})
    step = begin = checkpoints.resume(batches, model, nothing, optimiser, never, curves) if resume else 0
    if begin and not _is_finite(model):
        raise TrainingError("what is kept of the training is damaged: its weights are not numbers")
    model.query.recompute |= batches.recompute is not None
    budget = Budget(recipe, batches.elapsed)
    losses: tuple[torch.Tensor, ...] = ()
    figures = dict(zip(LOOKED, curves.looks[-1][1:], strict=True)) if curves.looks else {}
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device))

    def looked() -> bool:
        """Measure the spread where it is time for it."""
        due = len(curves.looks) / recipe.looks
        if look is None or (curves.looks and curves.looks[-1][0] == step) or budget.reached(step) < due * recipe.steps:
            return False
        _check(model, losses, step)
        seen = look()
        curves.looks.append((step, seen.std, seen.effective_rank, seen.uniformity, float(seen.alignment or 0.0)))
        figures.update(zip(LOOKED, curves.looks[-1][1:], strict=True))
        log.info("step %d: %s", step, ", ".join(f"{name} {figures[name]:.4g}" for name in LOOKED))
        return True

    def keep(drawing_state: dict[str, Any]) -> None:
        """Keep the training so far, if it is one that may be gone on with."""
        _check(model, losses, step)
        batches.elapsed = budget.elapsed()
        checkpoints.write(step, drawing_state | batches.kept(), model, nothing, optimiser, never, curves)

    looked()
    if settle_on is not None and not begin:
        settle(model, settle_on, batches.size, device)
    model.train()
    with drawing_thread(device) as drawing, _fastest_kernels():
        coming = drawing.submit(batches.draw) if budget.reached(step) < recipe.steps else None
        while coming is not None:
            batch, before = _next(coming, drawing, batches, step, device)
            if step > begin and checkpoints.is_due():
                keep(before)
            coming = drawing.submit(batches.draw) if step + 1 < recipe.steps else None
            reached = budget.reached(step)
            losses = _step_in_memory(model, batch, batches, optimiser, recipe, autocast, step, reached)
            step, batches.seen = step + 1, batches.seen + min(len(batch), batches.size)
            reached = budget.reached(step)
            tell = False
            if (step - 1) % TELL_EVERY == 0 or reached >= recipe.steps:
                curves.losses.append((step, *_read(losses, step)))
                figures["loss"], tell = curves.losses[-1][-1], True
            tell |= looked()
            if progress is not None and tell:
                progress(reached, recipe.steps, {name: figures[name] for name in FIGURES if name in figures})
            if reached >= recipe.steps and coming is not None:
                coming.cancel()
                coming = None
        if step > begin:
            keep(batches.state())
    ended_by = "steps" if step >= recipe.steps else "minutes"
    return Learned(curves, step, ended_by, batches.elapsed, batches.seen)


def _next(
    coming: Future[tuple[Batch, dict[str, Any]]],
    drawing: ThreadPoolExecutor,
    batches: Batches,
    step: int,
    device: torch.device,
) -> tuple[Batch, dict[str, Any]]:
    """The batch that was being drawn, or a smaller one where there was no memory for it."""
    while True:
        try:
            return coming.result()
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold what there was no room beside
        halve(batches, step, device)  # what is drawn has no activations to do without
        coming = drawing.submit(batches.draw)


def _step_in_memory(
    model: DenseCL,
    batch: Batch,
    batches: Batches,
    optimiser: torch.optim.Optimizer,
    recipe: PretrainRecipe,
    autocast: AbstractContextManager[None],
    step: int,
    reached: int,
) -> tuple[torch.Tensor, ...]:
    """One step with as much of the batch as the device has memory for."""
    while True:
        batch = batch.first(batches.size)
        height = recipe.rate(batches.size) * _share_of_rate(reached, recipe)
        for group in optimiser.param_groups:
            group["lr"] = height * group["share"]
        losses = _step(model, batch, optimiser, recipe, autocast)
        if losses is not None:
            model.follow(cosine_schedule(reached, recipe.steps + 1, recipe.momentum, 1.0))
            return losses
        make_room(model, batches, step, batch.views.device)


def _step(
    model: DenseCL,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    recipe: PretrainRecipe,
    autocast: AbstractContextManager[None],
) -> tuple[torch.Tensor, ...] | None:
    """The losses of one step; None where it ran out of memory. What it held is free only once this has returned."""
    optimiser.zero_grad(set_to_none=True)
    try:
        *losses, key_whole, key_parts = model(batch.views, batch.places, autocast)
        losses[-1].backward()
        clip_gradients(model.query.parameters(), recipe.clip)
        optimiser.step()
    except torch.OutOfMemoryError:
        optimiser.zero_grad(set_to_none=True)
        return None
    model.remember(key_whole, key_parts, batch.places)
    return tuple(loss.detach() for loss in losses)


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """A GPU tries its convolutions out and takes the fastest: all batches have one shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _share_of_rate(reached: int, recipe: PretrainRecipe) -> float:
    """Of its height, the learning rate at the step that counts: linear up, then half a cosine down to nothing."""
    warm_up = round(recipe.warm_up * recipe.steps)
    # One more than there are steps: the last one is to learn something as well.
    return cosine_warmup_schedule(reached, recipe.steps + 1, 1.0, 0.0, warm_up, 0.0)


def _optimiser(model: DenseCL, recipe: PretrainRecipe, device: torch.device, warm: bool) -> torch.optim.Optimizer:
    """AdamW; what is no matrix does not decay. `share`: of the learning rate, by group."""
    groups = []
    for of_trunk in (False, True):
        share = recipe.encoder_rate if of_trunk and warm else 1.0
        values = [
            value for name, value in model.query.named_parameters(prefix="query") if name.startswith(TRUNK) == of_trunk
        ]
        for decay, dims in ((recipe.weight_decay, True), (0.0, False)):
            groups.append(
                {"params": [v for v in values if (v.ndim > 1) == dims], "weight_decay": decay, "share": share}
            )
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=device.type == "cuda")


def _check(model: DenseCL, losses: tuple[torch.Tensor, ...], step: int) -> None:
    """PretrainError where the last losses, or the weights after them, are no longer numbers: a step may spoil the
    weights by a finite loss."""
    _read(losses, step)
    if not _is_finite(model):
        if step == 0:
            raise PretrainError("the weights that the training would begin from hold what are no numbers: name another")
        raise NoNumbersError(f"the weights are no longer numbers after step {step}. A lower learning_rate helps")


def _is_finite(model: DenseCL) -> bool:
    """Whether all weights that learn are numbers."""
    largest = torch.stack([value.detach().abs().max() for value in model.query.parameters()])
    return bool(torch.isfinite(largest).all())


def _read(losses: tuple[torch.Tensor, ...], step: int) -> list[float]:
    values = [float(loss) for loss in losses]
    if not all(math.isfinite(value) for value in values):
        raise NoNumbersError(f"the loss is no longer a number at step {step}. A lower learning_rate helps")
    return values
