"""The training loop: samples in, a network out.

Each step sees crops of both passes in one batch. Muon and AdamW with warm-up and a cosine, gradients clipped; the
exponential moving average of the weights is what is judged and kept. The same seed gives the same weights on a CPU, and
so does a training that was killed and taken up again.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_ as clip_gradients

from soilpipe.detect import losses
from soilpipe.detect.averaging import average
from soilpipe.detect.checkpoint import Checkpoints, Curves, Drawing
from soilpipe.detect.crops import CROPS, CropSampler
from soilpipe.detect.dataset import Sample
from soilpipe.detect.learning import Batch, Learner
from soilpipe.detect.light import Lighting, change_light
from soilpipe.detect.network import HEADS, Head
from soilpipe.detect.optimiser import MuonAdamW
from soilpipe.detect.passes import COARSE, FINEST_PX, HEAD_OF, PassName
from soilpipe.detect.recipe import Recipe, TrainingError
from soilpipe.detect.scenes import Scenes
from soilpipe.detect.stopping import Stopping

__all__ = ["Fitted", "Recipe", "TrainingError", "fit", "size_ranges"]

TELL_EVERY = 25  # steps
SHORT_PX = 4 * FINEST_PX  # longest side of what crops of the finest pass are centred on: up to twice its own animals
OF_ENCODER = ("encoder.", "stem.", "down.")  # before the names of weights for which `Recipe.encoder_rate` is
FIRST, LAST = "stem.", ".out.weight"  # names of convolutions from pixels and to answers, which Muon is not for


@dataclass(frozen=True)
class Fitted:
    """The trained network (eval mode, CPU), the passes it is good for, and how it went.

    steps: those done, fewer than the recipe's when it stopped early. kept: which weights these are, in words.
    parts: what the columns of `curves.losses` are, between the step and the sum. crops: how many it learned from, by
    what they are of (`crops.CROPS`).
    """

    network: nn.Module
    heads: tuple[Head, ...]
    curves: Curves
    parts: tuple[str, ...]
    steps: int
    kept: str
    crops: Mapping[str, int]


Told = Callable[[int, int, Mapping[str, float]], None]
Look = Callable[[nn.Module, tuple[Head, ...]], Mapping[str, float]]
"""Judges a network on validation images: figures for people, and among them `score`, by which the best is kept."""


def size_ranges(
    um_per_px: float, border_mm: float, tolerance: float, passes: Sequence[Head] = HEADS
) -> dict[Head, losses.SizeRange]:
    """Which animals each of the `passes` owns, in px of that pass: shorter than the border, or not; the fine pass all
    of them where it is the only one."""
    if "coarse" not in passes:
        return {"fine": losses.SizeRange(0.0, math.inf, tolerance)}
    border = 1000 * border_mm / um_per_px
    return {
        "fine": losses.SizeRange(0.0, border, tolerance),
        "coarse": losses.SizeRange(border / COARSE, math.inf, tolerance),
    }


def fit(
    samples: Sequence[Sample],
    learner: Learner,
    um_per_px: float,
    recipe: Recipe,
    *,
    border_mm: float,
    tolerance: float,
    device: torch.device,
    passes: Sequence[Head] = HEADS,
    scenes: Scenes | None = None,
    lighting: Lighting = change_light,
    look: Look | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    progress: Told | None = None,
) -> Fitted:
    """Train a learner's network on samples. Without a coarse pass, or any animal for it, the fine one owns all sizes.

    `scenes`: of which their share of the crops is made. `lighting`: what changes the light of the crops. `look`: None
    where there is nothing to look at. TrainingError when the loss is no longer a number, and where the checkpoint to
    resume from is damaged or of another training.
    """
    rng = np.random.default_rng(recipe.seed)
    sizes = size_ranges(um_per_px, border_mm, tolerance, passes)
    tally: Counter[str] = Counter() if scenes is None else scenes.tally
    samplers: dict[PassName, CropSampler] = {}
    shown = [sample for sample in samples if "finest" in sample.passes] if recipe.finest_share else []
    names: list[PassName] = [*passes, "finest"] if shown else [*passes]
    for name in names:
        size = sizes[HEAD_OF[name]]
        most = min(size.most, SHORT_PX) if name == "finest" else size.most
        samplers[name] = CropSampler(
            shown if name == "finest" else samples,
            name,
            crop=recipe.crop,
            length_range=(size.least, most),
            centred=recipe.centred,
            device=device,
            rng=rng,
            light=recipe.light,
            lighting=lighting,
            scenes=scenes,
            tally=tally,
        )
    if "coarse" in samplers and not samplers["coarse"].animals:
        del samplers["coarse"]
        sizes = size_ranges(um_per_px, border_mm, tolerance, ("fine",))
    heads: tuple[Head, ...] = tuple(head for head in passes if head in samplers)
    network = learner.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = _optimiser(network, recipe, device)
    curves, stopping = Curves(), Stopping.of(recipe, look is not None)
    checkpoints = checkpoints or Checkpoints(None, {})
    drawer = Drawing(rng, tally)
    begin = checkpoints.resume(drawer, network, averaged, optimiser, stopping, curves) if resume else 0
    network.train()
    step, over = begin, stopping.is_over
    with drawing_thread(device) as drawing:  # draws the next batch while this one is learned
        draw = partial(_draw, learner, samplers, sizes, _shares(recipe, samplers), drawer)
        coming = None if over or begin == recipe.steps else drawing.submit(draw)
        while coming is not None:
            drawn, before = coming.result()
            if step > begin and checkpoints.is_due():
                checkpoints.write(step, before, network, averaged, optimiser, stopping, curves)
            coming = drawing.submit(draw) if step + 1 < recipe.steps else None
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step) * group["share"]
            parts = learner.losses(drawn)
            optimiser.zero_grad(set_to_none=True)
            parts[-1].backward()
            clip_gradients(network.parameters(), recipe.clip)
            optimiser.step()
            average(averaged, network, min(recipe.decay, (1 + step) / (10 + step)))
            step += 1
            figures: Mapping[str, float] | None = None
            if (step - 1) % TELL_EVERY == 0 or step == recipe.steps:  # reading a loss waits for the device
                curves.losses.append((step, *_read(parts, step)))
                figures = dict(zip(learner.parts, curves.losses[-1][1:], strict=False))
            if look is not None and stopping.is_due(step, recipe.steps):
                seen = look(averaged, heads)
                stopping.saw(step, seen["score"], averaged.state_dict())
                curves.looks.append((step, *seen.values()))
                figures = {**(figures or {}), **seen}
                over = stopping.is_over
            if progress and figures is not None:
                progress(step, recipe.steps, figures)
            if over and coming is not None:
                if not coming.cancel():
                    drawer.restore(coming.result()[1])  # drawn, but never learned from: it does not count
                coming = None
        checkpoints.write(step, drawer.state(), network, averaged, optimiser, stopping, curves)
    stopping.keep_best(averaged)
    return Fitted(
        averaged.cpu(), heads, curves, learner.parts, step, stopping.told(), {kind: tally[kind] for kind in CROPS}
    )


def _optimiser(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Muon for convolutions within the network, where the recipe wants it, and AdamW for all else. What is no matrix
    (biases, normalisation) does not decay. `share`: of the learning rate, by group."""
    groups: dict[tuple[bool, bool, bool], list[Tensor]] = {}
    for name, value in network.named_parameters():
        slow = name.startswith(OF_ENCODER) and recipe.encoder_rate != 1
        inner = recipe.muon and value.ndim == 4 and not (name.startswith(FIRST) or name.endswith(LAST))
        groups.setdefault((inner, slow, value.ndim > 1), []).append(value)
    return MuonAdamW(
        [
            {
                "params": values,
                "muon": inner,
                "weight_decay": recipe.weight_decay if decays else 0.0,
                "share": recipe.encoder_rate if slow else 1.0,
            }
            for (inner, slow, decays), values in groups.items()
        ],
        recipe.learning_rate,
        fused=device.type == "cuda",
    )


