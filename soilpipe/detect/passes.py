"""The passes over a scan: at which scale each sees it, which head answers, and which animals are its own.

A head learns animals of some 20 to 70 px well. The fine pass sees the scan at the model's scale, the coarse one at a
quarter of it; animals of two to five times the fine pass's best size are too long for the one and too thin for the
other. The middle pass is for them: the fine head again, at half the model's scale, where they are as large as it
knows them. It needs no training of its own and looks at a quarter as many pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from soilpipe.detect import decode
from soilpipe.detect.base import Detections
from soilpipe.detect.network import Head

PassName = Literal["fine", "middle", "coarse"]

COARSE = 4.0  # the coarse pass sees the scan at this many times the model's um/px
TIMES: Mapping[PassName, float] = {"fine": 1.0, "middle": 2.0, "coarse": COARSE}
HEAD_OF: Mapping[PassName, Head] = {"fine": "fine", "middle": "fine", "coarse": "coarse"}
MIDDLE = "middle_mm"  # card: longest sides from which and up to which an animal is the middle pass's, where it has one
TOLERANCE = "middle_tolerance"  # card: within this factor of those sides the pass beside it is listened to as well
MIDDLE_PX = (54.0, 116.0)  # sides that a training gives a middle pass, px of the fine one
MIDDLE_TOLERANCE = 1.55  # that a training gives it


def middle_told(um_per_px: float) -> dict[str, Any]:
    """What a card says of its middle pass, for a fine pass at that scale.

    Sides and tolerance were chosen by what the shipped detector finds on seasons of `peat`. On others of that kind (80
    scans, 965 animals; `benchmarks/passes.py --seasons 5`) its AP50 was .64 with a middle pass and .63 without, its
    recall .54 and .52; on ground of the kind that it learned on there was no clear gain, and it ships without.
    """
    return {MIDDLE: [round(side * um_per_px / 1000, 2) for side in MIDDLE_PX], TOLERANCE: MIDDLE_TOLERANCE}


def without_middle(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of the same detector without a middle pass."""
    return {key: value for key, value in card.items() if key not in (MIDDLE, TOLERANCE)}


def middle_problem(card: Mapping[str, Any]) -> str | None:
    """What is wrong with what a card says of its middle pass; None where nothing is."""
    told = card[MIDDLE]
    sides = isinstance(told, list) and len(told) == 2 and all(type(side) in (int, float) for side in told)
    if not (sides and 0 < told[0] < told[1] < math.inf):
        return f"`{MIDDLE}` = {told!r} (expected two lengths above 0, the shorter one first)"
    tolerance = card.get(TOLERANCE)
    if not (isinstance(tolerance, int | float) and 1 < tolerance < math.inf):
        return f"`{TOLERANCE}` = {tolerance!r} (expected a number above 1 beside `{MIDDLE}`)"
    if "coarse" not in card["heads"]:
        return f"`{MIDDLE}` = {told!r} (expected nothing where `heads` has no coarse one)"
    return None


@dataclass(frozen=True)
class Passes:
    """The passes of a detector, finest first, and between each and the next the longest side, mm, from which an animal
    is the coarser one's; within a factor `tolerance` of it both are listened to."""

    names: tuple[PassName, ...]
    borders_mm: tuple[float, ...]
    tolerance: float

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Passes:
        """Those that a checked card tells."""
        if "coarse" not in card["heads"]:
            return cls(("fine",), (), 1.0)
        if MIDDLE in card:
            borders = tuple(float(border) for border in card[MIDDLE])
            return cls(("fine", "middle", "coarse"), borders, float(card[TOLERANCE]))
        return cls(("fine", "coarse"), (float(card["border_mm"]),), float(card["border_tolerance"]))

    def scales(self, um_per_px: float) -> dict[PassName, float]:
        """The um/px at which each pass wants to see the scan, for a model of that scale."""
        return {name: TIMES[name] * um_per_px for name in self.names}

    def settings(self) -> dict[str, Any]:
        """What an analysis is told of a middle pass; nothing where there is none."""
        if "middle" not in self.names:
            return {}
        return {MIDDLE: list(self.borders_mm), TOLERANCE: self.tolerance}

    def owner(self, boxes: np.ndarray, um_per_px: float) -> np.ndarray:
        """(n, 4) boxes in px of `um_per_px` -> (n,) int: whose animals they are, by length alone."""
        return np.searchsorted(self._borders(um_per_px), decode.longest_side(boxes), side="right")

    def settled(self, looks: Sequence[Detections], um_per_px: float) -> Detections:
        """What all passes found, each animal once, in the order of the passes; boxes in px of `um_per_px`."""
        if len(looks) == 2:  # as ever: counts of detectors without a middle pass stay what they were
            masks = decode.settle_border(
                looks[0].boxes,
                looks[0].scores,
                looks[1].boxes,
                looks[1].scores,
                border=self._borders(um_per_px)[0],
                tolerance=self.tolerance,
            )
            return _joined([look.select(mask) for look, mask in zip(looks, masks, strict=True)])
        bounds = [0.0, *self._borders(um_per_px), math.inf]
        heard = []
        for look, (least, most) in zip(looks, pairwise(bounds), strict=True):
            side = decode.longest_side(look.boxes)
            heard.append(look.select((side >= least / self.tolerance) & (side < most * self.tolerance)))
        joined = _joined(heard)
        whose = np.repeat(np.arange(len(heard)), [len(look) for look in heard])
        return joined.select(decode.settle_passes(joined.boxes, joined.scores, whose))

    def _borders(self, um_per_px: float) -> list[float]:
        return [border * 1000.0 / um_per_px for border in self.borders_mm]


def _joined(looks: Sequence[Detections]) -> Detections:
    box, score, label = (
        np.concatenate([getattr(look, name) for look in looks]) for name in ("boxes", "scores", "labels")
    )
    return Detections(box, score, label, looks[0].taxa)
