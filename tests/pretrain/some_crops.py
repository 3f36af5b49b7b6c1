"""Crops made up: each place has its own ground, which stays, and a spot that is elsewhere each time."""

from __future__ import annotations

import cv2
import numpy as np

from soilpipe.pretrain.source import draw_batch


class SomeCrops:
    """`count` crops of `places` places, `side` px; half of them new. A `CropSource`."""

    def __init__(self, count: int = 24, places: int = 12, side: int = 96, *, seed: int = 0, valid: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.place = np.arange(count, dtype=np.int64) % places + 1000
        self.scanner = np.array([f"S{place % 3}" for place in self.place])
        self.is_new = np.arange(count) < count // 2
        grounds = [_ground(rng, side) for _ in range(places)]
        self._pixels = np.zeros((count, 7, side, side), np.uint8)
        self._pixels[:, 3:6] = 128
        for row in range(count):
            ground = grounds[row % places]
            scan = ground.copy()
            x, y = rng.integers(side // 4, 3 * side // 4, 2)
            cv2.ellipse(scan, (int(x), int(y)), (9, 4), float(rng.uniform(0, 180)), 0, 360, (230, 220, 200), -1)
            self._pixels[row, :3] = np.moveaxis(scan, -1, 0)
            if valid:
                change = scan.astype(int) - ground + 128
                self._pixels[row, 3:6], self._pixels[row, 6] = np.moveaxis(change.clip(1, 255), -1, 0), 255

    def __len__(self) -> int:
        return len(self._pixels)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        return self._pixels[indices]

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        return draw_batch(self.place, self.is_new, rng, batch)


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3) uint8, of a colour and a grain of its own."""
    grain = cv2.GaussianBlur(rng.normal(0, 150, (side, side, 3)), (0, 0), rng.uniform(1, 4))
    return (rng.uniform(60, 140, 3) + grain).clip(0, 255).astype(np.uint8)
