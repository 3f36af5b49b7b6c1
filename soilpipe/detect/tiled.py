"""Peaks of a whole scan from a network that looks at windows: bounded memory, and the same answer whatever the tiles.

The image is thought of as padded to multiples of the network's total stride (and to its smallest input) and is read in
windows of core + 2 x halo on that grid. A peak belongs to the tile whose half-open core holds its heatmap cell. The
halo covers what such a cell and its neighbours can see, so each cell's numbers are those of the whole image, to the bit
on a CPU in float32; nothing is merged across tiles. (Where several threads share a window, oneDNN adds up the many
channels of small, deep levels in another order: the last bits depend on how many do, with a ResNet on every CPU seen,
with our own network on those without AVX-512.)

On a CPU each core walks down a column of its own, and a thread reads the rows that come next: threads that share one
window wait for one another, the more so on a busy machine. On a GPU square windows, all of one shape (at the border
they move inwards), go through in batches, while the next are read into pinned memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from soilpipe.detect import decode
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.network import STRIDE, TOTAL_STRIDE, Answer, CentrePointNetwork, Head
from soilpipe.detect.pixel_rows import RowsAhead
from soilpipe.detect.strips import Cells, answer_parts
from soilpipe.errors import SoilpipeError
from soilpipe.tiles import Tile, tile_grid

LARGEST_WIDTH = 5120  # px of a column: memory grows with it
NARROWEST = 512  # px: of narrower columns more would be halo than is won by another worker
GPU_CORE = 2560  # px: the larger, the less is computed twice; memory grows with its square
GPU_BATCH = 4  # windows at once
ALLOCATION_FAILED = ("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
MOST_WORKERS = 4  # windows at once on a CPU, each with its share of the cores: memory grows with them


class PredictionError(SoilpipeError):
    """A scan cannot be looked at on this machine."""


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


def columns_of(height: int, width: int, halo: int, smallest: int, threads: int = 1) -> list[Tile]:
    """The tiles with which an image is done soonest: as tall as it is, as many at a time as there are workers.

    A tile is walked through from top to bottom and memory grows with its width alone, so only the seams between columns
    are computed twice. Columns are about equal, at most LARGEST_WIDTH px (their halos come on top) and, with them, at
    least `smallest`.
    """
    tall, wide = (max(-(-side // TOTAL_STRIDE) * TOTAL_STRIDE, smallest) for side in (height, width))
    workers = min(threads, MOST_WORKERS)
    count = -(-wide // LARGEST_WIDTH)
    count = min(-(-count // workers) * workers, max(1, wide // max(smallest, NARROWEST)))
    bounds = [wide // TOTAL_STRIDE * k // count * TOTAL_STRIDE for k in range(count + 1)]
    tiles = []
    for left, right in pairwise(bounds):
        first, last = max(left - halo, 0), min(right + halo, wide)
        tiles.append(Tile(core=(0, tall, left, right), window=(0, tall, first, last)))
    return tiles


def workers_for(windows: int, threads: int) -> int:
    """How many windows are computed at a time."""
    return min(threads, windows, MOST_WORKERS)


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
    below: float = 0.0,
) -> decode.Peaks:
    """The peaks of one pass over a scan from `threshold` on, or from `below` under it; at most `most`, strongest first.

    `network` is folded (and in bf16, where that is wanted) and lies on `device`. `core` (px, multiple of 32; with the
    network's halo on both sides its smallest input at least; None: what suits the image) and `offset` (px, multiples of
    32, of square tiles) choose the tiles: they change speed and memory, not the answer.

    PredictionError when a GPU has no memory for a single window.
    """
    halo, smallest = network.halo, network.smallest_input
    tall, wide = max(windows.height, smallest), max(windows.width, smallest)
    if core is not None and core < smallest - 2 * halo:
        raise ValueError(f"the core must be {smallest - 2 * halo} px or more, not {core}")
    if core is None and device.type == "cpu":
        grid = columns_of(windows.height, windows.width, halo, smallest, torch.get_num_threads())
    else:
        square = core or GPU_CORE
        grid = tile_grid(tall, wide, core=square, halo=halo, stride=TOTAL_STRIDE, offset=offset)
    search = _Search(network, head, windows, threshold - below, most + 1)
    with full_precision():
        found = search.in_batches(grid, device) if device.type == "cuda" else search.on_cores(grid)
    joined = decode.join(found, network.taxa)
    if len(joined) > most and np.count_nonzero(joined.heat >= decode.logit(threshold)) > most:
        warnings.warn(
            f"more than {most} detections at threshold {threshold:g} in one scan: only the {most} best are kept. "
            "A higher threshold, or a detector trained on scans like this one, gives fewer",
            stacklevel=2,
        )
    return joined.strongest(most)


class _Search:
    """One pass over one scan; of each tile at most `most` peaks are kept."""

    def __init__(
        self, network: CentrePointNetwork, head: Head, windows: InputWindows, threshold: float, most: int
    ) -> None:
        self._network, self._head, self._windows = network, head, windows
        self._threshold, self._most = threshold, most

    def on_cores(self, grid: Sequence[Tile]) -> list[decode.Peaks]:
        """The peaks of each tile, on as many cores as torch has threads."""
        threads = torch.get_num_threads()
        workers = workers_for(len(grid), threads)
        with ThreadPoolExecutor(1, "soilpipe-read") as reader:

            def peaks(tile: Tile) -> decode.Peaks:
                with torch.inference_mode():
                    return self._in_strips(RowsAhead(self._windows, tile.window, reader), tile)

            try:
                if workers == 1:
                    return [peaks(tile) for tile in grid]
                share = threads // workers
                with ThreadPoolExecutor(workers, "soilpipe-detect", torch.set_num_threads, (share,)) as pool:
                    return list(pool.map(peaks, grid))
            finally:
                torch.set_num_threads(threads)  # what a thread sets for itself holds for those that begin after it

    def _in_strips(self, pixels: RowsAhead, tile: Tile) -> decode.Peaks:
        top, left = tile.window[0] // STRIDE, tile.window[2] // STRIDE
        found = []
        for part in answer_parts(self._network, pixels, self._head, self._owned(tile)):
            origin = (top + part.origin[0], left + part.origin[1])
            peaks = decode.find_peaks(part.answer, 0, self._threshold, part.core, origin)
            found.append(peaks.strongest(self._most))
        return decode.join(found, self._network.taxa).strongest(self._most)

    def in_batches(self, grid: Sequence[Tile], device: torch.device, size: int = GPU_BATCH) -> list[decode.Peaks]:
        """The peaks of each tile, `size` windows at once, or half as many whenever `device` has no memory for them."""
        batches = [grid[start : start + size] for start in range(0, len(grid), size)]

        def read(tiles: Sequence[Tile]) -> torch.Tensor:
            pixels = torch.from_numpy(np.stack([self._windows.read(*tile.window) for tile in tiles]))
            return pixels.pin_memory() if device.type == "cuda" else pixels

        found: list[decode.Peaks] = []
        with ThreadPoolExecutor(1, "soilpipe-read") as reader, torch.inference_mode():
            coming = reader.submit(read, batches[0])
            for index, tiles in enumerate(batches):
                pixels = coming.result()
                if index + 1 < len(batches):
                    coming = reader.submit(read, batches[index + 1])
                done = 0
                while done < len(tiles):
                    some = self._peaks(pixels[done : done + size], tiles[done : done + size], device)
                    if some is None:
                        size = _halved(size, pixels.shape[2:])
                        continue
                    found += some
                    done += len(some)
        return found

    def _peaks(self, pixels: torch.Tensor, tiles: Sequence[Tile], device: torch.device) -> list[decode.Peaks] | None:
        """None when there is no memory for so many windows at once, be it for the network or for finding the peaks;
        what was taken for them is free again."""
        try:
            answer = self._network(pixels.to(device, non_blocking=True), self._head)
            return [self._of_window(answer, index, tile) for index, tile in enumerate(tiles)]
        except RuntimeError as error:
            if not _tells_of_memory(error):
                raise
        # Beyond that block nothing holds on to what was computed so far.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _of_window(self, answer: Answer, index: int, tile: Tile) -> decode.Peaks:
        origin = (tile.window[0] // STRIDE, tile.window[2] // STRIDE)
        return decode.find_peaks(answer, index, self._threshold, self._owned(tile), origin).strongest(self._most)

    def _owned(self, tile: Tile) -> Cells:
        """The cells of a tile's window that lie in its core; cells that begin beyond the image are nobody's."""
        top, left = tile.window[0], tile.window[2]
        y0, y1, x0, x1 = tile.core
        y1, x1 = min(y1, self._windows.height), min(x1, self._windows.width)
        return (
            (y0 - top) // STRIDE,
            max(-(-(y1 - top) // STRIDE), (y0 - top) // STRIDE),
            (x0 - left) // STRIDE,
            max(-(-(x1 - left) // STRIDE), (x0 - left) // STRIDE),
        )


def _tells_of_memory(error: RuntimeError) -> bool:
    """Whether it says that the device has no memory: libraries below PyTorch have words of their own for it."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in ALLOCATION_FAILED)


def _halved(size: int, window: Sequence[int]) -> int:
    if size == 1:
        raise PredictionError(
            f"the GPU has no memory for one window of {window[1]} x {window[0]} px. Let other programs on it end, or "
            "detect on the CPU (CUDA_VISIBLE_DEVICES= before the command)"
        )
    return size // 2
