"""The loam generator, for training: crumbly ground, stones, sand, pores, roots, hyphae and seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from soilpipe.simulate.compose import Look, Sprite, paste
from soilpipe.simulate.field import BY_NAME, CASTING
from soilpipe.simulate.generator import GrowingRoot
from soilpipe.simulate.loam_bodies import PLANS
from soilpipe.simulate.loam_drawing import draw_plan
from soilpipe.simulate.loam_look import LITTER, LoamLook, varied

_KIND = 1  # beside an animal's pose: what its kind is drawn by


class Loam:
    """See `generator.Generator`. All of it is drawn by one `look`: brown and crumbly, where none is given."""

    def __init__(self, look: LoamLook | None = None) -> None:
        self.look = look or LoamLook()
        self.gain = self.look.gain

    def ground(self, height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> np.ndarray:
        look = self.look
        dry, dark, humus_colour = (np.array(colour, np.float32) for colour in (look.dry, look.dark, look.humus))
        relief = np.zeros((height, width), np.float32)
        tone = np.zeros((height, width), np.float32)
        for size_mm, weight in look.crumbs:
            dome, shade = _crumbs(rng, height, width, max(3.0, size_mm * px_per_mm))
            relief += dome * weight * np.sqrt(size_mm)
            tone += shade * weight
        fine = _noise(rng, height, width, 2.0) * 0.5 + _noise(rng, height, width, 5.0) * 0.5
        damp = _noise(rng, height, width, 9.0 * px_per_mm) * 0.7 + _noise(rng, height, width, 2.5 * px_per_mm) * 0.3
        mix = np.clip(look.damp[0] + look.damp[1] * damp + 0.12 * tone, 0.0, 1.0)[..., None]
        ground = dark * (1 - mix) + dry * mix
        humus = np.clip(_noise(rng, height, width, 6.0 * px_per_mm) - 0.4, 0.0, 1.0)[..., None]
        ground = ground * (1 - 0.7 * humus) + humus_colour * 0.7 * humus
        strength, other = look.mottles
        if strength:
            mottled = np.clip(_noise(rng, height, width, 4.0 * px_per_mm) - 0.5, 0.0, 1.0)[..., None] * strength
            ground = ground * (1 - mottled) + np.array(other, np.float32) * mottled
        slope = np.tanh(_slope(relief, look.lamp) * 1.6)
        lit = 1.0 + look.slope * slope + look.relief * (relief - relief.mean()) + look.grain * fine
        holes = 0.75 * _noise(rng, height, width, 1.3 * px_per_mm) + 0.45 * _noise(rng, height, width, 0.35 * px_per_mm)
        pores = np.clip((holes - 0.55 * relief - 0.75) * 2.5, 0.0, 1.0)
        ground = ground * (np.clip(lit, 0.35, 1.6) * (1 - look.pores * pores))[..., None]
        ground = np.ascontiguousarray(ground, np.float32)
        self._clutter(ground, px_per_mm, rng)
        return np.clip(ground, 4, 235)

    def _clutter(self, ground: np.ndarray, px_per_mm: float, rng: np.random.Generator) -> None:
        height, width = ground.shape[:2]
        cm2 = height * width / px_per_mm**2 / 100.0
        for name, per_cm2 in self.look.clutter.items():
            for _ in range(rng.poisson(per_cm2 * cm2)):
                look = Look(off_glass_px=float(rng.exponential(0.08)) * px_per_mm * 0.4, cover=None, shadow=0.3)
                thing = self._tinted(self._thing(name, px_per_mm, rng), rng)
                paste(ground, thing, rng.random() * height, rng.random() * width, look, 0.0)
        for root in self.roots(height, width, px_per_mm, rng, per_cm2=self.look.roots):
            paste(ground, root.sprite, root.y, root.x, Look(off_glass_px=float(rng.exponential(1.0))), 0.0)

    def _tinted(self, sprite: Sprite, rng: np.random.Generator) -> Sprite:
        """What lies on the ground, in this look's colours."""
        low, high = self.look.shade
        if low == high == 1.0:
            return sprite
        gain = np.array(self.look.tint, np.float32) * np.float32(rng.uniform(low, high))
        return Sprite(np.clip(sprite.colour * gain, 0, 255), sprite.alpha, sprite.body)

    def roots(
        self, height: int, width: int, px_per_mm: float, rng: np.random.Generator, per_cm2: float = 0.06
    ) -> tuple[GrowingRoot, ...]:
        cm2 = height * width / px_per_mm**2 / 100.0
        grown = []
        for _ in range(rng.poisson(per_cm2 * cm2)):
            root = _root(height, width, px_per_mm, rng)
            grown.append(replace(root, sprite=self._tinted(root.sprite, rng)))
        return tuple(grown)

    def animal(self, taxon: str, length_mm: float, angle: float, px_per_mm: float, pose: int, nudge: int) -> Sprite:
        plan = varied(PLANS[taxon], self.look.bodies, np.random.default_rng([pose, _KIND]))
        return draw_plan(plan, length_mm, angle, px_per_mm, pose, nudge)

    def look_alike(self, px_per_mm: float, rng: np.random.Generator) -> Sprite:
        kinds = list(self.look.look_alikes)
        name = kinds[rng.choice(len(kinds), p=list(self.look.look_alikes.values()))]
        if name == "skin":
            return self._skin(px_per_mm, rng)
        return self._tinted(self._thing(name, px_per_mm, rng), rng)

    def _thing(self, name: str, px_per_mm: float, rng: np.random.Generator) -> Sprite:
        if name != LITTER:
            return _THINGS[name](px_per_mm, rng)
        kind = self.look.litter[rng.integers(len(self.look.litter))]
        length, angle = kind.drawn_length(rng), float(rng.uniform(0, 2 * np.pi))
        return draw_plan(kind.plan, length, angle, px_per_mm, int(rng.integers(2**31)), 0)

    def _skin(self, px_per_mm: float, rng: np.random.Generator) -> Sprite:
        """A cast skin or a dead animal: an animal's body, often faded, torn or browned, that never moves."""
        taxon = CASTING[rng.integers(len(CASTING))]
        low, high = BY_NAME[taxon].length_mm
        length = float(np.exp(rng.uniform(np.log(low), np.log(max(low, min(high, 9.0))))))
        whole = self.animal(taxon, length, rng.uniform(0, 2 * np.pi), px_per_mm, int(rng.integers(2**31)), 0)
        alpha = whole.alpha * rng.uniform(0.45, 1.0)
        if rng.random() < 0.5:
            torn = _noise(rng, alpha.shape[0], alpha.shape[1], max(4.0, length * px_per_mm / 5))
            alpha = alpha * np.clip((torn + rng.uniform(0.0, 1.2)) * 3.0, 0.0, 1.0)
        colour = whole.colour * (
            rng.uniform(0.6, 1.05) * np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)])
        )
        return Sprite(colour.astype(np.float32), alpha.astype(np.float32), whole.body)


