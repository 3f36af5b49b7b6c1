"""Bodies of the peat generator: chains of round beads, lit from the side. Shares nothing with the loam generator's.

A body is a row of tagmata from head to tail, each a number of beads; legs, antennae and tails are chains of small
beads. All lengths are in units of the body's length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Tagma = tuple[int, float, float, float]
"""Beads, share of the body's length, half width in the middle, brightness."""


@dataclass(frozen=True)
class Beads:
    """tagmata: from the head. hue: RGB; others: hues that occur as well. clear: how much of the soil shines through the
    thinnest parts. legs: (pairs, first place, last place, length). antenna, tail, arms: length; arms end in a hand.
    turn, swing: how bent. smooth: how long the beads are, so that they run into each other."""

    tagmata: tuple[Tagma, ...]
    hue: tuple[int, int, int]
    others: tuple[tuple[int, int, int], ...] = ()
    clear: float = 0.1
    legs: tuple[int, float, float, float] = (0, 0.0, 0.0, 0.0)
    antenna: float = 0.0
    tail: float = 0.0
    pincers: bool = False
    turn: float = 0.2
    swing: float = 0.0
    gloss: float = 0.3
    arms: float = 0.0
    smooth: float = 1.0


_IVORY, _CREAM, _AMBER, _TAN = (232, 222, 196), (214, 196, 156), (186, 116, 58), (160, 120, 84)
_MAROON, _SLATE, _UMBER, _PINK = (112, 52, 34), (120, 118, 126), (88, 62, 44), (190, 126, 110)

