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
class Pasted:
    """Where a thing came to lie. origin: y, x of the window in the scene, px. body: (h, w) float32, how much of the
    body shows at each pixel. visible: share of the body's area that shows inside the scene. contrast: mean absolute
    difference from the scene before, grey levels, over the body that shows."""

    origin: tuple[int, int]
    body: np.ndarray
    visible: float
    contrast: float


def paste(scene: np.ndarray, sprite: Sprite, y: float, x: float, look: Look, line_s: float) -> Pasted | None:
    """Blend a sprite, its middle at (y, x) px, into the scene (H, W, 3) float32, in place.

    line_s: seconds the carriage takes from one line to the next. A thing that walks is sheared, since its lower lines
    are seen later, and its colour planes part, since red, green and blue are lit one after another within a line.
    Returns None when it lies outside.
    """
    alpha, colour, body = sprite.alpha, sprite.colour, sprite.body
    if look.cover is not None:
        alpha, body = alpha * look.cover, body * look.cover
    vx, vy = (float(np.clip(v * line_s, -0.6, 0.6)) for v in look.velocity_px_s)
    reach = 2 + int(np.ceil(3 * look.off_glass_px)) + int(np.ceil(abs(vx) * alpha.shape[0] / 2 + 1))
    height = int(np.ceil(alpha.shape[0] * (1.0 / (1.0 - vy)))) + 2 * reach
    width = alpha.shape[1] + 2 * reach
    top, left = int(np.floor(y - height / 2)), int(np.floor(x - width / 2))
    layers = np.dstack([colour * (alpha * look.light)[..., None], alpha, body])
    # Line r of the scan sees the sprite as it is r * line_s later: x shifts by vx * r, rows stretch by 1 / (1 - vy).
    stretch = 1.0 / (1.0 - vy)
    middle = (y - top, x - left)
    matrix = np.array(
        [
            [1.0, vx, middle[1] - alpha.shape[1] / 2 - vx * alpha.shape[0] / 2],
            [0.0, stretch, middle[0] - stretch * alpha.shape[0] / 2],
        ]
    )
    layers = _warp(layers, matrix, (width, height))
    if look.off_glass_px > 0.15:
        layers = cv2.GaussianBlur(layers, (0, 0), look.off_glass_px)
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(scene.shape[0], top + height), min(scene.shape[1], left + width)
    if y0 >= y1 or x0 >= x1:
        return None
    planes = [layers[..., :3], np.repeat(layers[..., 3:4], 3, axis=2)]
    if vx or vy:
        planes = [_fringe(plane, vx, vy) for plane in planes]
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    behind = scene[y0:y1, x0:x1]
    before = behind @ _GREY
    shade = 1.0 - look.shadow * cv2.GaussianBlur(layers[..., 3], (0, 0), 2.0 + look.off_glass_px)[inside]
    opaque = np.clip(planes[1][inside], 0.0, 1.0)
    scene[y0:y1, x0:x1] = behind * (shade[..., None] * (1.0 - opaque)) + planes[0][inside]
    shown = np.clip(layers[..., 4][inside], 0.0, 1.0)
    whole = float(sprite.body.sum()) * stretch
    weight = float(shown.sum())
    change = np.abs(scene[y0:y1, x0:x1] @ _GREY - before)
    return Pasted(
        origin=(y0, x0),
        body=shown,
        visible=min(1.0, weight / whole) if whole else 0.0,
        contrast=float((change * shown).sum() / weight) if weight > 0 else 0.0,
    )


_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def _warp(layers: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """cv2.warpAffine takes at most four channels."""
    parts = [
        cv2.warpAffine(layers[..., part], matrix, size, flags=cv2.INTER_LINEAR) for part in (slice(3), slice(3, 5))
    ]
    return np.dstack(parts).astype(np.float32, copy=False)


def _fringe(plane: np.ndarray, vx: float, vy: float) -> np.ndarray:
    """Red is lit a third of a line before green, blue a third after it."""
    height, width = plane.shape[:2]
    moved = []
    for channel, third in enumerate((-1.0, 0.0, 1.0)):
        step = np.array([[1.0, 0.0, third * vx / 3 * _FRINGE], [0.0, 1.0, third * vy / 3 * _FRINGE]])
        moved.append(cv2.warpAffine(np.ascontiguousarray(plane[..., channel]), step, (width, height)))
    return np.dstack(moved)


_FRINGE = 5.0
"""Lit lines last longer than their share of the line time: the fringes of real scanners are some lines wide."""