def _slope(relief: np.ndarray, lamp: float) -> np.ndarray:
    """How steeply the ground falls away from the lamp."""
    smooth = cv2.GaussianBlur(relief, (0, 0), 1.0)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)
    if not lamp:
        return down
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3)
    return down * np.float32(np.cos(lamp)) + across * np.float32(np.sin(lamp))


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """(height, width) float32, about normal, smooth over `cell` px."""
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    size = (max(width, int(columns * cell)), max(height, int(rows * cell)))
    return cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[:height, :width] * 1.2


def _crumbs(rng: np.random.Generator, height: int, width: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Crumbs of about `size` px: their domed relief, 0 to 1, and a tone of their own, both (height, width)."""
    edge = int(size)
    seeds = np.full((height + 2 * edge, width + 2 * edge), 255, np.uint8)
    n = max(4, int(seeds.size / size**2))
    seeds[rng.integers(0, seeds.shape[0], n), rng.integers(0, seeds.shape[1], n)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tone = rng.standard_normal(n + 2).astype(np.float32)[label]
    sway = [_noise(rng, height, width, max(3.0, size / 2.5)) * size * 0.22 for _ in range(2)]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    at = (xs + edge + sway[0], ys + edge + sway[1])
    dome = np.clip(1.0 - (cv2.remap(distance, *at, cv2.INTER_LINEAR) / (0.8 * size)) ** 2, 0.0, 1.0)
    return dome, cv2.remap(tone, *at, cv2.INTER_LINEAR)


def _blob(rng: np.random.Generator, radius: float, long: float, rough: float, corners: int) -> np.ndarray:
    """(h, w) float32 coverage of a closed, irregular outline."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * (1.0 + rough * rng.uniform(-1, 1, corners))
    angle = rng.uniform(0, np.pi)
    x, y = np.cos(turn) * reach * long, np.sin(turn) * reach
    points = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)
    half = int(np.ceil(np.abs(points).max())) + 2
    big = np.zeros((half * 8, half * 8), np.uint8)
    cv2.fillPoly(big, [np.rint((points + half) * 4 * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.resize(big, (half * 2, half * 2), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0


def _solid(mask: np.ndarray, colour: np.ndarray, opacity: float, rng: np.random.Generator, rough: float) -> Sprite:
    depth = cv2.GaussianBlur(mask, (0, 0), max(0.6, mask.shape[0] / 12))
    tone = 0.6 + 0.5 * depth + rough * _noise(rng, mask.shape[0], mask.shape[1], max(2.0, mask.shape[0] / 9))
    return Sprite(np.clip(colour * tone[..., None], 0, 255).astype(np.float32), mask * np.float32(opacity), mask)


def _sand(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """Sand: quartz lets the soil through, the rest is yellow or grey."""
    mask = _blob(rng, float(rng.lognormal(-2.6, 0.45)) * px_per_mm + 0.4, rng.uniform(1.0, 1.6), 0.25, 7)
    colour = np.array([(176, 164, 142), (150, 124, 84), (120, 112, 104), (196, 188, 172)][rng.integers(4)], np.float32)
    return _solid(mask, colour * rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.8), rng, 0.05)


def _grain(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A pale grain of the size and shade of a springtail."""
    mask = _blob(rng, rng.uniform(0.1, 0.4) * px_per_mm, rng.uniform(1.2, 3.4), 0.12, 12)
    colour = np.array([(206, 196, 172), (186, 166, 128), (214, 208, 196)][rng.integers(3)], np.float32)
    return _solid(mask, colour * rng.uniform(0.75, 1.05), rng.uniform(0.5, 0.95), rng, 0.08)


def _stone(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    mask = _blob(rng, float(rng.lognormal(0.2, 0.5)) * px_per_mm, rng.uniform(1.0, 1.7), 0.2, 9)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.0)
    colour = np.array([(122, 112, 100), (96, 84, 72), (138, 116, 88)][rng.integers(3)], np.float32)
    return _solid(mask, colour * rng.uniform(0.7, 1.0), 0.92, rng, 0.08)


def _seed(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """Seeds and sclerotia: brown, glossy, mite-like."""
    mask = _blob(rng, rng.uniform(0.1, 0.5) * px_per_mm, rng.uniform(1.1, 1.9), 0.05, 16)
    colour = np.array([(84, 54, 36), (58, 38, 28), (112, 78, 50), (104, 52, 38)][rng.integers(4)], np.float32)
    sprite = _solid(mask, colour, 0.95, rng, 0.04)
    light = np.roll(cv2.GaussianBlur(mask, (0, 0), max(0.8, mask.shape[0] / 8)) ** 6, -mask.shape[0] // 10, axis=0)
    return Sprite(np.clip(sprite.colour + 60 * light[..., None], 0, 255), sprite.alpha, mask)


def _pellets(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A little heap of faecal pellets."""
    size = int(2.0 * px_per_mm) + 8
    colour, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    tint = np.array([58, 40, 28], np.float32) * rng.uniform(0.6, 1.5)
    for _ in range(rng.integers(1, 9)):
        one = _solid(
            _blob(rng, rng.uniform(0.06, 0.14) * px_per_mm, 1.7, 0.08, 12),
            tint * rng.uniform(0.8, 1.2),
            0.95,
            rng,
            0.08,
        )
        h, w = one.alpha.shape
        if h >= size or w >= size:
            continue
        y = int(np.clip(rng.normal(size / 2, size / 9) - h / 2, 0, size - h))
        x = int(np.clip(rng.normal(size / 2, size / 9) - w / 2, 0, size - w))
        here = np.s_[y : y + h, x : x + w]
        colour[here] = np.where(one.alpha[..., None] > 0.02, one.colour, colour[here])
        alpha[here] = np.maximum(alpha[here], one.alpha)
    return Sprite(colour, alpha, alpha)


def _thread(
    rng: np.random.Generator, length: float, width: float, bend: float, colour: np.ndarray, opacity: float
) -> Sprite:
    """A bent thread of even width, px."""
    n = int(np.clip(length / 4, 8, 200))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend / np.sqrt(n), n))
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * length / n, axis=0)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    half = np.ceil(np.abs(points).max(axis=0) + width + 3).astype(int)
    canvas = np.zeros((half[1] * 4, half[0] * 4), np.uint8)
    path = np.rint((points + half) * 2 * 16).astype(np.int32)
    cv2.polylines(canvas, [path], False, 255, max(1, round(width * 2)), cv2.LINE_AA, 4)
    mask = cv2.resize(canvas, (half[0] * 2, half[1] * 2), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    mask *= min(1.0, width * 2)
    return _solid(mask, colour, opacity, rng, 0.1)


def _fibre(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A bit of dead root: as long, as thick and as pale as a potworm, or brown."""
    colour = np.array([(202, 188, 156), (168, 136, 96), (110, 78, 52), (212, 204, 186)][rng.integers(4)], np.float32)
    width = rng.uniform(0.05, 0.32) * px_per_mm
    return _thread(rng, rng.uniform(1.0, 9.0) * px_per_mm, width, rng.uniform(0.2, 2.2), colour, rng.uniform(0.35, 0.9))


def _hypha(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    colour = np.array([190, 186, 176], np.float32)
    return _thread(
        rng, rng.uniform(1.0, 8.0) * px_per_mm, 0.02 * px_per_mm, rng.uniform(0.5, 2.5), colour, rng.uniform(0.15, 0.5)
    )


_THINGS: Mapping[str, Callable[[float, np.random.Generator], Sprite]] = {
    "sand": _sand,
    "stone": _stone,
    "hypha": _hypha,
    "fibre": _fibre,
    "pellets": _pellets,
    "seed": _seed,
    "grain": _grain,
}


def _root(height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> GrowingRoot:
    """A root with side roots; `when` tells when its tip gets where."""
    main = rng.uniform(5.0, 28.0) * px_per_mm
    thick = float(np.clip(rng.lognormal(-1.6, 0.5), 0.06, 0.9)) * px_per_mm
    strokes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    _stroke(rng, np.zeros(2), rng.normal(np.pi / 2, 0.8), main, thick, 0.0, 2, strokes, px_per_mm)
    every = np.concatenate([points for points, _, _ in strokes])
    centre = (every.max(axis=0) + every.min(axis=0)) / 2
    half = np.ceil((every.max(axis=0) - every.min(axis=0)) / 2 + thick + 4).astype(int)
    canvas = np.zeros((half[1] * 2, half[0] * 2), np.uint8)
    when = np.full(canvas.shape, 2.0, np.float32)
    for points, widths, times in strokes:
        path = np.rint((points - centre + half) * 16).astype(np.int32)
        for i in range(len(path) - 1):
            size = max(1, round(float(widths[i])))
            cv2.line(canvas, path[i].tolist(), path[i + 1].tolist(), 255, size, cv2.LINE_AA, 4)
            cv2.line(when, path[i].tolist(), path[i + 1].tolist(), float(times[i]), size + 3, cv2.LINE_8, 4)
    mask = canvas.astype(np.float32) / 255.0
    colour = np.array([(206, 190, 158), (176, 144, 104), (128, 92, 62), (216, 208, 188)][rng.integers(4)], np.float32)
    sprite = _solid(mask, colour * rng.uniform(0.7, 1.0), rng.uniform(0.55, 0.95), rng, 0.12)
    return GrowingRoot(sprite, when, y=rng.uniform(-0.05, 1.0) * height, x=rng.random() * width)


def _stroke(
    rng: np.random.Generator, start: np.ndarray, heading: float, length: float, thick: float, time: float, levels: int,
    strokes: list[tuple[np.ndarray, np.ndarray, np.ndarray]], px_per_mm: float,
) -> None:  # fmt: skip
    n = int(np.clip(length / 6, 6, 160))
    headings = heading + np.cumsum(rng.normal(0, 0.9 / np.sqrt(n), n))
    points = start + np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1) * length / n, axis=0)
    widths = thick * np.linspace(1.0, 0.55, n)
    times = time + (1.0 - time) * np.linspace(0.0, 1.0, n)
    strokes.append((points, widths, times))
    if levels <= 1:
        return
    for i in range(2, n - 1):
        if rng.random() < 0.35 * length / px_per_mm / n:
            turned = headings[i] + rng.choice((-1, 1)) * rng.uniform(0.6, 1.3)
            side = length * rng.uniform(0.08, 0.4)
            _stroke(
                rng, points[i], turned, side, max(thick * 0.4, 0.8), float(times[i]), levels - 1, strokes, px_per_mm
            )
