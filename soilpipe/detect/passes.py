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
MIDDLE_PX = (54.0, 116.0)  # these sides, px of the fine pass
MIDDLE_TOLERANCE = 1.55
"""Within this factor of its borders the pass beside it is listened to as well. With it, on 80 scans of peat with 505
animals, the shipped detector's AP50 was .616 with a middle pass and .591 without, and its recall .46 and .41."""


def middle_mm(um_per_px: float) -> list[float]:
    """What a card says of its middle pass, for a fine pass at that scale."""
    return [round(side * um_per_px / 1000, 2) for side in MIDDLE_PX]


def middle_problem(card: Mapping[str, Any]) -> str | None:
    """What is wrong with what a card says of its middle pass; None where nothing is."""
    told = card[MIDDLE]
    sides = isinstance(told, list) and len(told) == 2 and all(type(side) in (int, float) for side in told)
    if not (sides and 0 < told[0] < told[1] < math.inf):
        return f"`{MIDDLE}` = {told!r} (expected two lengths above 0, the shorter one first)"
    if "coarse" not in card["heads"]:
        return f"`{MIDDLE}` = {told!r} (expected nothing where `heads` has no coarse one)"
    return None


@dataclass(frozen=True)
class Passes:
    """The passes of a detector, finest first, and between each and the next the longest side, mm, from which an animal
    is the coarser one's, with the factor around it within which both are listened to."""

    names: tuple[PassName, ...]
    borders_mm: tuple[float, ...]
    tolerances: tuple[float, ...]

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Passes:
        """Those that a checked card tells."""
        if "coarse" not in card["heads"]:
            return cls(("fine",), (), ())
        if MIDDLE in card:
            borders = tuple(float(border) for border in card[MIDDLE])
            return cls(("fine", "middle", "coarse"), borders, (MIDDLE_TOLERANCE,) * len(borders))
        return cls(("fine", "coarse"), (float(card["border_mm"]),), (float(card["border_tolerance"]),))

    def scales(self, um_per_px: float) -> dict[PassName, float]:
        """The um/px at which each pass wants to see the scan, for a model of that scale."""
        return {name: TIMES[name] * um_per_px for name in self.names}

    def settings(self) -> dict[str, Any]:
        """What an analysis is told of a middle pass; nothing where there is none."""
        if "middle" not in self.names:
            return {}
        return {MIDDLE: list(self.borders_mm), "middle_tolerance": MIDDLE_TOLERANCE}

    def owner(self, boxes: np.ndarray, um_per_px: float) -> np.ndarray:
        """(n, 4) boxes in px of `um_per_px` -> (n,) int: whose animals they are, by length alone."""
        return np.searchsorted(self._borders(um_per_px), decode.longest_side(boxes), side="right")

    def settled(self, looks: Sequence[Detections], um_per_px: float) -> Detections:
        """What all passes found, each animal once, in the order of the passes; boxes in px of `um_per_px`."""
        kept = looks[0]
        for look, border, tolerance in zip(looks[1:], self._borders(um_per_px), self.tolerances, strict=True):
            finer, coarser = decode.settle_border(
                kept.boxes, kept.scores, look.boxes, look.scores, border=border, tolerance=tolerance
            )
            kept = _joined(kept.select(finer), look.select(coarser))
        return kept

    def _borders(self, um_per_px: float) -> list[float]:
        return [border * 1000.0 / um_per_px for border in self.borders_mm]


def _joined(one: Detections, other: Detections) -> Detections:
    box, score, label = (
        np.concatenate([getattr(part, name) for part in (one, other)]) for name in ("boxes", "scores", "labels")
    )
    return Detections(box, score, label, one.taxa)
