"""From the scene to the file's pixels: drops on the glass, an unsteady carriage, uneven gain, noise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from soilpipe.simulate.generator import Gain
from soilpipe.simulate.spec import SeasonSpec

MAX_SHIFT_PX = 2.0
_POOL_SPARE = 1_000_003


@dataclass(frozen=True)
class Carriage:
    """Where the carriage was: dy, dx (H,) float32, px by which each row of the scan lies off its place."""

    dy: np.ndarray
    dx: np.ndarray

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) x, y of the scene, px, where the scan shows them."""
        rows = np.clip(np.rint(points[:, 1]).astype(int), 0, len(self.dy) - 1)
        return points + np.stack([self.dx[rows], self.dy[rows]], axis=1)


def carriage(spec: SeasonSpec, number: int) -> Carriage:
    """Drift of the whole scan, a smooth wander along the rows, and a fine jitter; together at most 2 px."""
    rng = spec.random("carriage", number)
    rows = np.arange(spec.height_px)
    parts = []
    for _ in range(2):
        shift = rng.normal(0.0, 0.45)
        coarse = np.interp(rows, np.linspace(0, spec.height_px - 1, 7), rng.normal(0.0, 0.35, 7))
        knots = max(4, spec.height_px // 24)
        fine = np.interp(rows, np.linspace(0, spec.height_px - 1, knots), rng.normal(0.0, 0.10, knots))
        parts.append(np.clip(shift + coarse + fine, -MAX_SHIFT_PX, MAX_SHIFT_PX).astype(np.float32))
    return Carriage(dy=parts[0], dx=parts[1])


class Sensor:
    """One scanner's sensor: its stripes stay through the season, its gain and noise differ from scan to scan."""

    def __init__(self, spec: SeasonSpec, gain: Gain) -> None:
        self.spec, self.gain = spec, gain
        rng = spec.random("sensor")
        # A CIS bar is made of chips side by side, about 10 mm each, every one with a gain of its own.
        chips = int(np.ceil(spec.width_px / (10.4 * spec.px_per_mm))) + 1
        per_chip = 1.0 + gain.stripes * rng.standard_normal((chips, 3))
        starts = np.minimum((np.arange(spec.width_px) + rng.integers(4096)) // int(10.4 * spec.px_per_mm), 10**6)
        columns = per_chip[(starts - starts[0]) % chips]
        columns = columns + 0.25 * gain.stripes * rng.standard_normal((spec.width_px, 1))
        self.columns = columns.astype(np.float32)
        # Noise is drawn once; each scan reads it from another place on, which costs a twentieth of drawing it anew.
        self.pool = rng.standard_normal(spec.height_px * spec.width_px * 3 + _POOL_SPARE, dtype=np.float32)
        self.pool *= np.float32(gain.noise)

    def read(self, scene: np.ndarray, number: int, moved: Carriage) -> np.ndarray:
        """(H, W, 3) uint8 from the scene (H, W, 3) float32."""
        rng = self.spec.random("read", number)
        height, width = scene.shape[:2]
        gain = self.gain
        ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
        map_x = np.ascontiguousarray(np.broadcast_to(xs, (height, width)) - moved.dx[:, None])
        map_y = np.ascontiguousarray(np.broadcast_to((ys - moved.dy)[:, None], (height, width)))
        seen = cv2.remap(scene, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        level = gain.level * (1.0 + gain.scan * rng.standard_normal()) * (1.0 + gain.channel * rng.standard_normal(3))
        seen *= (self.columns * level.astype(np.float32))[None]
        if gain.gamma != 1.0:
            seen = 255.0 * np.power(np.clip(seen, 0.0, 255.0) / 255.0, gain.gamma)
        seen -= gain.black
        start = int(rng.integers(_POOL_SPARE))
        seen += self.pool[start : start + seen.size].reshape(seen.shape)
        seen += (0.35 * gain.noise * rng.standard_normal((height, 1, 1))).astype(np.float32)
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


class Weather:
    """What changes slowly over the ground: a moisture front, and drops of condensation on the glass."""

    def __init__(self, spec: SeasonSpec) -> None:
        self.spec = spec
        rng = spec.random("weather")
        self.times_h = np.array([_hours(spec.times[0], time) for time in spec.times])
        self.rough = rng.standard_normal((9, 9)).astype(np.float32)
        knots = np.arange(0.0, self.times_h[-1] + 49.0, 24.0)
        self.front = np.interp(self.times_h, knots, 0.2 + np.cumsum(rng.normal(0.0, 0.18, len(knots))))
        self.wet = rng.uniform(0.68, 0.86)
        n = int(rng.poisson(9.0 * spec.window_cm2 * rng.random()))
        cluster = rng.random((max(1, n // 40 + 1), 2))
        middle = cluster[rng.integers(len(cluster), size=n)] + rng.normal(0.0, 0.12, (n, 2))
        self.drops = middle * (spec.height_px, spec.width_px)
        self.size_mm = np.clip(rng.lognormal(-1.6, 0.5, n), 0.05, 0.8)
        self.born_h = rng.uniform(-96.0, self.times_h[-1] + 1.0, n)
        self.life_h = rng.uniform(12.0, 120.0, n)

    def apply(self, scene: np.ndarray, number: int) -> None:
        """Wet the scene and bedew the glass, in place."""
        height, width = scene.shape[:2]
        depth = np.linspace(0.0, 1.0, 128, dtype=np.float32)[:, None]
        rough = cv2.resize(self.rough, (128, 128), interpolation=cv2.INTER_CUBIC)
        dry = 1.0 / (1.0 + np.exp(-(depth - np.float32(self.front[number]) - 0.09 * rough) * 28.0))
        factor = cv2.resize(self.wet + (1.0 - self.wet) * dry, (width, height), interpolation=cv2.INTER_LINEAR)
        scene *= factor[..., None]
        self._bedew(scene, number)

    def _bedew(self, scene: np.ndarray, number: int) -> None:
        age = (self.times_h[number] - self.born_h) / self.life_h
        for i in np.flatnonzero((age > 0.0) & (age < 1.0)):
            radius = max(1.2, self.size_mm[i] * self.spec.px_per_mm / 2 * min(1.0, 0.4 + age[i]))
            y, x = self.drops[i]
            _drop(scene, float(y), float(x), float(radius))


def _drop(scene: np.ndarray, y: float, x: float, radius: float) -> None:
    """A drop on the glass: it clears and darkens the ground, with a bright edge below and a glint above."""
    reach = int(radius + 3)
    y0, x0 = max(0, int(y) - reach), max(0, int(x) - reach)
    y1, x1 = min(scene.shape[0], int(y) + reach + 1), min(scene.shape[1], int(x) + reach + 1)
    if y0 >= y1 or x0 >= x1:
        return
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    away = np.hypot(ys - y, xs - x) / radius
    inside = np.clip((1.05 - away) * radius, 0.0, 1.0)
    rim = np.exp(-(((away - 0.9) * 5.0) ** 2))
    below = np.clip((ys - y) / radius, -1.0, 1.0)
    factor = 1.0 + inside * (-0.16 + 0.30 * rim * below)
    glint = np.exp(-(((ys - y + 0.45 * radius) ** 2 + (xs - x) ** 2) / (0.06 * radius**2 + 0.4)))
    scene[y0:y1, x0:x1] = scene[y0:y1, x0:x1] * factor[..., None] + 26.0 * (glint * inside)[..., None]


def _hours(start: datetime, time: datetime) -> float:
    return (time - start).total_seconds() / 3600.0
