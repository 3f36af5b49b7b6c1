"""The passes over a scan: at which scale each sees it, which head answers, and which animals are its own.

A head learns animals of some 20 to 70 px well. The fine pass sees the scan at the model's scale, the coarse one at a
quarter of it; animals of two to five times the fine pass's best size are too long for the one and too thin for the
other. The middle pass is for them: the fine head again, at half the model's scale, where they are as large as it
knows them. It needs no training of its own and looks at a quarter as many pixels.

A model that sees scans at less than their resolution may have a finest pass for the shortest animals: the fine head
once more, at twice the model's scale and so at four times the cost. Scans that are no finer than the model do without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np

from soilpipe.detect import decode
from soilpipe.detect.base import Detections
from soilpipe.detect.network import Head
from soilpipe.tiles import factor_at

PassName = Literal["finest", "fine", "middle", "coarse"]

COARSE = 4.0  # the coarse pass sees the scan at this many times the model's um/px
TIMES: Mapping[PassName, float] = {"finest": 0.5, "fine": 1.0, "middle": 2.0, "coarse": COARSE}
HEAD_OF: Mapping[PassName, Head] = {"finest": "fine", "fine": "fine", "middle": "fine", "coarse": "coarse"}
FINEST = "finest_mm"  # card: longest side below which an animal is the finest pass's, where it has one
FINEST_TOLERANCE = "finest_tolerance"  # card: within this factor of it the fine pass is listened to as well
FINEST_PX = 10.6  # that side, where a finest pass is made, px of the fine one
FINEST_TOLERATED = 1.3  # and the factor
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


def finest_told(um_per_px: float) -> dict[str, Any]:
    """What a card says of its finest pass, for a fine pass at that scale."""
    return {FINEST: float(f"{FINEST_PX * um_per_px / 1000:.2g}"), FINEST_TOLERANCE: FINEST_TOLERATED}


def sees_finest(um_per_px: float, of_scan: float) -> bool:
    """Whether a scan of so many um/px shows a finest pass more than it shows the fine one."""
    return factor_at(of_scan, TIMES["finest"] * um_per_px) >= 1


def without_finest(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of the same detector without a finest pass."""
    return {key: value for key, value in card.items() if key not in (FINEST, FINEST_TOLERANCE)}


