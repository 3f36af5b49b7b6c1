"""torchvision, also where its compiled operators do not fit the torch that is installed.

A torchvision built for CUDA beside a torch for the CPU fails at import ("operator torchvision::nms does not exist"),
though all that is missing is its small compiled library. `import_torchvision` then declares the operators that the
import asks for and puts PyTorch code in place of the two that detectors use: exact greedy non-maximum suppression, and
RoI align. Everything else of torchvision is as it was, and other compiled operators still say that they are missing.
Where torchvision is whole nothing is touched.

After `import_torchvision()`, `import torchvision` and packages that need it (lightly) work as usual.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soilpipe.errors import SoilpipeError

log = logging.getLogger(__name__)

MISSING = "torchvision::nms does not exist"  # what the import says where only the compiled library is missing
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
NMS_BLOCK = 256  # boxes compared at once
ROI_BLOCK = 128  # regions pooled at once: with 256 channels and 14 x 14 samples about 50 MB

_lock = threading.Lock()
_library: torch.library.Library | None = None


class TorchvisionError(SoilpipeError):
    """torchvision is not installed, or cannot be used beside this torch."""


def import_torchvision() -> ModuleType:
    """torchvision, ready for use. TorchvisionError when it is absent or broken in another way."""
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            raise TorchvisionError(
                f"torchvision is needed for this and can't be imported ({error}). Install the build that belongs to "
                f"torch {torch.__version__}"
            ) from error
        except (ImportError, OSError, RuntimeError) as error:
            if MISSING not in str(error):
                raise TorchvisionError(
                    f"torchvision does not fit torch {torch.__version__} ({error}). Install the build for it"
                ) from error
        return _import_without_operators()


def _import_without_operators() -> ModuleType:
    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            _library.define(schema)
        _library.impl("nms", nms, "CompositeExplicitAutograd")
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]  # half imported
    torchvision = importlib.import_module("torchvision")
    boxes = importlib.import_module("torchvision.ops.boxes")
    boxes.nms = torchvision.ops.nms = nms  # type: ignore[attr-defined]
    _replace_roi_align(importlib.import_module("torchvision.ops.roi_align"))
    log.warning(
        "torchvision %s has no compiled operators for torch %s: non-maximum suppression and RoI align run as PyTorch "
        "code, with the same answers but slower. The torchvision build that belongs to this torch brings them back",
        torchvision.__version__,
        torch.__version__,
    )
    return torchvision


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression, exactly: the rows kept, (k,) int64, by falling score.

    boxes (n, 4) x_min y_min x_max y_max; scores (n,). A box goes when its intersection over union with a better one
    that stays is above `iou_threshold`; of equal scores the first row is the better one. Memory grows with n x kept
    of one block, time with n x kept.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes {tuple(boxes.shape)} and scores {tuple(scores.shape)} are not (n, 4) and (n,)")
    order = scores.sort(descending=True, stable=True).indices
    ranked = boxes.detach()[order]
    kept = torch.empty(0, dtype=torch.int64, device=boxes.device)
    for start in range(0, len(ranked), NMS_BLOCK):
        block = ranked[start : start + NMS_BLOCK]
        free = torch.ones(len(block), dtype=torch.bool, device=boxes.device)
        for first in range(0, len(kept), 16 * NMS_BLOCK):  # so that the comparison stays small however many are kept
            free &= ~_overlap(block, ranked[kept[first : first + 16 * NMS_BLOCK]], iou_threshold).any(dim=1)
        block, rows = block[free], torch.nonzero(free)[:, 0] + start
        clash = _overlap(block, block, iou_threshold).triu(1).cpu().numpy()
        stays: np.ndarray = np.logical_not(clash.any(axis=0))  # those that no better box of the block touches
        for row in np.flatnonzero(~stays):
            stays[row] = not (clash[:row, row] & stays[:row]).any()
        kept = torch.cat([kept, rows[torch.from_numpy(stays).to(rows.device)]])
    return order[kept]


def _overlap(a: Tensor, b: Tensor, iou_threshold: float) -> Tensor:
    """(n, 4) and (m, 4) to (n, m) bool: whether they overlap by more. The arithmetic is that of torchvision's kernel:
    IoU in the boxes' own precision, compared in float64; boxes without area overlap nothing."""
    size = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp_min(0)
    shared = size[..., 0] * size[..., 1]
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    return (shared / (area_a[:, None] + area_b[None, :] - shared)).double() > iou_threshold


def _replace_roi_align(module: ModuleType) -> None:
    """torchvision's own Python version compiles itself first (a C++ compiler and a minute) and is several times slower;
    it stays for numbers of samples that depend on the region."""
    plain = module._roi_align.__wrapped__

    def replaced(
        features: Tensor,
        rois: Tensor,
        spatial_scale: float,
        pooled_height: int,
        pooled_width: int,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor:
        way = roi_align if sampling_ratio > 0 and len(rois) else plain
        return way(features, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)

    module._roi_align = replaced  # type: ignore[attr-defined]


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Means of bilinear samples in each bin of each region ("Mask R-CNN", He et al. 2017), differentiable.

    features (n, c, h, w); rois (k, 5): which of n, x_min y_min x_max y_max in px that are cells times 1/spatial_scale;
    to (k, c, pooled_height, pooled_width) of the features' dtype, computed in float32 at least. `sampling_ratio`
    samples a bin and axis, 1 or more. A sample between the outermost cells' centres and one cell beyond takes the
    outermost cell, further out it is 0, as in torchvision.
    """
    dtype, wide = features.dtype, torch.promote_types(features.dtype, torch.float32)
    features, rois = features.to(wide), rois.to(wide)
    height, width = features.shape[2:]
    starts = rois[:, 1:3] * spatial_scale - (0.5 if aligned else 0.0)
    sizes = (rois[:, 3:5] - rois[:, 1:3]) * spatial_scale
    if not aligned:
        sizes = sizes.clamp_min(1.0)
    x, y = (
        starts[:, axis, None] + sizes[:, axis, None] * _sample_places(bins, sampling_ratio, rois)
        for axis, bins in ((0, pooled_width), (1, pooled_height))
    )
    inside = ((y >= -1) & (y <= height))[:, :, None] & ((x >= -1) & (x <= width))[:, None, :]
    across, down = (2 * places / max(side - 1, 1) - 1 for places, side in ((x, width), (y, height)))
    grid = torch.stack(torch.broadcast_tensors(across[:, None, :], down[:, :, None]), dim=-1)  # (k, rows, columns, 2)
    pooled = features.new_zeros((len(rois), features.shape[1], pooled_height, pooled_width))
    for index in range(len(features)):
        for rows in torch.nonzero(rois[:, 0] == index)[:, 0].split(ROI_BLOCK):
            if not len(rows):
                continue
            tall = grid[rows].flatten(0, 1)[None]  # the regions one below the other
            sampled = functional.grid_sample(
                features[index : index + 1], tall, mode="bilinear", padding_mode="border", align_corners=True
            )
            sampled = sampled[0].unflatten(1, (len(rows), -1)).transpose(0, 1) * inside[rows][:, None]
            pooled = pooled.index_copy(0, rows, functional.avg_pool2d(sampled, sampling_ratio))
    return pooled.to(dtype)


def _sample_places(bins: int, sampling_ratio: int, like: Tensor) -> Tensor:
    """(bins x samples,): where the samples lie along an axis, as shares of the region's side."""
    count = bins * sampling_ratio
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
