"""How the peat generator draws beads: ellipsoids on a height map, lit from the side where the scanner's lamp is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilpipe.simulate.compose import Sprite
from soilpipe.simulate.peat_bodies import Beads

_LAMP = (0.15, -0.55, 0.82)  # towards the lamp: x, y, out of the glass


class BeadCanvas:
    """height, alpha, body: (h, w) float32; light: (h, w, 3) float32 RGB. Beads drawn so far, the highest on top."""

    def __init__(self, rows: int, columns: int) -> None:
        self.height = np.full((rows, columns), -1.0, np.float32)
        self.light = np.zeros((rows, columns, 3), np.float32)
        self.alpha = np.zeros((rows, columns), np.float32)
        self.body = np.zeros((rows, columns), np.float32)

    def bead(
        self, x: float, y: float, long: float, wide: float, angle: float, hue: np.ndarray,
        clear: float, gloss: float, base: float, is_body: bool,
    ) -> None:  # fmt: skip
        """One ellipsoid with half axes long and wide, px, its long axis along `angle`."""
        faint = min(1.0, wide / 0.55)
        long, wide = max(long, 0.55), max(wide, 0.55)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        tall = int(((long * sin) ** 2 + (wide * cos) ** 2) ** 0.5 + 2)
        broad = int(((long * cos) ** 2 + (wide * sin) ** 2) ** 0.5 + 2)
        y0, x0 = max(0, int(y) - tall), max(0, int(x) - broad)
        y1, x1 = min(self.alpha.shape[0], int(y) + tall + 1), min(self.alpha.shape[1], int(x) + broad + 1)
        if y0 >= y1 or x0 >= x1:
            return
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(y)
        dx = np.arange(x0, x1, dtype=np.float32)[None] - np.float32(x)
        u, v = dx * (cos / long) + dy * (sin / long), dy * (cos / wide) - dx * (sin / wide)
        inside = 1.0 - u * u - v * v
        coverage = np.clip(inside * min(long, wide) * 0.5 + 0.5, 0.0, 1.0) * faint
        z = np.sqrt(np.clip(inside, 0.0, 1.0))
        along, across = _LAMP[0] * cos + _LAMP[1] * sin, _LAMP[1] * cos - _LAMP[0] * sin
        lit = np.clip(along * u + across * v + _LAMP[2] * z, 0.0, 1.0)
        shade = (0.38 + 0.62 * lit)[..., None] * hue + 255.0 * gloss * 0.5 * (lit**14)[..., None]
        here = np.s_[y0:y1, x0:x1]
        level = base + z
        over = (level > self.height[here]) & (coverage > 0.04)
        self.light[here] = np.where(over[..., None], shade, self.light[here])
        self.height[here] = np.where(over, level, self.height[here])
        self.alpha[here] = np.maximum(self.alpha[here], coverage * (1.0 - clear * (1.0 - 0.55 * z)))
        if is_body:
            self.body[here] = np.maximum(self.body[here], coverage)

    def sprite(self) -> Sprite:
        return Sprite(np.clip(self.light, 0.0, 255.0), self.alpha, self.body)


@dataclass(frozen=True)
class _Spine:
    x: np.ndarray
    y: np.ndarray
    heading: np.ndarray

    def at(self, place: float) -> tuple[float, float, float]:
        i = min(len(self.x) - 1, max(0, round(place * (len(self.x) - 1))))
        return float(self.x[i]), float(self.y[i]), float(self.heading[i])


def draw_beads(plan: Beads, length_mm: float, angle: float, px_per_mm: float, pose: int, nudge: int) -> Sprite:
    """An animal of beads; see `generator.Generator.animal`."""
    rng, moved = np.random.default_rng([pose, 1]), np.random.default_rng([pose, nudge, 2])
    length = max(3.0, length_mm * px_per_mm)
    spine = _spine(plan, length, angle, rng, moved if nudge else None)
    widest = 1.2 * max(tagma[2] for tagma in plan.tagmata) * length
    reach = widest + length * max(plan.legs[3], plan.antenna, plan.tail, plan.arms) * 1.1 + 3.0
    columns, rows = (2 * int(np.abs(v).max() + reach) + 1 for v in (spine.x, spine.y))
    canvas = BeadCanvas(rows, columns)
    middle = (columns - 1) / 2.0, (rows - 1) / 2.0
    hues = (plan.hue, *plan.others)
    hue = np.array(hues[rng.integers(len(hues))], np.float32) * rng.uniform(0.75, 1.05)
    clear = plan.clear * rng.uniform(0.7, 1.3)
    _limbs(canvas, plan, spine, length, middle, hue * 0.85, clear, moved)
    start, total = 0.0, sum(tagma[1] for tagma in plan.tagmata)
    girth = rng.uniform(0.9, 1.15)
    for number, (count, share, half, bright) in enumerate(plan.tagmata):
        share = share / total
        taper_end = 0.45 if number == len(plan.tagmata) - 1 and count > 1 else 0.85
        for i in range(count):
            within = (i + 0.5) / count
            x, y, heading = spine.at(start + share * within)
            narrow = 1.0 - (1.0 - taper_end) * max(0.0, within - 0.55) / 0.45 if count > 1 else 1.0
            long = share * length / count * (0.6 if count == 1 else 1.05) * plan.smooth
            long = max(long, 0.35 * half * length) if count > 12 else long
            tone = hue * bright * (1.0 + 0.05 * rng.standard_normal())
            where = (x + middle[0], y + middle[1])
            canvas.bead(*where, long, half * length * girth * narrow, heading, tone, clear, plan.gloss, 0.5, True)
        start += share
    return canvas.sprite()


def _spine(
    plan: Beads, length: float, angle: float, rng: np.random.Generator, moved: np.random.Generator | None
) -> _Spine:
    n = int(np.clip(length / 2, 32, 400))
    t = np.linspace(0.0, 1.0, n)
    knots = rng.uniform(-1.0, 1.0, 4)
    if moved is not None:
        knots = knots + 0.05 * moved.uniform(-1.0, 1.0, 4)
    curve = plan.turn * np.polyval([0.5 * knots[0], knots[1], 0.0], t - 0.5)
    heading = angle + curve + plan.swing * np.sin(np.pi * (1.5 + knots[2]) * 2 * t + 3 * knots[3])
    x, y = (-np.cumsum(f(heading)) * length / n for f in (np.cos, np.sin))
    return _Spine(x - (x.max() + x.min()) / 2, y - (y.max() + y.min()) / 2, heading)


def _limbs(
    canvas: BeadCanvas, plan: Beads, spine: _Spine, length: float, middle: tuple[float, float], hue: np.ndarray,
    clear: float, moved: np.random.Generator,
) -> None:  # fmt: skip
    def chain(place: float, way: float, curl: float, long: float, thick: float, end: float = 0.4) -> None:
        x, y, heading = spine.at(place)
        n = int(np.clip(long / max(2.5, 2.0 * thick), 4, 14))
        for i in range(n):
            turn = heading + way + curl * (i / n - 0.3)
            x, y = x + np.cos(turn) * long / n, y + np.sin(turn) * long / n
            size = thick * (1.0 + (end - 1.0) * i / n)
            canvas.bead(
                x + middle[0], y + middle[1], max(size, long / n * 0.8), size, turn, hue, clear, 0.1, 0.0, False
            )

    pairs, first, last, leg = plan.legs
    widths = [tagma[2] for tagma in plan.tagmata]
    for pair in range(pairs):
        share = (pair + 0.5) / pairs
        for side in (-1.0, 1.0):
            way = side * (np.pi / 2 + (0.8 * (share - 0.45) if pairs < 10 else 0.15) + moved.normal(0.0, 0.12))
            long = (leg + 0.8 * max(widths)) * length
            chain(first + (last - first) * share, way, side * 0.7, long, max(0.35, 0.055 * leg * length))
    for side in (-1.0, 1.0):
        if plan.antenna:
            thick = max(0.35, 0.008 * length)
            chain(0.02, side * (0.3 + moved.normal(0, 0.1)), side * 0.6, plan.antenna * length, thick)
        if plan.arms:
            chain(0.06, side * 1.0, -side * 1.5, plan.arms * length, 0.03 * length, 2.0)
        if plan.tail:
            curl = -side * 1.8 if plan.pincers else side * 0.2
            thick = max(0.35, (0.022 if plan.pincers else 0.008) * length)
            chain(0.99, np.pi - side * (0.45 if plan.pincers else 0.2), curl, plan.tail * length, thick)
