"""The peat generator, for testing only: fibrous, nearly black ground, moss leaves, mould, charcoal, dead wood.

Textures are made in the frequency domain and by smearing sparse dots along fibres; nothing is taken from the loam
generator, so that a detector judged here has seen neither these textures nor these bodies.
"""

from __future__ import annotations

import cv2
import numpy as np

from soilpipe.simulate.compose import Look, Sprite, paste
from soilpipe.simulate.field import BY_NAME, CASTING
from soilpipe.simulate.generator import Gain, GrowingRoot
from soilpipe.simulate.peat_bodies import BEADS
from soilpipe.simulate.peat_drawing import BeadCanvas, draw_beads


class Peat:
    """See `generator.Generator`."""

    gain = Gain(level=0.80, channel=0.05, scan=0.07, noise=2.0, stripes=0.05, gamma=1.12, black=5.0)

    def ground(self, height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> np.ndarray:
        cloud = _cloud(rng, height, width, 1.25, 1.8)
        grit = _cloud(rng, height, width, 0.55, 1.0)
        mat = sum(_fibres(rng, height, width, mm * px_per_mm, turn) for mm, turn in _MAT)
        wet = np.clip(0.5 + 0.24 * cloud, 0.0, 1.0)[..., None]
        colour = np.array([80, 50, 33], np.float32) * wet + np.array([38, 26, 20], np.float32) * (1.0 - wet)
        tone = 1.0 + 0.15 * grit + 0.10 * np.asarray(mat, np.float32)
        ground = np.ascontiguousarray(colour * np.clip(tone, 0.25, 2.2)[..., None], np.float32)
        mould = np.clip((_cloud(rng, height, width, 1.5, 1.0) - 2.0) * 2.0, 0.0, 1.0)
        mould = mould * np.clip(0.6 + 0.5 * _cloud(rng, height, width, 0.4, 1.0), 0.0, 1.0)
        ground += mould[..., None] * (np.array([116, 110, 96], np.float32) - ground) * 0.7
        cm2 = height * width / px_per_mm**2 / 100.0
        for _ in range(rng.poisson(22.0 * cm2)):
            sprite = (_leaf, _charcoal, _mote)[rng.choice(3, p=(0.35, 0.25, 0.4))](px_per_mm, rng)
            look = Look(off_glass_px=float(rng.exponential(0.8)))
            paste(ground, sprite, rng.random() * height, rng.random() * width, look, 0.0)
        for _ in range(rng.poisson(0.5 * cm2)):
            root = _root(height, width, px_per_mm, rng)
            paste(ground, root.sprite, root.y, root.x, Look(off_glass_px=float(rng.exponential(1.2))), 0.0)
        return np.clip(ground, 3.0, 230.0)

    def roots(self, height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> tuple[GrowingRoot, ...]:
        cm2 = height * width / px_per_mm**2 / 100.0
        return tuple(_root(height, width, px_per_mm, rng) for _ in range(rng.poisson(0.08 * cm2)))

    def animal(self, taxon: str, length_mm: float, angle: float, px_per_mm: float, pose: int, nudge: int) -> Sprite:
        return draw_beads(BEADS[taxon], length_mm, angle, px_per_mm, pose, nudge)

    def look_alike(self, px_per_mm: float, rng: np.random.Generator) -> Sprite:
        kind = rng.choice(5, p=(0.36, 0.24, 0.16, 0.12, 0.12))
        return (_husk, _straw, _mote, _spore_case, _leaf)[kind](px_per_mm, rng)


_MAT = ((0.5, 0.25), (0.35, 1.0), (0.4, 1.9), (0.3, 2.6), (0.8, -0.15), (0.6, 0.05))


def _cloud(rng: np.random.Generator, height: int, width: int, power: float, stretch: float) -> np.ndarray:
    """(height, width) float32 noise, spectrum f ** -power, `stretch` times longer across than down; mean 0, sd 1."""
    rows, columns = cv2.getOptimalDFTSize(height), cv2.getOptimalDFTSize(width)
    spectrum = np.fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    fy = np.fft.fftfreq(rows)[:, None]
    fx = np.fft.rfftfreq(columns)[None] * stretch
    size = np.hypot(fy, fx)
    size[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum * size**-power, s=(rows, columns))[:height, :width]
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def _fibres(rng: np.random.Generator, height: int, width: int, length: float, turn: float) -> np.ndarray:
    """(height, width) float32: dots smeared along one direction, mean 0, sd 1."""
    half = max(2, int(length / 2))
    dots = np.zeros((height, width), np.float32)
    n = int(height * width / (6.0 * length))
    dots[rng.integers(0, height, n), rng.integers(0, width, n)] = rng.normal(0.5, 1.0, n)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    dx, dy = half * np.cos(turn), half * np.sin(turn)
    ends = [(round((half + s * dx) * 16), round((half + s * dy) * 16)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    smeared = cv2.GaussianBlur(cv2.filter2D(dots, cv2.CV_32F, kernel), (0, 0), 0.8)
    return (smeared - smeared.mean()) / smeared.std()


def _husk(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A cast skin or carcass, whole or with a part missing."""
    taxon = CASTING[rng.integers(len(CASTING))]
    low, high = BY_NAME[taxon].length_mm
    length = float(np.exp(rng.uniform(np.log(low), np.log(max(low, min(high, 9.0))))))
    whole = draw_beads(BEADS[taxon], length, rng.uniform(0, 6.28), px_per_mm, int(rng.integers(2**31)), 0)
    keep = np.ones_like(whole.alpha)
    if rng.random() < 0.45:
        rows, columns = np.indices(keep.shape, dtype=np.float32)
        cut = rng.uniform(0, 2 * np.pi)
        side = (rows - keep.shape[0] / 2) * np.sin(cut) + (columns - keep.shape[1] / 2) * np.cos(cut)
        keep = np.clip(0.5 + (side + rng.uniform(0.0, 0.3) * length * px_per_mm) * 0.4, 0.0, 1.0)
    tint = np.array([1.0, rng.uniform(0.86, 1.0), rng.uniform(0.7, 1.0)], np.float32) * rng.uniform(0.6, 1.05)
    return Sprite(whole.colour * tint, (whole.alpha * keep * rng.uniform(0.5, 1.0)).astype(np.float32), whole.body)


def _straw(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A bent stalk or root end, about as long and thick as a worm."""
    length, half = rng.uniform(1.0, 10.0) * px_per_mm, rng.uniform(0.03, 0.16) * px_per_mm
    points = _bezier(rng, length)
    return _tube(points, np.linspace(half, half * rng.uniform(0.5, 1.0), len(points)), _hue(rng), rng.uniform(0.0, 0.5))


def _mote(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A pale speck: quartz, wax, a bit of shell."""
    canvas = BeadCanvas(*(2 * int(0.8 * px_per_mm) + 7,) * 2)
    middle = (canvas.alpha.shape[0] - 1) / 2
    long = float(np.clip(rng.lognormal(-2.0, 0.6), 0.04, 0.6)) * px_per_mm
    hue = np.array([214, 206, 186], np.float32) * rng.uniform(0.4, 1.0)
    canvas.bead(
        middle, middle, long, long * rng.uniform(0.3, 0.9), rng.uniform(0, 3.14), hue, rng.uniform(0, 0.6), 0.2, 0, True
    )
    return canvas.sprite()


def _spore_case(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """Spore cases, seeds, cocoons: glossy, round, one or a few."""
    canvas = BeadCanvas(*(2 * int(1.6 * px_per_mm) + 7,) * 2)
    middle = (canvas.alpha.shape[0] - 1) / 2
    hue = np.array([(128, 68, 40), (72, 46, 34), (196, 170, 120), (160, 100, 56)][rng.integers(4)], np.float32)
    size = rng.uniform(0.1, 0.42) * px_per_mm
    for _ in range(1 + rng.poisson(0.5)):
        x, y = middle + rng.normal(0, size, 2)
        canvas.bead(x, y, size * rng.uniform(1.0, 1.6), size, rng.uniform(0, 3.14), hue, 0.05, 0.6, 0, True)
    return canvas.sprite()


def _leaf(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    """A moss leaf: a thin lens with a rib."""
    length = rng.uniform(0.5, 2.6) * px_per_mm
    points = _bezier(rng, length)
    along = np.linspace(0.0, 1.0, len(points))
    widths = 0.5 + length * rng.uniform(0.1, 0.22) * np.sin(np.pi * along) ** 0.8
    hue = np.array([(126, 104, 60), (150, 112, 66), (96, 66, 40), (178, 160, 116)][rng.integers(4)], np.float32)
    return _tube(points, widths, hue * rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.75))


def _charcoal(px_per_mm: float, rng: np.random.Generator) -> Sprite:
    side = 2 * int(rng.uniform(0.1, 0.9) * px_per_mm) + 5
    corners = rng.normal(side / 2, side / 5, (7, 2))
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [cv2.convexHull(np.rint(corners * 16).astype(np.int32))], 255, cv2.LINE_AA, 4)
    alpha = mask.astype(np.float32) / 255.0
    colour = np.full((side, side, 3), rng.uniform(8, 34), np.float32)
    return Sprite(colour, alpha * np.float32(0.9), alpha)


def _hue(rng: np.random.Generator) -> np.ndarray:
    hues = ((214, 202, 172), (190, 150, 96), (124, 82, 50), (206, 186, 148))
    return np.array(hues[rng.integers(len(hues))], np.float32) * rng.uniform(0.6, 1.05)


def _bezier(rng: np.random.Generator, length: float) -> np.ndarray:
    """(n, 2) x, y along a cubic curve of about this length, its middle at 0."""
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0.0, 0.7, 3))
    ends = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * length / 3, axis=0)])
    t = np.linspace(0.0, 1.0, int(np.clip(length / 2, 8, 500)))[:, None]
    curve = ends[0] * (1 - t) ** 3 + 3 * ends[1] * t * (1 - t) ** 2 + 3 * ends[2] * t**2 * (1 - t) + ends[3] * t**3
    return curve - (curve.max(axis=0) + curve.min(axis=0)) / 2


def _tube(points: np.ndarray, half: np.ndarray, hue: np.ndarray, clear: float) -> Sprite:
    reach = np.abs(points).max(axis=0) + half.max() + 3.0
    canvas = BeadCanvas(2 * int(reach[1]) + 1, 2 * int(reach[0]) + 1)
    middle = np.array([canvas.alpha.shape[1] - 1, canvas.alpha.shape[0] - 1]) / 2
    steps = np.gradient(points, axis=0)
    turn = np.arctan2(steps[:, 1], steps[:, 0])
    every = max(1, int(half.mean() / 3))
    for i in range(0, len(points), every):
        x, y = points[i] + middle
        canvas.bead(x, y, max(half[i], 6.0 * every), half[i], turn[i], hue, clear, 0.1, 0.0, True)
    return canvas.sprite()


def _root(height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> GrowingRoot:
    """A pale root of peat plants, drawn as a tube; its tip arrives last."""
    length = rng.uniform(6.0, 26.0) * px_per_mm
    points = _bezier(rng, length)
    points = points + (0.02 * length * np.sin(np.linspace(0, rng.uniform(4, 12), len(points))))[:, None]
    half = float(np.clip(rng.lognormal(-2.2, 0.5), 0.03, 0.4)) * px_per_mm
    sprite = _tube(points, np.linspace(half, half * 0.5, len(points)), _hue(rng), rng.uniform(0.0, 0.4))
    middle = np.array([sprite.alpha.shape[1] - 1, sprite.alpha.shape[0] - 1]) / 2
    when = np.full(sprite.alpha.shape, 2.0, np.float32)
    path = np.rint((points + middle) * 16).astype(np.int32)
    for i in range(len(path) - 2, -1, -1):
        cv2.line(when, path[i].tolist(), path[i + 1].tolist(), i / len(path), int(2 * half) + 3, cv2.LINE_8, 4)
    return GrowingRoot(sprite, when, y=rng.random() * height, x=rng.random() * width)
