"""Tiled prediction with torchvision's detectors.

These networks look at their whole window (region proposals compete, the pyramid sees far), so what they answer depends
a little on the tiles, unlike the centre-point network's answer. The tiles are therefore part of the detector: one size
and one grid, named in the analysis. A detection belongs to the tile whose half-open core holds its centre; where two
tiles still claim one animal at their common border, or one tile gives it to two taxa, the better score stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from soilpipe.detect.base import CONTRAST, LOCAL, Detections, DetectorInfo, evens_contrast
from soilpipe.detect.decode import MAX_DETECTIONS
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.passes import PassName
from soilpipe.detect.thresholds import least_scores, own_thresholds
from soilpipe.detect.tiled import InputWindows
from soilpipe.detect.torchvision_family import TorchvisionNetwork
from soilpipe.detect.torchvision_here import nms
from soilpipe.tiles import Tile, tile_grid

if TYPE_CHECKING:
    from soilpipe.background import Registration
    from soilpipe.tiles import ScanImage

ALGORITHM = "torchvision-tiles-1"
CORE, HALO, GRID = 1024, 256, 32  # px of the model's scale; an animal of twice the halo is still seen whole
SAME_ANIMAL = 0.5  # IoU from which two detections are one animal
LOWEST = 0.001  # score: what is below is not even asked for


class TorchvisionDetector:
    """A trained Faster R-CNN or FCOS with its card: a `Detector`. It sees the picture alone, never a difference.

    `device`: where it computes; by default a GPU when there is one. Float32 (IEEE, no TF32) on every device.
    """

    def __init__(
        self,
        network: TorchvisionNetwork,
        card: Mapping[str, Any],
        *,
        version: str = "unsaved",
        device: str | torch.device | None = None,
    ) -> None:
        if network.taxa != len(card["taxa"]):
            raise ValueError(f"a network of {network.taxa} taxa does not fit a card of {len(card['taxa'])}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network
        self._folded = network.folded().to(self.device)
        self.card = dict(card)
        self.info = DetectorInfo(
            name=card["name"],
            version=version,
            taxa=tuple(card["taxa"]),
            um_per_px=float(card["um_per_px"]),
            threshold=float(card["threshold"]),
            validation=card["validation"],
            settings={
                "algorithm": ALGORITHM,
                "family": network.family,
                "core": CORE,
                "halo": HALO,
                "same_animal": SAME_ANIMAL,
                **({CONTRAST: LOCAL} if evens_contrast(card) else {}),
                **own_thresholds(card),
            },
            uses_difference=False,
        )

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """Animals in one scan, best first; boxes in px of the scan at full resolution, clipped to it."""
        from soilpipe.background import ModelInput, even_contrast

        even = even_contrast(scan) if evens_contrast(self.card) else None
        passes: dict[PassName, InputWindows] = {"fine": ModelInput(scan, (), (), self.info.um_per_px, even=even)}
        return self.detect_windows(passes, scan.height, scan.width, scan.um_per_px, threshold=threshold)

    def scales(self, _of_scan: float) -> dict[PassName, float]:
        """The um/px at which it wants to see any scan: one pass."""
        return {"fine": self.info.um_per_px}

    def detect_windows(
        self,
        passes: Mapping[PassName, InputWindows],
        height: int,
        width: int,
        um_per_px: float,
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As `detect`, from what the pass `fine` reads; `height`, `width` are those of full resolution."""
        windows = passes["fine"]
        least = least_scores(self.info, threshold)
        self._folded.answer_from(max(float(least.min()), LOWEST))
        parts = []
        with torch.inference_mode(), full_precision():
            for tile in tile_grid(windows.height, windows.width, core=CORE, halo=HALO, stride=GRID):
                pixels = torch.from_numpy(windows.read(*tile.window)[None]).to(self.device)
                parts.append(_owned(self._folded(pixels)[0], tile, windows))
        boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        labels = labels - self.network.first_label
        enough = scores >= least[labels]
        boxes, scores, labels = boxes[enough], scores[enough], labels[enough]
        kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), SAME_ANIMAL).numpy()
        if len(kept) > MAX_DETECTIONS:
            warnings.warn(
                f"more than {MAX_DETECTIONS} detections at threshold {least.min():g} in one scan: only the "
                f"{MAX_DETECTIONS} best are kept",
                stacklevel=2,
            )
            kept = kept[:MAX_DETECTIONS]
        full = np.clip(boxes[kept] * windows.factor, 0.0, np.array([width, height, width, height], np.float64))
        score = scores[kept]
        order = np.lexsort((full[:, 0], full[:, 1], -score.astype(np.float64)))
        return Detections(full[order].astype(np.float32), score[order], labels[kept][order], self.info.taxa)


def _owned(
    answer: Mapping[str, torch.Tensor], tile: Tile, windows: InputWindows
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (float64, px of the pass, cut to the image), scores and labels of what is centred in the tile's core."""
    top, left = tile.window[0], tile.window[2]
    boxes = answer["boxes"].double().cpu().numpy() + np.array([left, top, left, top], np.float64)
    np.clip(boxes, 0.0, np.array([windows.width, windows.height] * 2, np.float64), out=boxes)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    y0, y1, x0, x1 = tile.core
    mine = (y >= y0) & (y < y1) & (x >= x0) & (x < x1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[mine], answer["scores"].cpu().numpy()[mine], answer["labels"].cpu().numpy()[mine]