def without_middle(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card of the same detector without a middle pass."""
    return {key: value for key, value in card.items() if key not in (MIDDLE, TOLERANCE)}


def pass_problems(card: Mapping[str, Any]) -> list[str]:
    """What is wrong with what a card says of its finest and its middle pass."""
    problems = (_finest_problem(card) if FINEST in card else None, _middle_problem(card) if MIDDLE in card else None)
    return [problem for problem in problems if problem]


def _finest_problem(card: Mapping[str, Any]) -> str | None:
    told, tolerance = card[FINEST], card.get(FINEST_TOLERANCE)
    if "family" in card:
        return f"`{FINEST}` = {told!r} (expected nothing for a detector of torchvision: it has one pass)"
    most = card["border_mm"] if "coarse" in card["heads"] else math.inf
    if not (_is_number(told) and 0 < told < most):
        return f"`{FINEST}` = {told!r} (expected a length above 0 and below `border_mm`)"
    if not (_is_number(tolerance) and 1 < tolerance < math.inf):
        return f"`{FINEST_TOLERANCE}` = {tolerance!r} (expected a number above 1 beside `{FINEST}`)"
    if MIDDLE in card and not _middle_problem(card) and told >= card[MIDDLE][0]:
        return f"`{FINEST}` = {told!r} (expected a length below the first of `{MIDDLE}`)"
    return None


def _middle_problem(card: Mapping[str, Any]) -> str | None:
    told = card[MIDDLE]
    sides = isinstance(told, list) and len(told) == 2 and all(map(_is_number, told))
    if not (sides and 0 < told[0] < told[1] < math.inf):
        return f"`{MIDDLE}` = {told!r} (expected two lengths above 0, the shorter one first)"
    tolerance = card.get(TOLERANCE)
    if not (_is_number(tolerance) and 1 < tolerance < math.inf):
        return f"`{TOLERANCE}` = {tolerance!r} (expected a number above 1 beside `{MIDDLE}`)"
    if "coarse" not in card["heads"]:
        return f"`{MIDDLE}` = {told!r} (expected nothing where `heads` has no coarse one)"
    return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Passes:
    """The passes of a detector, finest first; between each and the next the longest side, mm, from which an animal is
    the coarser one's, and within a factor of which (`tolerances`) both are listened to."""

    names: tuple[PassName, ...]
    borders_mm: tuple[float, ...]
    tolerances: tuple[float, ...]

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Passes:
        """Those that a checked card tells."""
        names: list[PassName] = ["fine"]
        borders: list[tuple[float, float]] = []
        if FINEST in card:
            names.insert(0, "finest")
            borders.append((card[FINEST], card[FINEST_TOLERANCE]))
        if "coarse" in card["heads"] and MIDDLE in card:
            names += ["middle", "coarse"]
            borders += [(border, card[TOLERANCE]) for border in card[MIDDLE]]
        elif "coarse" in card["heads"]:
            names.append("coarse")
            borders.append((card["border_mm"], card["border_tolerance"]))
        sides, tolerances = zip(*borders, strict=True) if borders else ((), ())
        return cls(tuple(names), tuple(map(float, sides)), tuple(map(float, tolerances)))

    def on(self, um_per_px: float, of_scan: float) -> Passes:
        """Those of a model of `um_per_px` over a scan of `of_scan` um/px: no finest one where it would see no more."""
        if self.names[0] != "finest" or sees_finest(um_per_px, of_scan):
            return self
        return Passes(self.names[1:], self.borders_mm[1:], self.tolerances[1:])

    def scales(self, um_per_px: float) -> dict[PassName, float]:
        """The um/px at which each pass wants to see the scan, for a model of that scale."""
        return {name: TIMES[name] * um_per_px for name in self.names}

    def settings(self) -> dict[str, Any]:
        """What an analysis is told of a finest and a middle pass; nothing where there is none."""
        told: dict[str, Any] = {}
        if "finest" in self.names:
            told |= {FINEST: self.borders_mm[0], FINEST_TOLERANCE: self.tolerances[0]}
        if "middle" in self.names:
            told |= {MIDDLE: list(self.borders_mm[-2:]), TOLERANCE: self.tolerances[-1]}
        return told

    def owner(self, boxes: np.ndarray, um_per_px: float) -> np.ndarray:
        """(n, 4) boxes in px of `um_per_px` -> (n,) int: whose animals they are, by length alone."""
        return np.searchsorted(self._borders(um_per_px), decode.longest_side(boxes), side="right")

    def settled(self, looks: Sequence[Detections], um_per_px: float) -> Detections:
        """What all passes found, each animal once, in the order of the passes; boxes in px of `um_per_px`."""
        if self.names == ("fine", "coarse"):  # as ever: counts of detectors of two passes stay what they were
            masks = decode.settle_border(
                looks[0].boxes,
                looks[0].scores,
                looks[1].boxes,
                looks[1].scores,
                border=self._borders(um_per_px)[0],
                tolerance=self.tolerances[0],
            )
            return _joined([look.select(mask) for look, mask in zip(looks, masks, strict=True)])
        borders = list(zip(self._borders(um_per_px), self.tolerances, strict=True))
        least = [0.0, *(border / tolerance for border, tolerance in borders)]
        most = [*(border * tolerance for border, tolerance in borders), math.inf]
        heard = []
        for look, shortest, longest in zip(looks, least, most, strict=True):
            side = decode.longest_side(look.boxes)
            heard.append(look.select((side >= shortest) & (side < longest)))
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
