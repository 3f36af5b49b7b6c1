"""Random training crops, cut and changed in batches on the training device.

All samples lie on the device as uint8, where they fit. A crop is cut with an affine map (scale, quarter turns,
mirrored or not), then its light is changed (`soilpipe.detect.light`). Some crops are of artificial scenes instead
(`soilpipe.detect.scenes`). What is drawn comes from one seeded numpy generator on the CPU, so the crops are the same on
every device.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from soilpipe.detect.dataset import Sample
from soilpipe.detect.light import Lighting, change_light
from soilpipe.detect.padding import OUTSIDE
from soilpipe.detect.passes import HEAD_OF, PassName
from soilpipe.detect.scenes import Scenes

SCALES = (0.75, 1.35)
UNSCALED = 0.4  # share of crops that keep their pixels as they are: no blur from resampling
SPREAD = 0.8  # of a crop's side: the middle of what is pasted lies within this much of it
_ENOUGH = 1 << 22  # px that tell what an image usually changes by
ARTIFICIAL, REAL, SIMULATED = CROPS = ("crops artificial", "crops real", "crops simulated")  # what a tally counts
FAINT = 3.0  # times the median change of an image: an animal's box with less on average hardly shows in the difference
FAINT_MORE = 2.0  # such animals, and all where there is no difference, are taken this many times as often
VISIBLE = 0.4  # an animal cut by the crop's border counts when this share of its box is inside, else it is ignored


@dataclass(frozen=True)
class Crops:
    """A batch of crops of one pass, and the animals in them.

    pixels   (n, 7, s, s) uint8 on the training device
    crop     (m,) int64: which crop each animal is in
    boxes    (m, 4) float32, px of the crop, cut to it
    labels   (m,) int64
    length   (m,) float32: longest side of the whole box, px of the crop
    ignored  (m,) bool: neither to be found nor to be left out (crowds, and animals mostly outside)
    """

    pixels: torch.Tensor
    crop: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    length: np.ndarray
    ignored: np.ndarray


class CropSampler:
    """Draws crops of one pass from all samples.

    `length_range`: px at the pass's scale; the animals that this pass is to learn, on which crops are centred.
    `centred`: share of crops with such an animal in them; rarer taxa are taken more often (by 1/sqrt of their number),
    and so are animals that hardly show in the difference (`FAINT_MORE`; `Sample.faint`).
    `light`: how far the light is changed, the `strength` that `lighting` gets. `scenes`: of which its share of the
    crops is made; None, or none of this pass: all crops are of the samples. `tally`: counts what the crops are of
    (`CROPS`), as they are drawn.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        name: PassName,
        *,
        crop: int,
        length_range: tuple[float, float],
        centred: float,
        device: torch.device,
        rng: np.random.Generator,
        light: float = 1.0,
        lighting: Lighting = change_light,
        scenes: Scenes | None = None,
        tally: Counter[str] | None = None,
    ) -> None:
        self._crop = crop
        self._light, self._lighting = light, lighting
        self._centred = centred
        self._device = device
        self._rng = rng
        self._tally: Counter[str] = Counter() if tally is None else tally
        self._window = math.ceil(crop / SCALES[0]) + 2
        home = _home(samples, device)
        self._outside = torch.from_numpy(OUTSIDE).to(home)[:, None, None]
        self._sources = [
            _Source(
                torch.from_numpy(sample.passes[name].pixels).to(home),
                sample.image.boxes / np.float32(sample.passes[name].factor),
                sample.image.labels,
                sample.image.crowd,
                SIMULATED if sample.image.simulated else REAL,
                None if sample.faint is None else sample.faint[HEAD_OF[name]],
            )
            for sample in samples
        ]
        area = np.array([source.pixels.shape[1] * source.pixels.shape[2] for source in self._sources], float)
        self._by_area = np.cumsum(area / area.sum())
        self._animals, self._by_rarity = self._find_animals(length_range)
        self._scenes = None if scenes is None or name == "finest" else scenes.of_pass(HEAD_OF[name], length_range)
        self._scene_share = scenes.share if scenes is not None and self._scenes is not None else 0.0

    def _find_animals(self, length_range: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """(k, 2) int64 sample and row of each animal in the range, and their cumulated chances."""
        found, labels, faint = [], [], []
        for index, source in enumerate(self._sources):
            length = (source.boxes[:, 2:] - source.boxes[:, :2]).max(axis=1, initial=0)
            wanted = (length >= length_range[0]) & (length < length_range[1]) & ~source.crowd
            found += [(index, int(row)) for row in np.flatnonzero(wanted)]
            labels += source.labels[wanted].tolist()
            told = source.faint
            faint += (faint_of(source.pixels, source.boxes[wanted]) if told is None else told[wanted]).tolist()
        if not found:
            return np.zeros((0, 2), np.int64), np.zeros(0)
        counts = np.bincount(labels)
        chances = np.where(faint, FAINT_MORE, 1.0) / np.sqrt(counts[np.array(labels)])
        return np.array(found, np.int64), np.cumsum(chances / chances.sum())

    @property
    def animals(self) -> int:
        """How many animals this pass has to learn from."""
        return len(self._animals)

    def draw(self, count: int) -> Crops:
        """The next `count` crops."""
        places = [self._place() for _ in range(count)]
        self._tally.update(place.source.kind for place in places)
        pixels = self._cut(places)
        self._lighting(pixels, self._rng, self._light)
        parts = [self._animals_in(index, place) for index, place in enumerate(places)]
        return Crops(
            pixels.round_().to(torch.uint8),
            np.concatenate([np.full(len(part[0]), index, np.int64) for index, part in enumerate(parts)]),
            np.concatenate([part[0] for part in parts]).astype(np.float32),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]).astype(np.float32),
            np.concatenate([part[3] for part in parts]),
        )

    def _place(self) -> _Place:
        """Where the next crop lies. Its centre is kept a third of a crop inside the image, where there is room."""
        rng, crop = self._rng, self._crop
        of_scene = self._scene_share > 0 and rng.random() < self._scene_share
        unscaled = rng.random() < UNSCALED
        zoom = 1.0 if unscaled else math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
        turn = _TURNS[rng.integers(8)]
        if of_scene:
            return self._scene_place(zoom, turn)
        if len(self._animals) and rng.random() < self._centred:
            sample, row = self._animals[
                np.searchsorted(self._by_rarity, rng.random(), side="right").clip(0, len(self._animals) - 1)
            ]
            source = self._sources[sample]
            box = source.boxes[row]
            spread = crop / zoom / 2.5
            x = (box[0] + box[2]) / 2 + rng.uniform(-spread, spread)
            y = (box[1] + box[3]) / 2 + rng.uniform(-spread, spread)
        else:
            sample = min(int(np.searchsorted(self._by_area, rng.random(), side="right")), len(self._sources) - 1)
            source = self._sources[sample]
            y, x = (rng.random() * side for side in source.pixels.shape[1:])
        y, x = (
            _inside(value, side, crop / zoom / 3) for value, side in zip((y, x), source.pixels.shape[1:], strict=True)
        )
        if unscaled:  # on the pixel grid, so that nothing is interpolated
            y, x = float(round(y)), float(round(x))
        return _Place(source, y, x, zoom, turn)

    def _scene_place(self, zoom: float, turn: np.ndarray) -> _Place:
        """A place in the middle of a scene that is made for it."""
        assert self._scenes is not None
        side = self._crop if zoom == 1.0 else self._window
        scene = self._scenes.draw(side, SPREAD * self._crop / zoom, self._rng)
        source = _Source(torch.from_numpy(scene.pixels), scene.boxes, scene.labels, scene.crowd, ARTIFICIAL)
        return _Place(source, side / 2, side / 2, zoom, turn)

    def _cut(self, places: Sequence[_Place]) -> torch.Tensor:
        """(n, 7, crop, crop) float32, 0..255. What keeps its scale is copied; only the rest is interpolated."""
        crop = self._crop
        pixels = torch.empty((len(places), 7, crop, crop), device=self._device)
        scaled = [index for index, place in enumerate(places) if place.zoom != 1.0]
        for index, place in enumerate(places):
            if place.zoom == 1.0:
                pixels[index] = _turned(self._window_at(place, crop), place.turn)
        if scaled:
            size = self._window
            maps = np.zeros((len(scaled), 2, 3), np.float32)
            windows = torch.empty((len(scaled), 7, size, size), device=self._device)
            for row, place in enumerate(places[index] for index in scaled):
                windows[row] = self._window_at(place, size)
                top, left = math.floor(place.y - size / 2), math.floor(place.x - size / 2)
                maps[row, :, :2] = place.turn * (crop / (place.zoom * size))
                maps[row, :, 2] = (2 * (place.x - left) / size - 1, 2 * (place.y - top) / size - 1)
            grid = functional.affine_grid(
                torch.from_numpy(maps).to(self._device), [len(scaled), 7, crop, crop], align_corners=False
            )
            pixels[scaled] = functional.grid_sample(
                windows, grid, mode="bilinear", padding_mode="border", align_corners=False
            )
        return pixels

    def _window_at(self, place: _Place, size: int) -> torch.Tensor:
        """(7, size, size) uint8 around a place, `OUTSIDE` beyond the image."""
        image = place.source.pixels
        top, left = math.floor(place.y - size / 2), math.floor(place.x - size / 2)
        y0, y1 = max(top, 0), min(top + size, image.shape[1])
        x0, x1 = max(left, 0), min(left + size, image.shape[2])
        if (y1 - y0, x1 - x0) == (size, size):
            return image[:, y0:y1, x0:x1]
        window = self._outside.expand(7, size, size).clone()
        if y0 < y1 and x0 < x1:
            window[:, y0 - top : y1 - top, x0 - left : x1 - left] = image[:, y0:y1, x0:x1]
        return window

    def _animals_in(self, index: int, place: _Place) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """boxes (m, 4) in the crop, labels, whole length in px of the crop, ignored."""
        source, crop = place.source, self._crop
        boxes = source.boxes.astype(np.float64)
        corners = (boxes.reshape(-1, 2, 2) - (place.x, place.y)) @ place.turn * place.zoom + crop / 2
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        cut = np.clip(boxes, 0, crop)
        inside = np.prod(cut[:, 2:] - cut[:, :2], axis=1)
        whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        here = inside > 0
        ignored = source.crowd | (inside < VISIBLE * whole)
        return cut[here], source.labels[here], length[here], ignored[here]


