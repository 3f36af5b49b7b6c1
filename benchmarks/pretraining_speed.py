"""Images per second of pretraining, beside lightly's own example of DenseCL, on the same crops in the same run.

Lightly's loop is that of its documentation for DenseCL in plain PyTorch, at its default settings but for batch, view
side and optimiser's device: ResNet, two projection heads, slow copies, a memory bank a loss, PIL images through
`DenseCLTransform` in as many loader processes as there are cores. Ours is the loop of `soilpipe.pretrain`, with its
own transform, on seven channels instead of three. Both count an image once, however many views are made of it.
"""

from __future__ import annotations

import copy
import os
import time
from argparse import Namespace
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
BATCHES = 200  # of an epoch of lightly's loop, at least
WARM_UP = 3  # steps that are not counted


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
    """The same crops as PIL images through lightly's transform, each as often as it takes to make an epoch of `length`:
    between epochs the loader waits for its first batches, which no real data set lets it do every few steps."""

    def __init__(self, crops: MadeCrops, side: int, length: int) -> None:
        from lightly.transforms import DenseCLTransform

        self._crops, self._length, self._transform = crops, length, DenseCLTransform(input_size=side)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Any:
        from PIL import Image

        pixels = self._crops.pixels(np.array([row % len(self._crops)]))[0, :3]
        return self._transform(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))


def lightly_images_per_second(crops: MadeCrops, size: str, batch: int, side: int, device: str, steps: int) -> float:
    """Images a second of lightly's loop, over `steps` steps after some that are not counted."""
    from lightly.loss import NTXentLoss
    from lightly.models.utils import select_most_similar

    model = LightlyDenseCL(size).to(device)
    losses = [NTXentLoss(memory_bank_size=(4096, 128)).to(device) for _ in range(2)]
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.06)
    workers = os.cpu_count() or 1
    loader = torch.utils.data.DataLoader(
        Pictures(crops, side, max(BATCHES, steps + WARM_UP) * batch),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    began, done, images = 0.0, 0, 0
    while done < steps + WARM_UP:
        for query, key in loader:
            if done == WARM_UP:
                _finish(device)
                began = time.perf_counter()
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
            images += len(query) if done >= WARM_UP else 0
            done += 1
            if done == steps + WARM_UP:
                break
    _finish(device)
    return images / (time.perf_counter() - began)


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def speed(arguments: Namespace) -> dict[str, Any]:
    """The table, printed; its figures."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    crops = MadeCrops(max(4 * arguments.batch, 64), arguments.crop_side, 0)
    recipe = PretrainRecipe(batch=arguments.batch, steps=arguments.speed_steps)
    side = recipe.view_side(arguments.crop_side)
    threads = torch.get_num_threads()
    print(f"batch {arguments.batch}, views of {side} px, {device}, {threads} threads, torch {torch.__version__}")
    figures: dict[str, Any] = {"device": device, "batch": arguments.batch, "side": side, "threads": threads}
    for size in arguments.sizes:
        if size.startswith("resnet"):
            figures[f"lightly {size}"] = lightly_images_per_second(
                crops, size, arguments.batch, side, device, arguments.speed_steps
            )
            print(f"lightly's example, {size:9s} {figures[f'lightly {size}']:8.1f} images/s", flush=True)
        ours = crops_per_second(crops, size=size, recipe=recipe, device=device, steps=arguments.speed_steps)
        figures[f"ours {size}"] = ours
        beside = figures.get(f"lightly {size}")
        ratio = f"   {ours / beside:.2f} of lightly's" if beside else ""
        print(f"soilpipe,          {size:9s} {ours:8.1f} images/s{ratio}", flush=True)
    return figures
