"""What a pretraining does where the device has no room: first fewer crops a step, then activations that are not kept.

Each function that tries returns whether it could, so that what it held is free again when something smaller is tried.
"""

from __future__ import annotations

import logging

import torch

from soilpipe.pretrain.learning_batches import Batches
from soilpipe.pretrain.learning_recipe import PretrainError
from soilpipe.pretrain.method import DenseCL

log = logging.getLogger(__name__)


def make_room(model: DenseCL, batches: Batches, step: int, device: torch.device) -> None:
    """Half the crops; where there are as few as may be, their activations are computed again from now on. PretrainError
    where neither is left."""
    if not batches.is_smallest or model.query.recompute:
        halve(batches, step, device)
        return
    model.query.recompute, batches.recompute = True, step
    _free(device)
    log.warning(
        "the device has no memory for %d crops a step: their activations are computed again, from step %d on, which "
        "takes a third longer",
        batches.size,
        step + 1,
    )


def halve(batches: Batches, step: int, device: torch.device) -> None:
    """Half the crops. PretrainError where they are as few as may be."""
    batches.halve(step)
    _free(device)
    log.warning(
        "the device has no memory for %d crops a step: going on with %d, from step %d on",
        2 * batches.size,
        batches.size,
        step + 1,
    )


def settle(model: DenseCL, views: torch.Tensor, size: int, device: torch.device) -> None:
    """`DenseCL.settle` on views, (n, 7, s, s) uint8, as many at a time as there is memory for, `size` at most."""
    while not _settled(model, views, size, device):
        if size == 1:
            raise PretrainError(
                f"the device has no memory for a single view of {views.shape[-1]} px. Train a smaller size, or free "
                "the memory that others use"
            )
        size //= 2
        _free(device)
        log.warning("the device has no memory for %d views at once: looking at %d at a time", 2 * size, size)


def _settled(model: DenseCL, views: torch.Tensor, size: int, device: torch.device) -> bool:
    try:
        model.settle(part.to(device) for part in views.split(size))
    except torch.OutOfMemoryError:
        return False
    return True


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
