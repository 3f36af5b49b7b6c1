"""Tiled prediction with the centre-point network: bounded memory, and the same answer whatever the tiles.

The image is thought of as padded to multiples of the network's total stride (and to its smallest input) and is read in
windows of core + 2 x halo on that grid; all windows of an image have one shape and move inwards at its border. A peak
belongs to the tile whose half-open core holds its heatmap cell. The halo covers what such a cell and its neighbours
can see, so each cell's numbers are those of the whole image, to the bit on a CPU in float32; nothing is merged across
tiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from soilpipe.detect import decode
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.network import (
    STRIDE,
    TOTAL_STRIDE,
    Answer,
    CentrePointNetwork,
    Head,
)
from soilpipe.detect.thresholds import least_scores, own_thresholds
from soilpipe.tiles import Tile, tile_grid

if TYPE_CHECKING:
    from soilpipe.background import Registration
    from soilpipe.tiles import ScanImage

ALGORITHM = "centre-point-2"  # what is not in the weights: scales, ownership, decoding; part of the analysis
LARGEST_CORE = 2048  # px; the larger the core, the less is read and computed twice; memory grows with its square
GPU_BATCH = 4  # windows at once
COARSE = 4.0  # the coarse pass sees the scan at this many times the model's um/px


class InputWindows(Protocol):
    """What prediction reads from: the seven channels of a scan at one scale (`soilpipe.background.ModelInput`).

    read(y0, y1, x0, x1) -> (7, h, w) uint8. The window may reach beyond height x width; what is read for a pixel does
    not depend on the window. `factor`: full-resolution px per px here.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def factor(self) -> float: ...
    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray: ...


@contextmanager
def full_precision() -> Iterator[None]:
    """Float32 means float32 within: whatever reduced precision the program has asked for elsewhere is put back."""
    wanted = torch.get_float32_matmul_precision()
    convolution: Any = getattr(torch.backends.mkldnn, "conv", None)
    before = getattr(convolution, "fp32_precision", None)
    torch.set_float32_matmul_precision("highest")
    if before is not None:
        convolution.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(wanted)
        if before is not None:
            convolution.fp32_precision = before


