"""Random training crops, cut and changed in batches on the training device.

All samples lie on the device as uint8, where they fit. A crop is cut with an affine map (scale, quarter turns,
mirrored or not) in one `grid_sample` for the batch, then its brightness and its difference are changed independently.
What is drawn comes from one seeded numpy generator on the CPU, so the crops are the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from soilpipe.detect.dataset import OUTSIDE, Sample
from soilpipe.detect.network import Head

SCALES = (0.75, 1.35)
UNSCALED = 0.4  # share of crops that keep their pixels as they are: no blur from resampling
DROP_DIFFERENCE = 0.15  # share of crops without difference: first scans, and animals that rest
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
    `centred`: share of crops with such an animal in them; rarer taxa are taken more often (by 1/sqrt of their number).
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        head: Head,
        *,
        crop: int,
        length_range: tuple[float, float],
        centred: float,
        device: torch.device,
        rng: np.random.Generator,
    ) -> None:
        self._crop = crop
        self._centred = centred
        self._device = device
        self._rng = rng
        self._window = math.ceil(crop / SCALES[0]) + 2
        home = _home(samples, device)
        self._outside = torch.from_numpy(OUTSIDE).to(home)[:, None, None]
        self._images = [torch.from_numpy(sample.passes[head].pixels).to(home) for sample in samples]
        self._boxes = [sample.image.boxes / np.float32(sample.passes[head].factor) for sample in samples]
        self._samples = samples
        area = np.array([image.shape[1] * image.shape[2] for image in self._images], float)
        self._by_area = np.cumsum(area / area.sum())
        self._animals, self._by_rarity = self._find_animals(length_range)

    def _find_animals(self, length_range: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """(k, 2) int64 sample and row of each animal in the range, and their cumulated chances."""
        found, labels = [], []
        for index, (sample, boxes) in enumerate(zip(self._samples, self._boxes, strict=True)):
            length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
            wanted = (length >= length_range[0]) & (length < length_range[1]) & ~sample.image.crowd
            found += [(index, int(row)) for row in np.flatnonzero(wanted)]
            labels += sample.image.labels[wanted].tolist()
        if not found:
            return np.zeros((0, 2), np.int64), np.zeros(0)
        counts = np.bincount(labels)
        chances = 1 / np.sqrt(counts[np.array(labels)])
        return np.array(found, np.int64), np.cumsum(chances / chances.sum())

    @property
    def animals(self) -> int:
        """How many animals this pass has to learn from."""
        return len(self._animals)

    def draw(self, count: int) -> Crops:
        """The next `count` crops."""
        places = [self._place() for _ in range(count)]
        pixels = self._cut(places)
        self._jitter(pixels)
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
        unscaled = rng.random() < UNSCALED
        zoom = 1.0 if unscaled else math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
        turn = _TURNS[rng.integers(8)]
        if len(self._animals) and rng.random() < self._centred:
            sample, row = self._animals[
                np.searchsorted(self._by_rarity, rng.random(), side="right").clip(0, len(self._animals) - 1)
            ]
            box = self._boxes[sample][row]
            spread = crop / zoom / 2.5
            x = (box[0] + box[2]) / 2 + rng.uniform(-spread, spread)
            y = (box[1] + box[3]) / 2 + rng.uniform(-spread, spread)
        else:
            sample = min(int(np.searchsorted(self._by_area, rng.random(), side="right")), len(self._images) - 1)
            y, x = (rng.random() * side for side in self._images[sample].shape[1:])
        y, x = (
            _inside(value, side, crop / zoom / 3)
            for value, side in zip((y, x), self._images[sample].shape[1:], strict=True)
        )
        if unscaled:  # on the pixel grid, so that nothing is interpolated
            y, x = float(round(y)), float(round(x))
        return _Place(int(sample), y, x, zoom, turn)

    def _cut(self, places: Sequence[_Place]) -> torch.Tensor:
        """(n, 7, crop, crop) float32, 0..255."""
        size, crop = self._window, self._crop
        windows = torch.empty((len(places), 7, size, size), dtype=torch.uint8, device=self._outside.device)
        windows[:] = self._outside
        maps = np.zeros((len(places), 2, 3), np.float32)
        for index, place in enumerate(places):
            image = self._images[place.sample]
            top, left = math.floor(place.y - size / 2), math.floor(place.x - size / 2)
            y0, y1 = max(top, 0), min(top + size, image.shape[1])
            x0, x1 = max(left, 0), min(left + size, image.shape[2])
            if y0 < y1 and x0 < x1:
                windows[index, :, y0 - top : y1 - top, x0 - left : x1 - left] = image[:, y0:y1, x0:x1]
            maps[index, :, :2] = place.turn * (crop / (place.zoom * size))
            maps[index, :, 2] = (2 * (place.x - left) / size - 1, 2 * (place.y - top) / size - 1)
        grid = functional.affine_grid(
            torch.from_numpy(maps).to(self._device), [len(places), 7, crop, crop], align_corners=False
        )
        return functional.grid_sample(
            windows.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _jitter(self, pixels: torch.Tensor) -> None:
        """Gain and offset of the picture, of its colours, and of the difference, in place; some lose the difference."""
        rng, count = self._rng, len(pixels)
        gain = np.exp(rng.normal(0, 0.2, (count, 1))) * np.exp(rng.normal(0, 0.06, (count, 3)))
        offset = rng.normal(0, 10, (count, 1)) + rng.normal(0, 2, (count, 3))
        contrast = np.exp(rng.normal(0, 0.25, (count, 1)))
        drift = rng.normal(0, 2, (count, 3))
        dropped = rng.random(count) < DROP_DIFFERENCE

        def on_device(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(self._device)[:, :, None, None]

        picture, difference, valid = pixels[:, :3], pixels[:, 3:6], pixels[:, 6:]
        picture.mul_(on_device(gain)).add_(on_device(offset)).clamp_(0, 255)
        difference.sub_(128).mul_(on_device(contrast)).add_(on_device(drift) + 128).clamp_(1, 255)
        seen = (valid > 254.5) & ~torch.from_numpy(dropped).to(self._device)[:, None, None, None]
        valid.copy_(seen * 255.0)
        difference.copy_(torch.where(seen, difference, 128.0))

    def _animals_in(self, index: int, place: _Place) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """boxes (m, 4) in the crop, labels, whole length in px of the crop, ignored."""
        image, crop = self._samples[place.sample].image, self._crop
        boxes = self._boxes[place.sample].astype(np.float64)
        corners = (boxes.reshape(-1, 2, 2) - (place.x, place.y)) @ place.turn * place.zoom + crop / 2
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        cut = np.clip(boxes, 0, crop)
        inside = np.prod(cut[:, 2:] - cut[:, :2], axis=1)
        whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        here = inside > 0
        ignored = image.crowd | (inside < VISIBLE * whole)
        return cut[here], image.labels[here], length[here], ignored[here]


@dataclass(frozen=True)
class _Place:
    """Centre (px of the pass), magnification, and the map from crop to image directions (x y columns)."""

    sample: int
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


def _inside(value: float, side: int, margin: float) -> float:
    return float(min(max(value, margin), side - margin)) if side > 2 * margin else side / 2