@dataclass(frozen=True)
class _Source:
    """What crops are cut from: pixels (7, h, w) uint8 of a pass, its animals, boxes in px of the pass, which of `CROPS`
    it makes, and which animals are faint, (n,) bool (None: the pixels tell)."""

    pixels: torch.Tensor
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    kind: str
    faint: np.ndarray | None = None


@dataclass(frozen=True)
class _Place:
    """Centre (px of the pass), magnification, and the map from crop to image directions (x y columns)."""

    source: _Source
    y: float
    x: float
    zoom: float
    turn: np.ndarray


def _home(samples: Sequence[Sample], device: torch.device) -> torch.device:
    """Where the samples lie: on the training device, unless they would take more than half of a GPU's free memory."""
    if device.type != "cuda":
        return device
    size = sum(part.pixels.nbytes for sample in samples for part in sample.passes.values())
    return device if size < 0.5 * torch.cuda.mem_get_info(device)[0] else torch.device("cpu")


_TURNS = [
    np.array([[sx, 0], [0, sy]], np.float64) if not swapped else np.array([[0, sx], [sy, 0]], np.float64)
    for swapped in (False, True)
    for sx in (1, -1)
    for sy in (1, -1)
]


def faint_of(pixels: torch.Tensor, boxes: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, 4) boxes on (7, h, w) hold an animal that the difference does not give away.

    Animals that have rested since the references were taken, and all of them where there are no references.
    """

    def change(y0: int, y1: int, x0: int, x1: int, step: int = 1) -> np.ndarray:
        """Of a window, or of every `step`-th px of it, summed over R, G, B."""
        window = pixels[3:6, y0:y1:step, x0:x1:step].cpu().numpy().astype(np.int16)
        return np.abs(window - 128).sum(axis=0)

    if not len(boxes):
        return np.zeros(0, bool)
    height, width = pixels.shape[1:]
    usual = np.median(change(0, height, 0, width, step=max(1, math.isqrt(height * width // _ENOUGH))))
    least = FAINT * max(float(usual), 1.5)  # half a grey level: where there is no difference, all are faint
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1).clip(0).astype(int)
    parts = [change(y0, max(y1, y0 + 1), x0, max(x1, x0 + 1)) for x0, y0, x1, y1 in corners.tolist()]
    return np.array([part.size > 0 and float(part.mean()) < least for part in parts], bool)


def _turned(window: torch.Tensor, turn: np.ndarray) -> torch.Tensor:
    """(7, s, s) as the crop shows it: the pixel at (x, y) from its middle is the window's at turn @ (x, y)."""
    swapped = turn[0, 0] == 0
    along_x, along_y = turn[0].sum(), turn[1].sum()
    flipped = [axis for axis, sign in ((1, along_y), (2, along_x)) if sign < 0]
    window = window.flip(flipped) if flipped else window
    return window.transpose(1, 2) if swapped else window


def _inside(value: float, side: int, margin: float) -> float:
    return float(min(max(value, margin), side - margin)) if side > 2 * margin else side / 2