def _shares(recipe: Recipe, names: Container[PassName]) -> dict[PassName, int]:
    """Crops of a batch by pass: one of each, as long as one is left for the fine pass, whose head others may share."""
    counts: dict[PassName, int] = {"fine": recipe.batch}
    shares: dict[PassName, float] = {"coarse": recipe.coarse_share, "finest": recipe.finest_share}
    for name, share in shares.items():
        count = min(max(1, round(recipe.batch * share)), counts["fine"] - 1)
        if name in names and count:
            counts[name] = count
            counts["fine"] -= count
    return counts


@contextmanager
def drawing_thread(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A thread beside the one that learns. On a CPU it takes one of the cores away: more threads than cores wait."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads - 1))
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _draw(
    learner: Learner,
    samplers: Mapping[PassName, CropSampler],
    sizes: Mapping[Head, losses.SizeRange],
    shares: Mapping[PassName, int],
    drawer: Drawing,
) -> tuple[Batch, dict[str, Any]]:
    """The next batch, and the state of what it is drawn from before it."""
    before = drawer.state()
    batch: dict[PassName, tuple[Tensor, Any]] = {}
    for name, count in shares.items():
        crops = samplers[name].draw(count)
        batch[name] = crops.pixels, learner.targets(crops, sizes[HEAD_OF[name]])
    return batch, before


def _read(parts: Sequence[Tensor], step: int) -> list[float]:
    values = [float(part.detach()) for part in parts]
    if not all(math.isfinite(value) for value in values):
        raise TrainingError(
            f"the loss is no longer a number at step {step}. A lower learning_rate, or a look at the labels, helps"
        )
    return values
