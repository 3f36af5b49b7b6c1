"""The tile grid, and reading windows of a scan at a wanted µm/px.

A tile is read with a halo of context and owns what has its centre in its half-open core. Pixels are (h, w, 3) uint8
RGB; windows are ``y0, y1, x0, x1``, half-open, in pixels of their level. Level ``k`` of a scan is its full size
divided by ``2**k``, rounded up; each pixel is the mean of 2 × 2 of the level before, halves rounded up, with the
last row or column counted twice where a side is odd.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

if TYPE_CHECKING:
    from soilpipe.background.contrast import EvenContrast
    from soilpipe.store import Store

SHORTEST_SIDE = 512
"""The pyramid ends at the first level whose short side is below this, px."""


class Pixels(Protocol):
    """One level of a scan, read by windows that must lie inside it (ValueError otherwise)."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray: ...


@dataclass(frozen=True)
class CutOut:
    """Where a window lies in the scan that it was cut from: its corner, and height and width of the scan; px."""

    y0: int
    x0: int
    full: tuple[int, int]


@dataclass(frozen=True)
class ScanImage:
    """A scan's pyramid. ``um_per_px`` is that of level 0.

    Of a window that was cut out of a scan: ``even`` is what evens the contrast of that scan, so that the window can be
    shown as the scan would be; ``cut`` says where it lies, where it is compared with references that are read by the
    coordinates of the scan (see ``background.cut_references``).
    """

    levels: tuple[Pixels, ...]
    um_per_px: float
    scan_id: str | None = None
    even: EvenContrast | None = None
    cut: CutOut | None = None

    @property
    def height(self) -> int:
        """Rows at full resolution, px."""
        return self.levels[0].height

    @property
    def width(self) -> int:
        """Columns at full resolution, px."""
        return self.levels[0].width


