"""What a generator (`loam`, plain or varied; `peat`) draws.

Season, population, composition and sensor are shared; this is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from soilpipe.simulate.compose import Sprite


@dataclass(frozen=True)
class GrowingRoot:
    """A root that lengthens through the season. y, x: middle, px. when: (h, w) float32, at which share of its growth
    (0 to 1) each pixel is reached; above 1 never."""

    sprite: Sprite
    when: np.ndarray
    y: float
    x: float


@dataclass(frozen=True)
class Gain:
    """How the scanner renders the scene. level: mean factor. channel: spread of the colours' gain between scans.
    scan: spread of the whole scan's gain. noise: sd of the sensor's noise, grey levels. stripes: sd of the gain of the
    sensor's segments, side by side. gamma: exponent on 0..1. black: grey levels cut off at the dark end."""

    level: float
    channel: float
    scan: float
    noise: float
    stripes: float
    gamma: float
    black: float


class Generator(Protocol):
    """Draws ground, roots, animals and what looks like them, at a scale of `px_per_mm`."""

    gain: Gain

    def ground(self, height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> np.ndarray:
        """(height, width, 3) float32 RGB, 0 to 255: the bare, dry ground with its static clutter."""

    def roots(self, height: int, width: int, px_per_mm: float, rng: np.random.Generator) -> tuple[GrowingRoot, ...]:
        """Roots that grow while the season lasts."""

    def animal(self, taxon: str, length_mm: float, angle: float, px_per_mm: float, pose: int, nudge: int) -> Sprite:
        """An animal, heading `angle` (radians clockwise from +x). Equal arguments, equal pixels; `nudge` moves its legs
        and bends it a little, no more."""

    def look_alike(self, px_per_mm: float, rng: np.random.Generator) -> Sprite:
        """A static thing that could pass for an animal: seed, grain, cast skin, bit of root, pellet."""
