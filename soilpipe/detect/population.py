"""From tiles drawn at random to all tiles of a project: figures weighted by the chance that each tile had.

Tiles do not all have the same chance: scans of more pixels have more tiles, strata are whole scans, and a later draw is
from more scans than an earlier one. Each tile therefore stands for 1 / chance tiles of its draw (Horvitz and Thompson
1952); precision, recall and bias are ratios of two such sums. With several draws the scans that were there for all of
them weigh more. Tiles that were suggested have no chance and stay out. Where tiles are left out that a detector is
familiar with, the sums stand for the scans that it is not familiar with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soilpipe.detect import claims as told
from soilpipe.detect.claims import Interval, interval
from soilpipe.detect.tally import IOUS, JudgedImage, Units, at_work_, claims_of

LEAST_TILES = 2


@dataclass(frozen=True)
class PopulationFigures:
    """Figures of the detections at work, any taxon, IoU 0.5, for all tiles of the population.

    tiles: judged; stands_for: how many that is in the population. effective: as many tiles of equal chance would tell
    as much, (sum of weights)² / sum of squares. animals_per_100cm2, found_per_100cm2: labels and detections.
    intervals: 95 %, by drawing the tiles again with their weights; strata, which would make them narrower, are left
    out of account.
    """

    tiles: int
    stands_for: float
    effective: float
    precision: float | None
    recall: float | None
    f1: float | None
    count_bias: float | None
    animals_per_100cm2: float
    found_per_100cm2: float
    intervals: dict[str, Interval | None]


def population_figures(
    judged: Sequence[JudgedImage], chances: Sequence[float | None], *, seed: int
) -> PopulationFigures | None:
    """Of the judged tiles and their inclusion probabilities; None where one has none, or there are too few."""
    known = [chance for chance in chances if chance is not None]
    if len(known) < max(len(judged), LEAST_TILES):
        return None
    weights = 1 / np.array(known)
    units = Units.images(judged)
    working = claims_of(judged, units, at_work_(IOUS[0]))
    drawn = told.draws(len(judged), seed=seed) * weights
    figures = {"precision": told.precision, "recall": told.recall, "f1": told.f1, "count_bias": told.bias}
    values = {name: float(figure(working, weights[None])[0]) for name, figure in figures.items()}
    area = float(weights @ units.area_cm2) / 100
    return PopulationFigures(
        tiles=len(judged),
        stands_for=float(weights.sum()),
        effective=float(weights.sum() ** 2 / (weights**2).sum()),
        animals_per_100cm2=float(weights @ working.truths) / area,
        found_per_100cm2=float(weights @ working.tally()[1]) / area,
        intervals={name: interval(figure(working, drawn)) for name, figure in figures.items()},
        **{name: value if np.isfinite(value) else None for name, value in values.items()},
    )