BEADS: Mapping[str, Beads] = {
    "Poduromorpha": Beads(
        ((1, 0.18, 0.11, 1.0), (3, 0.32, 0.13, 0.95), (5, 0.5, 0.15, 0.9)),
        _IVORY, (_SLATE, _CREAM), 0.3, (3, 0.2, 0.45, 0.10), 0.10, turn=0.5,
    ),
    "Entomobryomorpha": Beads(
        ((1, 0.16, 0.08, 1.0), (3, 0.24, 0.085, 0.9), (4, 0.6, 0.095, 0.95)),
        _CREAM, (_TAN, _IVORY), 0.35, (3, 0.2, 0.42, 0.24), 0.5, 0.24, turn=0.35,
    ),
    "Symphypleona": Beads(
        ((1, 0.3, 0.18, 0.95), (2, 0.7, 0.36, 1.0)), _TAN, (_CREAM, _MAROON), 0.2, (3, 0.25, 0.5, 0.28), 0.55,
        gloss=0.45,
    ),
    "Oribatida": Beads(
        ((1, 0.34, 0.22, 0.85), (2, 0.66, 0.3, 1.0)), _MAROON, (_UMBER,), 0.0, (4, 0.1, 0.5, 0.2), gloss=0.7, turn=0.0,
    ),
    "Mesostigmata": Beads(
        ((1, 0.25, 0.15, 0.9), (2, 0.75, 0.29, 1.0)), _AMBER, (_TAN,), 0.15, (4, 0.1, 0.55, 0.46), gloss=0.45, turn=0.0,
    ),
    "Trombidiformes": Beads(
        ((1, 0.28, 0.15, 0.95), (3, 0.72, 0.26, 1.0)),
        (190, 84, 56), (_CREAM, _IVORY), 0.2, (4, 0.1, 0.6, 0.45), turn=0.0,
    ),
    "Rhabdura": Beads(
        ((1, 0.11, 0.05, 1.0), (3, 0.22, 0.045, 0.95), (10, 0.67, 0.05, 0.95)),
        _IVORY, (_CREAM,), 0.35, (3, 0.13, 0.32, 0.17), 0.5, 0.55, turn=0.7, swing=0.2,
    ),
    "Dicellurata": Beads(
        ((1, 0.11, 0.045, 1.05), (3, 0.2, 0.04, 1.0), (10, 0.69, 0.056, 0.95)),
        _CREAM, (_IVORY,), 0.3, (3, 0.13, 0.3, 0.13), 0.28, 0.09, True, turn=0.7, swing=0.15,
    ),
    "Symphyla": Beads(
        ((1, 0.09, 0.05, 1.0), (14, 0.91, 0.05, 0.95)), _IVORY, (), 0.3, (12, 0.12, 0.92, 0.09), 0.38, 0.05, turn=1.2,
        swing=0.4,
    ),
    "Pauropoda": Beads(((1, 0.18, 0.08, 1.0), (6, 0.82, 0.11, 0.95)), _IVORY, (), 0.4, (9, 0.2, 0.9, 0.13), 0.2,
    turn=0.5),
    "Polydesmida": Beads(
        ((1, 0.06, 0.05, 0.8), (19, 0.94, 0.068, 1.0)), _TAN, (_UMBER, _CREAM), 0.0, (28, 0.08, 0.95, 0.055), 0.08,
        turn=1.2, swing=0.2,
    ),
    "Julida": Beads(
        ((1, 0.04, 0.036, 0.9), (40, 0.96, 0.038, 1.0)), _UMBER, (_SLATE,), 0.0, (40, 0.05, 0.95, 0.028), 0.05,
        turn=4.5, gloss=0.6,
    ),
    "Geophilomorpha": Beads(
        ((1, 0.025, 0.017, 0.9), (48, 0.975, 0.021, 1.0)), _AMBER, ((212, 164, 92),), 0.1, (44, 0.03, 0.98, 0.026),
        0.05,
        turn=3.0, swing=0.8,
    ),
    "Lithobiomorpha": Beads(
        ((1, 0.11, 0.062, 1.0), (16, 0.89, 0.058, 0.95)), _AMBER, (_MAROON,), 0.0, (15, 0.13, 0.98, 0.16), 0.4, 0.14,
        turn=0.8, swing=0.2, gloss=0.5,
    ),
    "Isopoda": Beads(
        ((1, 0.12, 0.14, 0.9), (7, 0.6, 0.25, 1.0), (4, 0.28, 0.17, 0.9)),
        _SLATE, (_UMBER,), 0.0, (7, 0.15, 0.75, 0.15), 0.3, 0.06, turn=0.3,
    ),
    "Pseudoscorpiones": Beads(
        ((1, 0.36, 0.16, 0.9), (5, 0.64, 0.23, 1.0)), _TAN, (_AMBER,), 0.0, (4, 0.1, 0.36, 0.26), arms=0.5, turn=0.1,
    ),
    "Formicidae": Beads(
        ((1, 0.24, 0.115, 1.0), (2, 0.34, 0.07, 0.9), (1, 0.07, 0.04, 0.9), (2, 0.35, 0.14, 1.05)),
        _MAROON, ((64, 44, 38),), 0.0, (3, 0.28, 0.5, 0.4), 0.4, turn=0.3, gloss=0.6,
    ),
    "Diptera": Beads(((1, 0.06, 0.03, 0.6), (11, 0.94, 0.07, 1.0)), _IVORY, (_CREAM,), 0.3, turn=1.1),
    "Enchytraeidae": Beads(((60, 1.0, 0.017, 1.0),), _IVORY, (_CREAM,), 0.45, turn=3.8, swing=1.4, gloss=0.2,
    smooth=2.6),
    "Lumbricidae": Beads(
        ((24, 0.24, 0.036, 0.95), (6, 0.08, 0.046, 1.15), (60, 0.68, 0.036, 1.0)), _PINK, (_MAROON,), 0.05, turn=2.6,
        swing=0.8, gloss=0.5, smooth=1.6,
    ),
    "Gastropoda": Beads(
        ((1, 0.55, 0.4, 0.95), (1, 0.28, 0.3, 1.1), (1, 0.17, 0.16, 1.0)), _TAN, (_CREAM,), 0.15, gloss=0.5, turn=0.5,
        smooth=1.5,
    ),
    "Nematoda": Beads(((40, 1.0, 0.014, 1.0),), _IVORY, (), 0.6, turn=2.0, swing=1.2, gloss=0.1, smooth=2.6),
    "Protura": Beads(
        ((1, 0.12, 0.05, 1.0), (3, 0.25, 0.06, 1.0), (8, 0.63, 0.068, 0.95)), _CREAM, (), 0.35, (3, 0.15, 0.34, 0.13),
        turn=0.7,
    ),
}  # fmt: skip