def core_for(height: int, width: int, halo: int, largest: int = LARGEST_CORE) -> int:
    """The tile core, px, multiple of 32 up to `largest`, whose windows cover an image with the fewest pixels.

    Windows at the border move inwards at full size, so a core that does not suit the image computes much of it twice.
    """

    def pixels(core: int) -> int:
        windows = [-(-side // core) * min(core + 2 * halo, -(-side // 32) * 32) for side in (height, width)]
        return windows[0] * windows[1]

    smallest = min(largest, 512)
    return min(range(largest, smallest - 1, -TOTAL_STRIDE), key=pixels)


def find_peaks(
    network: CentrePointNetwork,
    head: Head,
    windows: InputWindows,
    threshold: float,
    *,
    device: torch.device,
    core: int | None = None,
    offset: tuple[int, int] = (0, 0),
    most: int = decode.MAX_DETECTIONS,
    bf16: bool | None = None,
) -> decode.Peaks:
    """The peaks of one pass over a scan, at most `most`, strongest first.

    `network` is folded and lies on `device`. `core` (px, multiple of 32; with the network's halo on both sides its
    smallest input at least; None: what suits the image) and `offset` (px, multiples of 32) choose the tiles: they
    change speed and memory, not the answer. `bf16`: the trunk computes in bfloat16, the heads in float32 as ever; None:
    on a GPU. While a window is computed the next is read.
    """
    halo, smallest = network.halo, network.smallest_input
    if core is None:
        core = max(core_for(windows.height, windows.width, halo), smallest - 2 * halo)
    if core < smallest - 2 * halo:
        raise ValueError(f"the core must be {smallest - 2 * halo} px or more, not {core}")
    grid = tile_grid(
        max(windows.height, smallest),
        max(windows.width, smallest),
        core=core,
        halo=halo,
        stride=TOTAL_STRIDE,
        offset=offset,
    )
    size = GPU_BATCH if device.type == "cuda" else 1
    batches = [grid[start : start + size] for start in range(0, len(grid), size)]

    def read(tiles: Sequence[Tile]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([windows.read(*tile.window) for tile in tiles]))
        return pixels.pin_memory() if device.type == "cuda" else pixels

    found: list[decode.Peaks] = []
    with ThreadPoolExecutor(1) as reader, torch.inference_mode(), full_precision():
        coming = reader.submit(read, batches[0])
        for index, tiles in enumerate(batches):
            pixels = coming.result().to(device, non_blocking=True)
            if index + 1 < len(batches):
                coming = reader.submit(read, batches[index + 1])
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" if bf16 is None else bf16):
                answer = network(pixels, head)
            found += [_owned(answer, i, tile, windows, threshold).strongest(most + 1) for i, tile in enumerate(tiles)]
    joined = decode.join(found, network.taxa)
    if len(joined) > most:
        warnings.warn(
            f"more than {most} detections at threshold {threshold:g} in one scan: only the {most} best are kept. "
            "A higher threshold, or a detector trained on scans like this one, gives fewer",
            stacklevel=2,
        )
    return joined.strongest(most)


def _owned(answer: Answer, index: int, tile: Tile, windows: InputWindows, threshold: float) -> decode.Peaks:
    """The peaks in the core of one tile; cells that begin beyond the image are nobody's."""
    top, left = tile.window[0], tile.window[2]
    y0, y1, x0, x1 = tile.core
    y1, x1 = min(y1, windows.height), min(x1, windows.width)
    core = (
        (y0 - top) // STRIDE,
        max(-(-(y1 - top) // STRIDE), 0),
        (x0 - left) // STRIDE,
        max(-(-(x1 - left) // STRIDE), 0),
    )
    return decode.find_peaks(answer, index, threshold, core, (top // STRIDE, left // STRIDE))


class CentrePointDetector:
    """A trained centre-point network with its card: a `Detector`.

    `device`: where it computes; by default a GPU when there is one. On a CPU the answer is exact in the sense of this
    module; on a GPU the trunk runs in bf16 (heads in float32), and answers agree within rounding.
    `bf16`: whether the trunk runs in bf16; None: on a GPU. CPUs that have it are about twice as fast with it.
    `core`: the side of the tiles, px of the model's scale; None chooses by the size of the image.
    """

    def __init__(
        self,
        network: CentrePointNetwork,
        card: Mapping[str, Any],
        *,
        version: str = "unsaved",
        device: str | torch.device | None = None,
        core: int | None = None,
        bf16: bool | None = None,
    ) -> None:
        if network.taxa != len(card["taxa"]):
            raise ValueError(f"a network of {network.taxa} taxa does not fit a card of {len(card['taxa'])}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network
        self.card = dict(card)
        self.core = core
        self.bf16 = bf16
        self._folded = network.folded().to(self.device)
        self.info = DetectorInfo(
            name=card["name"],
            version=version,
            taxa=tuple(card["taxa"]),
            um_per_px=float(card["um_per_px"]),
            threshold=float(card["threshold"]),
            validation=card["validation"],
            settings={
                "algorithm": ALGORITHM,
                "border_mm": float(card["border_mm"]),
                "border_tolerance": float(card["border_tolerance"]),
                "heads": list(card["heads"]),
                **own_thresholds(card),
            },
            uses_difference=bool(card.get("difference", True)),
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
        from soilpipe.background import ModelInput

        if not self.info.uses_difference:  # weights that never saw a difference would read noise into it
            references, registrations = (), ()
        passes: dict[Head, InputWindows] = {
            head: ModelInput(scan, references, registrations, scale) for head, scale in self.scales().items()
        }
        return self.detect_windows(passes, scan.height, scan.width, scan.um_per_px, threshold=threshold)

    def scales(self) -> dict[Head, float]:
        """The um/px at which each pass wants to see the scan."""
        scales: dict[Head, float] = {"fine": self.info.um_per_px, "coarse": COARSE * self.info.um_per_px}
        return {head: scales[head] for head in self.card["heads"]}

    def detect_windows(
        self,
        passes: Mapping[Head, InputWindows],
        height: int,
        width: int,
        um_per_px: float,
        *,
        threshold: float | None = None,
        offset: tuple[int, int] = (0, 0),
    ) -> Detections:
        """As `detect`, from what the passes read; `height`, `width`, `um_per_px` are those of full resolution."""
        least = least_scores(self.info, threshold)
        boxes, scores, labels = [], [], []
        for head, windows in passes.items():
            peaks = find_peaks(
                self._folded, head, windows, float(least.min()), device=self.device, core=self.core, offset=offset
            )
            score, label = decode.scores_of(peaks), peaks.taxon.argmax(axis=1).astype(np.int64)
            enough = score >= least[label]
            boxes.append(decode.peak_boxes(peaks, windows.factor, height, width)[enough])
            scores.append(score[enough])
            labels.append(label[enough])
        if len(boxes) == 2:
            kept = decode.settle_border(
                boxes[0],
                scores[0],
                boxes[1],
                scores[1],
                border=float(self.card["border_mm"]) * 1000.0 / um_per_px,
                tolerance=float(self.card["border_tolerance"]),
            )
            boxes, scores, labels = (
                [part[keep] for part, keep in zip(parts, kept, strict=True)] for parts in (boxes, scores, labels)
            )
        box, score, label = np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)
        order = np.lexsort((box[:, 0], box[:, 1], -score.astype(np.float64)))
        return Detections(box[order].astype(np.float32), score[order], label[order], self.info.taxa)
