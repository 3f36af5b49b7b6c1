"""Putting one thing into the scene: animals, look-alikes and patches of bare ground all go through `paste`.

Because all go the same way (same soft rim, same defocus, same soil before them, same fringes, same contact shadow), a
seam says nothing about whether it is an animal's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LINE_S_AT_1200 = 0.005
"""Seconds that a CIS scanner takes for one line at 1200 dpi; an A4 sheet takes 70 s, whatever the dpi."""


@dataclass(frozen=True)
class Sprite:
    """A thing drawn at the scan's dpi. colour (h, w, 3) float32 RGB, 0 to 255; alpha (h, w) float32, how much of what
    is behind it hides; body (h, w) float32, coverage by the body proper, without legs, antennae and cerci."""

    colour: np.ndarray
    alpha: np.ndarray
    body: np.ndarray


@dataclass(frozen=True)
class Look:
    """How a thing lies before the glass. off_glass_px: blur, px. cover: (h, w) float32 of the sprite, share of it that
    soil does not hide. velocity_px_s: (x, y). light: how much darker it is for being off the glass, 1 = not."""

    off_glass_px: float = 0.0
    cover: np.ndarray | None = None
    velocity_px_s: tuple[float, float] = (0.0, 0.0)
    light: float = 1.0
    shadow: float = 0.25


@dataclass(frozen=True)
class Laid:
    """A sprite as the scan will show it: sharpness, motion and place are settled, only the scene behind is not.

    origin: y, x of its top left in the scene. light: (h, w, 3) float32, colour times opaque. opaque: (h, w, 3) float32,
    share of what is behind that it hides, by colour plane. keeps: (h, w, 1) float32, share of the light behind that
    its contact shadow leaves. body: (h, w) float32. area: px of the whole body, seen or not.
    """

    origin: tuple[int, int]
    light: np.ndarray
    opaque: np.ndarray
    keeps: np.ndarray
    body: np.ndarray
    area: float


@dataclass(frozen=True)
class Pasted:
    """Where a thing came to lie. origin: y, x of the window in the scene, px. body: (h, w) float32, how much of the
    body shows at each pixel. area: px of the whole body. contrast: mean absolute difference from the scene before, grey
    levels, over the body that shows."""

    origin: tuple[int, int]
    body: np.ndarray
    area: float
    contrast: float

    @property
    def visible(self) -> float:
        """Share of the body that shows."""
        return min(1.0, float(self.body.sum()) / self.area) if self.area else 0.0

    def behind(self, laid: Laid) -> Pasted:
        """The same once another thing lies over it."""
        (top, left), (y, x) = laid.origin, self.origin
        y0, x0 = max(top, y), max(left, x)
        y1 = min(top + laid.body.shape[0], y + self.body.shape[0])
        x1 = min(left + laid.body.shape[1], x + self.body.shape[1])
        if y0 >= y1 or x0 >= x1:
            return self
        body = self.body.copy()
        over = laid.opaque[y0 - top : y1 - top, x0 - left : x1 - left].mean(axis=2)
        body[y0 - y : y1 - y, x0 - x : x1 - x] *= 1.0 - over
        return Pasted(self.origin, body, self.area, self.contrast)


def paste(scene: np.ndarray, sprite: Sprite, y: float, x: float, look: Look, line_s: float) -> Pasted | None:
    """Blend a sprite, its middle at (y, x) px, into the scene (H, W, 3) float32, in place; see `lay` and `blend`."""
    return blend(scene, lay(sprite, y, x, look, line_s))


def lay(sprite: Sprite, y: float, x: float, look: Look, line_s: float) -> Laid:
    """Settle how a sprite, its middle at (y, x) px of the scene, will be seen.

    line_s: seconds the carriage takes from one line to the next. A thing that walks is sheared, since its lower lines
    are seen later, and its colour planes part, since red, green and blue are lit one after another within a line.
    """
    alpha, body = sprite.alpha, sprite.body
    if look.cover is not None:
        alpha, body = alpha * look.cover, body * look.cover
    vx, vy = (float(np.clip(v * line_s, -0.6, 0.6)) for v in look.velocity_px_s)
    stretch = 1.0 / (1.0 - vy)
    reach = 3 + int(np.ceil(3 * look.off_glass_px)) + int(np.ceil(abs(vx) * alpha.shape[0] / 2))
    height = int(np.ceil(alpha.shape[0] * stretch)) + 2 * reach
    width = alpha.shape[1] + 2 * reach
    top, left = int(np.floor(y - height / 2)), int(np.floor(x - width / 2))
    # Line r of the scan sees the sprite as it is r * line_s later: x shifts by vx * r, rows stretch by 1 / (1 - vy).
    matrix = np.array(
        [
            [1.0, vx, x - left - alpha.shape[1] / 2 - vx * alpha.shape[0] / 2],
            [0.0, stretch, y - top - stretch * alpha.shape[0] / 2],
        ]
    )
    light = sprite.colour * (alpha * np.float32(look.light))[..., None]
    light, alpha, body = (cv2.warpAffine(part, matrix, (width, height)) for part in (light, alpha, body))
    if look.off_glass_px > 0.15:
        light, alpha, body = (cv2.GaussianBlur(part, (0, 0), look.off_glass_px) for part in (light, alpha, body))
    shade = _shadow(alpha, 2.0 + look.off_glass_px)
    opaque = np.clip(alpha, 0.0, 1.0)[..., None]
    if vx or vy:
        light, opaque = _fringe(light, vx, vy), _fringe(np.repeat(opaque, 3, axis=2), vx, vy)
    return Laid(
        origin=(top, left),
        light=light,
        opaque=opaque,
        keeps=(1.0 - look.shadow * shade)[..., None],
        body=np.clip(body, 0.0, 1.0),
        area=float(sprite.body.sum()) * stretch,
    )


def blend(scene: np.ndarray, laid: Laid) -> Pasted | None:
    """Blend into the scene (H, W, 3) float32, in place; None when it lies outside."""
    top, left = laid.origin
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(scene.shape[0], top + laid.body.shape[0]), min(scene.shape[1], left + laid.body.shape[1])
    if y0 >= y1 or x0 >= x1:
        return None
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    behind = scene[y0:y1, x0:x1]
    shown = laid.body[inside]
    weight = float(shown.sum())
    before = behind @ _GREY if weight > 0.0 else np.float32(0.0)
    behind *= laid.keeps[inside] * (1.0 - laid.opaque[inside])
    behind += laid.light[inside]
    change = float((np.abs(behind @ _GREY - before) * shown).sum()) if weight > 0.0 else 0.0
    return Pasted(
        origin=(y0, x0),
        body=shown,
        area=laid.area,
        contrast=change / weight if weight > 0.0 else 0.0,
    )


def _shadow(alpha: np.ndarray, soft: float) -> np.ndarray:
    """`alpha` blurred; wide blurs are made at a quarter of the size, which the eye cannot tell."""
    if soft < 4.0 or min(alpha.shape) < 16:
        return cv2.GaussianBlur(alpha, (0, 0), soft)
    small = cv2.resize(alpha, (alpha.shape[1] // 4, alpha.shape[0] // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), soft / 4), alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)


_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def _fringe(plane: np.ndarray, vx: float, vy: float) -> np.ndarray:
    """Red is lit a third of a line before green, blue a third after it."""
    height, width = plane.shape[:2]
    moved = []
    for channel, third in enumerate((-1.0, 0.0, 1.0)):
        step = np.array([[1.0, 0.0, third * vx / 3 * _FRINGE], [0.0, 1.0, third * vy / 3 * _FRINGE]])
        moved.append(cv2.warpAffine(np.ascontiguousarray(plane[..., channel]), step, (width, height)))
    return cv2.merge(moved)


_FRINGE = 5.0
"""Lit lines last longer than their share of the line time: the fringes of real scanners are some lines wide."""
