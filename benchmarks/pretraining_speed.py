"""Images per second of pretraining, beside lightly's own example of DenseCL, on the same crops in the same run.

Lightly's loop is that of its documentation for DenseCL in plain PyTorch, at its default settings but for batch, view
side and optimiser's device: ResNet, two projection heads, slow copies, a memory bank a loss, PIL images through
`DenseCLTransform`. Ours is the loop of `soilpipe.pretrain`, with its own transform, on seven channels instead of three.
Both count an image once, however many views are made of it, and compute with the same threads.

Lightly's images are made in as many loader processes as there are cores, as its examples do, and in none: with few
cores the processes take from the training what they save it. The way with the better median is the one compared with.

Everything is timed several times in turn, in an order that is turned round each time, since a machine is not equally
quick all the while; told are medians, and the median of the rounds' ratios, with the smallest and the largest. The
clock starts when workers and device are warm and no batch is drawn yet, and stops when the last of exactly so many
batches is learned: neither loop is given batches that were made before, or makes any that it does not learn from.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pretraining_scenes import EARLY_TAXA, Light, Window
from torch import nn

from soilpipe.detect.torchvision_here import import_torchvision
from soilpipe.pretrain.learning import crops_per_second
from soilpipe.pretrain.learning_recipe import PretrainRecipe
from soilpipe.pretrain.source import draw_batch

torchvision = import_torchvision()
WARM_UP = 3  # steps that are not counted, at least
ROUNDS = 3
STEPS_A_WORKER = 4  # at least, of what is timed: the first batch of each is waited for


class MadeCrops:
    """A `CropSource` in memory: windows of simulated scans, all of different places."""

    def __init__(self, count: int, side: int, seed: int) -> None:
        across = int(np.ceil(np.sqrt(count)))
        image, _ = Window("speed", seed, across * side, across * side).scan(0, EARLY_TAXA, 20 * count, Light())
        self._pixels = np.full((count, 7, side, side), 128, np.uint8)
        self._pixels[:, 6] = 0
        for row in range(count):
            y, x = side * (row // across), side * (row % across)
            self._pixels[row, :3] = image[y : y + side, x : x + side].transpose(2, 0, 1)
        self.scanner = np.array(["speed"] * count)
        self.place = np.arange(count, dtype=np.int64)
        self.is_new = np.arange(count) % 2 == 0

    def __len__(self) -> int:
        return len(self._pixels)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """As a `CropSource`."""
        return np.asarray(self._pixels[indices])

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """As a `CropSource`."""
        return draw_batch(self.place, self.is_new, rng, batch)


class LightlyDenseCL(nn.Module):
    """DenseCL as lightly's documentation puts it together from its parts."""

    def __init__(self, size: str) -> None:
        from lightly.models.modules import DenseCLProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        super().__init__()
        whole = getattr(torchvision.models, size)()
        self.backbone = nn.Sequential(*list(whole.children())[:-2])
        dim = whole.fc.in_features
        self.head_global, self.head_local = (DenseCLProjectionHead(dim, dim, 128) for _ in range(2))
        self.slow = nn.ModuleList(copy.deepcopy(part) for part in self._parts())
        deactivate_requires_grad(self.slow)

    def _parts(self) -> tuple[nn.Module, ...]:
        return self.backbone, self.head_global, self.head_local

    def forward(self, images: torch.Tensor, slow: bool = False) -> tuple[torch.Tensor, ...]:
        """(n, 3, h, w) to features (n, cells, c), the vector of the whole, and of the cells."""
        backbone, head_global, head_local = self.slow if slow else self._parts()
        features = backbone(images)
        cells = features.flatten(start_dim=2).permute(0, 2, 1)
        return cells, head_global(features.mean(dim=(2, 3))), head_local(cells)

    def follow(self, momentum: float) -> None:
        """Move the slow copies."""
        from lightly.models.utils import update_momentum

        for part, slow in zip(self._parts(), self.slow, strict=True):
            update_momentum(part, slow, m=momentum)


