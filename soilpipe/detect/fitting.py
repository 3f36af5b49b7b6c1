"""The training loop: samples in, a network out.

Each step sees crops of both passes in one batch: the trunk is shared, each head learns from its own crops. AdamW with
warm-up and a cosine, gradients clipped; the exponential moving average of the weights is what is kept. bf16 where it
pays. The same seed gives the same weights on a CPU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soilpipe.detect import losses
from soilpipe.detect.crops import CropSampler
from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import ANSWERS, CentrePointNetwork, Head
from soilpipe.detect.predict import COARSE
from soilpipe.detect.weights import load_detector
from soilpipe.errors import SoilpipeError

TELL_EVERY = 25  # steps
PARTS = ("heat", "box", "taxon")  # of the loss


class TrainingError(SoilpipeError):
    """A training that cannot begin, or that went astray."""


@dataclass(frozen=True)
class Recipe:
    """How to train. `ema` None: 0.99, and 0.999 from 4,000 steps on. `coarse_share`: of the crops of a batch.

    `light`: how far the light of crops is changed: 1 for scanners and soils never seen, 0.5 where they are much alike.
    """

    steps: int = 2500
    batch: int = 8
    crop: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    warm_up: float = 0.15
    clip: float = 10.0
    centred: float = 0.5
    coarse_share: float = 0.25
    light: float = 0.5
    ema: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.crop < 64 or self.crop % 32:
            raise TrainingError(
                f"steps ({self.steps}) must be 1 or more, batch ({self.batch}) 2 or more, "
                f"crop ({self.crop}) a multiple of 32 from 64 on"
            )

    @property
    def decay(self) -> float:
        """Of the moving average, a step."""
        return self.ema if self.ema is not None else (0.999 if self.steps >= 4000 else 0.99)

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine down to nothing."""
        warm = max(1, round(self.warm_up * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@dataclass(frozen=True)
class Fitted:
    """The trained network (eval mode, CPU), the passes it is good for, and its losses.

    curve: (told, 5) float32: step, then the PARTS, then what was minimised.
    """

    network: CentrePointNetwork
    heads: tuple[Head, ...]
    curve: np.ndarray


Told = Callable[[int, int, Mapping[str, float]], None]


def size_ranges(um_per_px: float, border_mm: float, tolerance: float) -> dict[Head, losses.SizeRange]:
    """Which animals each pass owns, in px of that pass: shorter than the border, or not."""
    border = 1000 * border_mm / um_per_px
    return {
        "fine": losses.SizeRange(0.0, border, tolerance),
        "coarse": losses.SizeRange(border / COARSE, math.inf, tolerance),
    }


def fit(
    samples: Sequence[Sample],
    taxa: Sequence[str],
    um_per_px: float,
    recipe: Recipe,
    *,
    border_mm: float,
    tolerance: float,
    device: torch.device,
    warm_start: Path | str | None = None,
    progress: Told | None = None,
) -> Fitted:
    """Train on samples whose labels index `taxa`. Without any animal for the coarse pass, the fine one owns all sizes.

    TrainingError when the loss is no longer a number.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    sizes = size_ranges(um_per_px, border_mm, tolerance)
    samplers: dict[Head, CropSampler] = {}
    for head, size in sizes.items():
        samplers[head] = CropSampler(
            samples,
            head,
            crop=recipe.crop,
            length_range=(size.least, size.most),
            centred=recipe.centred,
            device=device,
            rng=rng,
            light=recipe.light,
        )
    if not samplers["coarse"].animals:
        del samplers["coarse"]
        sizes["fine"] = losses.SizeRange(0.0, math.inf, tolerance)
    network = CentrePointNetwork(len(taxa)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if warm_start is not None:
        begin_from(network, tuple(taxa), warm_start)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    decayed = [value for value in network.parameters() if value.ndim > 1]
    plain = [value for value in network.parameters() if value.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        fused=device.type == "cuda",
    )
    curve = np.zeros((recipe.steps, len(PARTS) + 1), np.float32)
    network.train()
    with _drawing_thread(device) as drawing:  # draws the next batch while this one is learned
        draw = partial(_draw, samplers, sizes, _shares(recipe, "coarse" in samplers), device)
        coming = drawing.submit(draw)
        for step in range(recipe.steps):
            drawn = coming.result()
            if step + 1 < recipe.steps:
                coming = drawing.submit(draw)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
            parts = _losses(network, drawn, device)
            loss = parts[0] + losses.BOX_WEIGHT * parts[1] + losses.TAXON_WEIGHT * parts[2]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            _average(averaged, network, min(recipe.decay, (1 + step) / (10 + step)))
            if step % TELL_EVERY == 0 or step + 1 == recipe.steps:  # reading a loss waits for the device
                curve[step] = _read((*parts, loss), step)
                if progress:
                    progress(step + 1, recipe.steps, dict(zip(PARTS, curve[step].tolist(), strict=False)))
    told = curve[:, -1] > 0
    return Fitted(averaged.cpu(), tuple(samplers), np.column_stack([np.flatnonzero(told) + 1, curve[told]]))


def _shares(recipe: Recipe, coarse: bool) -> dict[Head, int]:
    if not coarse:
        return {"fine": recipe.batch}
    of_coarse = min(max(1, round(recipe.batch * recipe.coarse_share)), recipe.batch - 1)
    return {"fine": recipe.batch - of_coarse, "coarse": of_coarse}


Batch = dict[Head, tuple[Tensor, losses.Targets]]
"""For each pass the pixels of its crops, and what is to be answered for them."""


@contextmanager
def _drawing_thread(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A thread beside the one that learns. On a CPU it takes one of the cores away: more threads than cores wait."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads - 1))
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(max(1, threads - 1))


def _draw(
    samplers: Mapping[Head, CropSampler],
    sizes: Mapping[Head, losses.SizeRange],
    shares: Mapping[Head, int],
    device: torch.device,
) -> Batch:
    batch: Batch = {}
    for head, count in shares.items():
        crops = samplers[head].draw(count)
        batch[head] = crops.pixels, losses.make_targets(crops, sizes[head]).to(device)
    return batch


def _losses(network: CentrePointNetwork, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The losses in the order of PARTS, summed over the passes in proportion to their crops."""
    pixels = torch.cat([part for part, _ in batch.values()])
    with torch.autocast(device.type, torch.bfloat16, enabled=_bf16(device)):
        features = network.features(pixels)
        answers = {
            head: network.head(head)(part)
            for head, part in zip(batch, features.split([len(part) for part, _ in batch.values()]), strict=True)
        }
    heat, box, taxon = (torch.zeros((), device=device) for _ in PARTS)
    for head, (part, targets) in batch.items():
        share = len(part) / len(pixels)
        heat = heat + share * losses.heat_loss(answers[head].heat, targets)
        box = box + share * losses.box_loss(answers[head].sides, targets)
        taxon = taxon + share * losses.taxon_loss(answers[head].taxon, targets)
    return heat, box, taxon


def _bf16(device: torch.device) -> bool:
    """Whether bf16 pays there: on GPUs that have it, and on CPUs with matrix tiles (AMX), where a step took a third of
    the time (0.14 s against 0.43 s, batch 16, crops of 256 px, two threads; one measurement, network alone)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


@torch.no_grad()
def _average(averaged: CentrePointNetwork, network: CentrePointNetwork, decay: float) -> None:
    """Moving average of parameters and of the batch statistics."""
    ours, theirs = [], []
    for mine, its in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            ours.append(mine)
            theirs.append(its)
        else:
            mine.copy_(its)
    torch._foreach_lerp_(ours, theirs, 1 - decay)


def _read(parts: Sequence[Tensor], step: int) -> list[float]:
    values = [float(part.detach()) for part in parts]
    if not all(math.isfinite(value) for value in values):
        raise TrainingError(
            f"the loss is no longer a number at step {step + 1}. A lower learning_rate, or a look at the labels, helps"
        )
    return values


def begin_from(network: CentrePointNetwork, taxa: tuple[str, ...], folder: Path | str) -> None:
    """Take over the weights of another detector: all that has the same shape, and the rows of the taxa both know."""
    other = load_detector(folder, device="cpu")
    given, wanted = other.network.state_dict(), network.state_dict()
    for name, tensor in wanted.items():
        if ".out." in name:
            rows = [(row, row) for row in range(ANSWERS)]
            rows += [
                (ANSWERS + taxa.index(taxon), ANSWERS + other.info.taxa.index(taxon))
                for taxon in taxa
                if taxon in other.info.taxa
            ]
            for mine, its in rows:
                if tensor[mine].shape == given[name][its].shape:
                    tensor[mine] = given[name][its].to(tensor.device)
        elif name in given and given[name].shape == tensor.shape:
            tensor.copy_(given[name])
    network.load_state_dict(wanted)
