"""Made-up litter: bits whose shape, colour and size are drawn anew for each season.

Seeds, husks, bud scales, needles and splinters pass for animals until one asks for joints and legs, and nobody can list
all that lies in soils. Objects of random shape beside those that are to be found belong to domain randomisation
(distractors, Tobin et al. 2017). Here each kind is a body without joints or limbs: from a disc to a needle, blunt or
pointed at either end, straight or bent, clear or opaque, of any colour that dead plants have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soilpipe.simulate.loam_bodies import Colour, Outline, Plan

KINDS = (2, 6)  # of a season, from and below
SLENDER, STOUT = 0.03, 0.5  # half the width, in lengths
BLUNT, POINTED = 0.12, 1.5  # exponents of how an end narrows
SHORTEST_MM, LONGEST_MM = 0.2, 9.0


@dataclass(frozen=True)
class Litter:
    """One kind: how it is drawn, and its lengths."""

    plan: Plan
    length_mm: tuple[float, float]

    def drawn_length(self, rng: np.random.Generator) -> float:
        """That of one piece, mm."""
        low, high = np.log(self.length_mm)
        return float(np.exp(rng.uniform(low, high)))


def drawn_litter(rng: np.random.Generator) -> tuple[Litter, ...]:
    """The kinds of one season."""
    return tuple(_kind(rng) for _ in range(rng.integers(*KINDS)))


def _kind(rng: np.random.Generator) -> Litter:
    shortest = float(np.exp(rng.uniform(np.log(SHORTEST_MM), np.log(2.5))))
    rim, middle = sorted(rng.uniform(0.25, 0.98, 2).tolist())
    plan = Plan(
        outline=_outline(rng),
        colours=tuple(_colour(rng) for _ in range(rng.integers(1, 4))),
        opacity=(rim, middle),
        shine=float(rng.uniform(0.0, 0.6)),
        spots=float(rng.uniform(0.0, 0.35)),
        bend=float(rng.exponential(0.3)),
        wave=float(rng.exponential(0.3) * (rng.random() < 0.2)),
    )
    return Litter(plan, (shortest, min(LONGEST_MM, shortest * float(rng.uniform(1.5, 5.0)))))


def _outline(rng: np.random.Generator) -> Outline:
    half = float(np.exp(rng.uniform(np.log(SLENDER), np.log(STOUT))))
    head, tail = np.exp(rng.uniform(np.log(BLUNT), np.log(POINTED), 2))
    at = np.linspace(0.0, 1.0, 17)
    shape = at**head * (1.0 - at) ** tail
    return tuple((float(place), float(width)) for place, width in zip(at, half * shape / shape.max(), strict=True))


def _colour(rng: np.random.Generator) -> Colour:
    """From nearly black to straw and white, brown to green."""
    green_share = rng.uniform(0.65, 1.1)
    hue = np.array([1.0, green_share, green_share * rng.uniform(0.5, 1.0)])
    red, green, blue = np.clip(rng.uniform(35, 215) * hue, 12, 240).astype(int)
    return int(red), int(green), int(blue)