class Pictures(torch.utils.data.Dataset[Any]):
    """The same crops as PIL images through lightly's transform."""

    def __init__(self, crops: MadeCrops, side: int) -> None:
        from lightly.transforms import DenseCLTransform

        self._crops, self._transform = crops, DenseCLTransform(input_size=side)

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, row: int) -> Any:
        from PIL import Image

        pixels = self._crops.pixels(np.array([row]))[0, :3]
        return self._transform(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


class Epoch(torch.utils.data.Sampler[int]):
    """`images` rows in random order, each of `rows` about as often; how many may be changed between two epochs."""

    def __init__(self, rows: int) -> None:
        self._rows, self.images = rows, 0

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[int]:
        yield from (torch.randperm(self.images) % self._rows).tolist()


def lightly_images_per_second(
    crops: MadeCrops, size: str, batch: int, side: int, device: str, steps: int, workers: int
) -> float:
    """Images a second of lightly's loop over `steps` steps, after some that are not counted.

    workers: loader processes; each has made a batch before the clock starts, and none holds one then.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.utils import select_most_similar

    model = LightlyDenseCL(size).to(device)
    losses = [NTXentLoss(memory_bank_size=(4096, 128)).to(device) for _ in range(2)]
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.06)
    epoch = Epoch(len(crops))
    processes = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(
        Pictures(crops, side), batch_size=batch, sampler=epoch, drop_last=True, num_workers=workers, **processes
    )
    began, images = 0.0, 0
    for count in (max(WARM_UP, workers), steps):
        epoch.images, images = count * batch, 0
        _finish(device)
        began = time.perf_counter()
        for query, key in loader:
            model.follow(0.996)
            query, key = query.to(device), key.to(device)
            with torch.no_grad():
                key_cells, key_whole, key_parts = model(key, slow=True)
            cells, whole, parts = model(query)
            key_parts = select_most_similar(cells, key_cells, key_parts)
            loss = 0.5 * losses[0](whole, key_whole)
            loss = loss + 0.5 * losses[1](parts.flatten(end_dim=1), key_parts.flatten(end_dim=1))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            images += len(query)
    _finish(device)
    return images / (time.perf_counter() - began)


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def speed(arguments: Namespace) -> dict[str, Any]:
    """The table, printed; its figures. Images a second are medians of the rounds, which stand beside them."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    crops = MadeCrops(max(4 * arguments.batch, 64), arguments.crop_side, 0)
    recipe = PretrainRecipe(batch=arguments.batch, steps=arguments.speed_steps)
    batch, side = arguments.batch, recipe.view_side(arguments.crop_side)
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    steps = max(arguments.speed_steps, STEPS_A_WORKER * cores)
    print(
        f"batch {batch}, views of {side} px, {device}, {threads} threads in both, torch {torch.__version__}; "
        f"medians of {ROUNDS} rounds in turn of {steps} steps each (smallest-largest)"
    )
    figures: dict[str, Any] = {"device": device, "batch": batch, "side": side, "threads": threads, "steps": steps}
    for size in arguments.sizes:
        loops: dict[str, Callable[[], float]] = {}
        if size.startswith("resnet"):
            for workers in (0, cores):
                loops[f"lightly {size}, {workers} loader processes"] = partial(
                    lightly_images_per_second, crops, size, batch, side, device, steps, workers
                )
        ours = f"ours {size}"
        loops[ours] = partial(crops_per_second, crops, size=size, recipe=recipe, device=device, steps=steps)
        told = in_turn(loops)
        for name, rates in told.items():
            print(f"{name:38s} {_median_and_range(rates, '.1f')} images/s", flush=True)
        figures |= {name: statistics.median(rates) for name, rates in told.items()}
        figures[f"rounds {size}"] = told
        beside = max((name for name in told if name != ours), key=lambda name: figures[name], default=None)
        if beside is not None:
            ratios = [mine / other for mine, other in zip(told[ours], told[beside], strict=True)]
            figures |= {f"lightly {size}": figures[beside], f"ratio {size}": statistics.median(ratios)}
            print(f"{ours} over {beside}: {_median_and_range(ratios, '.2f')}", flush=True)
    return figures


def in_turn(loops: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """What each loop gives, once a round; every other round begins with the last one."""
    told: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        for name in list(loops)[:: -1 if number % 2 else 1]:
            told[name].append(loops[name]())
    return told


def _median_and_range(values: Sequence[float], digits: str) -> str:
    return f"{statistics.median(values):{digits}} ({min(values):{digits}}-{max(values):{digits}})"