def pyramid_shapes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """(height, width) of every stored level, largest first."""
    shapes = [(height, width)]
    while min(shapes[-1]) >= SHORTEST_SIDE:
        height, width = shapes[-1]
        shapes.append(((height + 1) // 2, (width + 1) // 2))
    return tuple(shapes)


def halve(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 → (ceil(H/2), ceil(W/2), C) uint8: mean of 2 × 2, halves up, odd edges counted twice."""
    height, width, channels = pixels.shape
    if channels != 3 or min(height, width) < 2:
        return _mean_of_four(pixels)
    # OpenCV averages 2 x 2 of three channels by the same formula, four times faster; the odd edges are left to ours.
    halved = np.empty(((height + 1) // 2, (width + 1) // 2, 3), np.uint8)
    rows, columns = height // 2, width // 2
    whole = pixels[: 2 * rows, : 2 * columns]
    halved[:rows, :columns] = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    if width % 2:
        halved[:, columns:] = _mean_of_four(pixels[:, -1:])
    if height % 2:
        halved[rows:, :columns] = _mean_of_four(pixels[-1:, : 2 * columns])
    return halved


def _mean_of_four(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = np.add(pixels[0::2], pixels[1::2], dtype=np.uint16)
    total = rows[:, 0::2] + rows[:, 1::2]
    total += 2
    total >>= 2
    return total.astype(np.uint8)


def _inside(pixels: Pixels, y0: int, y1: int, x0: int, x1: int) -> None:
    if not (0 <= y0 <= y1 <= pixels.height and 0 <= x0 <= x1 <= pixels.width):
        raise ValueError(
            f"the window y {y0}:{y1}, x {x0}:{x1} does not lie inside {pixels.height} x {pixels.width} pixels"
        )


class ArrayPixels:
    """An array in memory, (H, W, 3) uint8."""

    def __init__(self, array: np.ndarray) -> None:
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f"expected (H, W, 3) uint8, not {array.shape} {array.dtype}")
        self._array = array
        self.height, self.width = array.shape[:2]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        _inside(self, y0, y1, x0, x1)
        return self._array[y0:y1, x0:x1]


class ZarrPixels:
    """One stored level, a (3, H, W) uint8 zarr array, decoded by the chunks that a window touches.

    Chunks are kept until a walk along the rows no longer needs them, so that each is decoded once however large the
    halo. Threads may share one object.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        _, self.height, self.width = array.shape
        _, self._rows, self._columns = array.chunks
        self._across = (array.shards or array.chunks)[2] // self._columns  # chunks decoded at a time along a row
        self._chunks: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._tallest = 0
        self._lock = threading.Lock()

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        _inside(self, y0, y1, x0, x1)
        window = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        if window.size == 0:
            return window
        down = range(y0 // self._rows, (y1 - 1) // self._rows + 1)
        first, last = x0 // self._columns, (x1 - 1) // self._columns + 1
        for shard in range(first // self._across, (last - 1) // self._across + 1):
            across = range(max(first, shard * self._across), min(last, (shard + 1) * self._across))
            for (row, column), chunk in self._held(down, across).items():
                top, left = row * self._rows, column * self._columns
                a, b = max(x0, left), min(x1, left + self._columns)
                c, d = max(y0, top), min(y1, top + self._rows)
                window[c - y0 : d - y0, a - x0 : b - x0] = chunk[c - top : d - top, a - left : b - left]
        return window

    def _held(self, down: range, across: range) -> dict[tuple[int, int], np.ndarray]:
        """Chunks of one shard; those that are missing in neighbouring rows are decoded in one request."""
        with self._lock:
            for missing, rows in groupby(down, lambda row: [x for x in across if (row, x) not in self._chunks]):
                if missing:
                    self._decode(list(rows), range(missing[0], missing[-1] + 1))
            held = {(row, column): self._chunks[row, column] for row in down for column in across}
            for key in held:
                self._chunks.move_to_end(key)
            self._tallest = max(self._tallest, len(down))
            room = self._tallest * -(-self.width // self._columns)
            while len(self._chunks) > room:
                self._chunks.popitem(last=False)
            return held

    def _decode(self, rows: Sequence[int], columns: range) -> None:
        top, left = rows[0] * self._rows, columns[0] * self._columns
        block = self._array[:, top : (rows[-1] + 1) * self._rows, left : columns.stop * self._columns]
        for row in rows:
            for column in columns:
                y, x = row * self._rows - top, column * self._columns - left
                planes = block[:, y : y + self._rows, x : x + self._columns]
                # (rows, columns, 3); many times faster than numpy's transposed copy
                self._chunks[row, column] = cv2.merge([*planes])


class HalvedPixels:
    """The level above another one, made when asked for: for scans too small to have it stored."""

    def __init__(self, source: Pixels) -> None:
        self._source = source
        self.height = (source.height + 1) // 2
        self.width = (source.width + 1) // 2

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        _inside(self, y0, y1, x0, x1)
        if y0 == y1 or x0 == x1:
            return np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        source = self._source
        return halve(source.read(2 * y0, min(2 * y1, source.height), 2 * x0, min(2 * x1, source.width)))


class DoubledPixels:
    """A level at twice its size, bilinear with pixel centres aligned; the same pixels whatever the window."""

    def __init__(self, source: Pixels) -> None:
        self._source = source
        self.height = 2 * source.height
        self.width = 2 * source.width

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        _inside(self, y0, y1, x0, x1)
        if y0 == y1 or x0 == x1:
            return np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        near_y, far_y = _neighbours(y0, y1, self._source.height)
        near_x, far_x = _neighbours(x0, x1, self._source.width)
        top, bottom = min(near_y.min(), far_y.min()), max(near_y.max(), far_y.max()) + 1
        left, right = min(near_x.min(), far_x.min()), max(near_x.max(), far_x.max()) + 1
        block = self._source.read(int(top), int(bottom), int(left), int(right)).astype(np.uint16)
        rows = 3 * block[near_y - top] + block[far_y - top]
        total = 3 * rows[:, near_x - left] + rows[:, far_x - left]
        return ((total + 8) >> 4).astype(np.uint8)


def _neighbours(start: int, stop: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the doubled axis the source pixel it lies in (weight 3/4) and the next nearest (1/4)."""
    doubled = np.arange(start, stop)
    near = doubled // 2
    return near, np.clip(near + np.where(doubled % 2, 1, -1), 0, size - 1)


def image_from_array(array: np.ndarray, um_per_px: float, scan_id: str | None = None) -> ScanImage:
    """A scan in memory from (H, W, 3) uint8, with the pyramid that the store would hold, to the bit."""
    levels = [array]
    for _ in pyramid_shapes(*array.shape[:2])[1:]:
        levels.append(halve(levels[-1]))
    return ScanImage(tuple(ArrayPixels(level) for level in levels), um_per_px, scan_id)


def open_image(store: Store, scan_id: str, um_per_px: float) -> ScanImage:
    """A stored scan, read by windows, never whole. Raises FileNotFoundError when its pixels are not in the store."""
    import zarr  # here: the grid and the arrays also serve machines without zarr

    from soilpipe import layout

    key = layout.image_zarr(scan_id)
    if not store.exists(f"{key}/zarr.json"):
        raise FileNotFoundError(f"the pixels of {scan_id} are not in the store {store.root}")
    group = zarr.open_group(store.zarr(key, read_only=True), mode="r", zarr_format=3)
    paths = [level["path"] for level in group.attrs["ome"]["multiscales"][0]["datasets"]]
    return ScanImage(tuple(ZarrPixels(group[path]) for path in paths), um_per_px, scan_id)


def at_scale(image: ScanImage, um_per_px: float) -> tuple[Pixels, float]:
    """The level nearest (in log2) to ``um_per_px``, and the factor: px at full resolution = px here × factor.

    Finer than level 0 by √2 or more: level 0 doubled, factor 0.5. Coarser than the last stored level: halved on
    from there.
    """
    steps = _halvings(image.um_per_px, um_per_px)
    if steps < 0:
        return DoubledPixels(image.levels[0]), 0.5
    level = min(steps, len(image.levels) - 1)
    pixels = image.levels[level]
    while level < steps and max(pixels.height, pixels.width) > 1:
        pixels = HalvedPixels(pixels)
        level += 1
    return pixels, float(2**level)


def factor_at(of_image: float, um_per_px: float) -> float:
    """The factor of `at_scale`, for an image of so many µm/px."""
    return 2.0 ** max(-1, _halvings(of_image, um_per_px))


def _halvings(of_image: float, wanted: float) -> int:
    if not (wanted > 0 and of_image > 0):
        raise ValueError(f"µm/px must be above 0, not {wanted} wanted of {of_image}")
    return math.ceil(math.log2(wanted / of_image) - 0.5)


@dataclass(frozen=True)
class Tile:
    """``core`` owns what has its centre in it; ``window`` is what is read. Both ``y0, y1, x0, x1``, half-open."""

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


def tile_grid(
    height: int, width: int, *, core: int, halo: int, stride: int, offset: tuple[int, int] = (0, 0)
) -> list[Tile]:
    """Tiles row by row over an image padded at the bottom and right to multiples of ``stride``.

    Cores partition the padded image. Windows are ``core + 2 * halo`` (the halo rounded up to the stride) or the whole
    padded side where that is shorter; at the border they move inwards. All their origins are multiples of ``stride``.
    ``core`` and ``offset`` (which shifts the core grid) must be multiples of it.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height} x {width} px has no tiles")
    if stride < 1 or core < stride or halo < 0 or any(value % stride for value in (core, *offset)):
        raise ValueError(
            f"core ({core}) and offset {offset} must be multiples of the stride ({stride}), core at least one "
            f"stride, halo ({halo}) at least 0"
        )
    halo = -(-halo // stride) * stride
    rows = _axis(-(-height // stride) * stride, core, halo, offset[0])
    columns = _axis(-(-width // stride) * stride, core, halo, offset[1])
    return [Tile(core=(*cy, *cx), window=(*wy, *wx)) for cy, wy in rows for cx, wx in columns]


def _axis(size: int, core: int, halo: int, offset: int) -> Sequence[tuple[tuple[int, int], tuple[int, int]]]:
    """(core, window) intervals along one padded side."""
    window = min(core + 2 * halo, size)
    starts = sorted({0, *range(offset % core, size, core)})
    intervals = []
    for start, stop in zip(starts, [*starts[1:], size], strict=True):
        first = min(max(start - halo, 0), size - window)
        intervals.append(((start, stop), (first, first + window)))
    return intervals
