"""torchvision, also where its compiled operators do not fit the torch that is installed.

A torchvision built for CUDA beside a torch for the CPU fails at import ("operator torchvision::nms does not exist"),
though all that is missing is its small compiled library. `import_torchvision` then declares the operators that the
import asks for and puts PyTorch code in place of the two that detectors use: exact greedy non-maximum suppression, and
torchvision's own Python version of RoI align, in pieces, uncompiled. Everything else of torchvision is as it was, and
other compiled operators still say that they are missing. Where torchvision is whole nothing is touched.

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

from soilpipe.errors import SoilpipeError

log = logging.getLogger(__name__)

MISSING = "torchvision::nms does not exist"  # what the import says where only the compiled library is missing
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
NMS_BLOCK = 256  # boxes compared at once
ROI_BLOCK = 64  # regions pooled at once: 64 of 256 channels take about 100 MB

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
    """Let torchvision's Python RoI align run as it is, a few regions at a time: compiling it takes a C++ compiler and a
    minute, and all regions at once take gigabytes."""
    plain = module._roi_align.__wrapped__

    def in_pieces(
        features: Tensor,
        rois: Tensor,
        spatial_scale: float,
        pooled_height: int,
        pooled_width: int,
        sampling_ratio: int,
        aligned: bool,
    ) -> Tensor:
        settings = (spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
        parts = [plain(features, part, *settings) for part in rois.split(ROI_BLOCK)]
        return torch.cat(parts) if parts else plain(features, rois, *settings)

    module._roi_align = in_pieces  # type: ignore[attr-defined]
