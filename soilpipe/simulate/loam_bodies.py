"""Bodies of the loam generator: a body is a band of varying width along a bent axis.

Each taxon is a `Plan`: outline of the band, segments, colours, translucence, legs, antennae, tail. Everything is in
units of the body's length,
so that one plan serves every size and dpi. Figures were set by eye from determination keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]
Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Plan:
    """outline: (place along the axis from the head = 0 to the tail = 1, half width) in body lengths, interpolated.
    colours: one is drawn per animal. opacity: at the rim and in the middle. legs: pairs; leg: their length; between
    `legs_from` and `legs_to`. antenna: its length (0 none). cerci: length; forceps: they are pincers. bend: largest
    turn of the axis, radians; wave: sideways swing. bands: darkness of the segments' joints. gut: darkness of the gut
    shining through. shine: gloss. spots: strength of the pigment's pattern."""

    outline: Outline
    colours: tuple[Colour, ...]
    opacity: tuple[float, float]
    segments: int = 0
    bands: float = 0.0
    gut: float = 0.0
    shine: float = 0.15
    spots: float = 0.05
    bend: float = 0.3
    wave: float = 0.0
    legs: int = 0
    leg: float = 0.0
    legs_from: float = 0.2
    legs_to: float = 0.5
    antenna: float = 0.0
    cerci: float = 0.0
    forceps: bool = False
    claws: bool = False
    furca: float = 0.0
    shell: bool = False


_WHITE: tuple[Colour, ...] = ((214, 205, 184), (196, 184, 160), (224, 219, 205))
_PALE: tuple[Colour, ...] = ((196, 178, 140), (181, 160, 122), (208, 196, 168))
_BROWN: tuple[Colour, ...] = ((84, 52, 32), (62, 38, 26), (104, 66, 40))
_RUST: tuple[Colour, ...] = ((138, 84, 46), (120, 70, 40), (154, 102, 62))
_GREY: tuple[Colour, ...] = ((96, 92, 92), (122, 118, 112), (78, 74, 76))

_THREAD: Outline = ((0.0, 0.006), (0.03, 0.014), (0.1, 0.018), (0.85, 0.017), (0.97, 0.012), (1.0, 0.004))
_OVAL: Outline = ((0.0, 0.05), (0.06, 0.16), (0.25, 0.27), (0.55, 0.33), (0.8, 0.28), (0.95, 0.14), (1.0, 0.03))
_ROUND: Outline = tuple((i / 16, 0.47 * (1.0 - ((i / 16 - 0.5) / 0.51) ** 2) ** 0.5) for i in range(17))

PLANS: Mapping[str, Plan] = {
    "Poduromorpha": Plan(
        outline=((0, 0.05), (0.08, 0.11), (0.2, 0.11), (0.26, 0.10), (0.5, 0.14), (0.8, 0.14), (0.95, 0.09), (1,
                 0.03)),
        colours=(*_WHITE, (150, 148, 160), (104, 104, 122)), opacity=(0.55, 0.9), segments=9, bands=0.18,
        gut=0.12, bend=0.7, legs=3, leg=0.12, legs_from=0.24, legs_to=0.46, antenna=0.12,
    ),
    "Entomobryomorpha": Plan(
        outline=((0, 0.03), (0.06, 0.075), (0.16, 0.08), (0.2, 0.06), (0.35, 0.09), (0.6, 0.10), (0.85, 0.075), (1,
                 0.015)),
        colours=(*_WHITE, (150, 122, 84), (176, 156, 118)), opacity=(0.45, 0.85), segments=7, bands=0.14,
        gut=0.2, shine=0.3, spots=0.08, bend=0.5, legs=3, leg=0.28, legs_from=0.24, legs_to=0.4, antenna=0.42,
        furca=0.3,
    ),
    "Symphypleona": Plan(
        outline=((0, 0.05), (0.1, 0.17), (0.22, 0.17), (0.28, 0.11), (0.42, 0.26), (0.65, 0.34), (0.88, 0.24), (1,
                 0.05)),
        colours=((196, 172, 110), (142, 110, 92), (210, 194, 140), (120, 86, 96)), opacity=(0.6, 0.92),
        shine=0.3, spots=0.15, bend=0.15, legs=3, leg=0.3, legs_from=0.3, legs_to=0.5, antenna=0.5,
    ),
    "Oribatida": Plan(
        outline=_OVAL, colours=_BROWN, opacity=(0.92, 0.98), shine=0.55, spots=0.06, bend=0.0,
        legs=4, leg=0.22, legs_from=0.15, legs_to=0.5,
    ),
    "Mesostigmata": Plan(
        outline=((0, 0.05), (0.05, 0.13), (0.25, 0.24), (0.6, 0.31), (0.85, 0.25), (1, 0.04)),
        colours=_RUST, opacity=(0.7, 0.9), shine=0.35, bend=0.0, legs=4, leg=0.42, legs_from=0.12, legs_to=0.5,
    ),
    "Trombidiformes": Plan(
        outline=((0, 0.04), (0.08, 0.13), (0.3, 0.25), (0.45, 0.23), (0.7, 0.27), (0.93, 0.15), (1, 0.03)),
        colours=((176, 62, 40), (196, 170, 142), (166, 90, 66), (210, 192, 168)), opacity=(0.65, 0.9), spots=0.12,
        bend=0.1,
        legs=4, leg=0.42, legs_from=0.1, legs_to=0.6,
    ),
    "Rhabdura": Plan(
        outline=((0, 0.02), (0.04, 0.05), (0.1, 0.05), (0.14, 0.035), (0.3, 0.05), (0.7, 0.055), (0.93, 0.04), (1,
                 0.02)),
        colours=_WHITE, opacity=(0.45, 0.8), segments=13, bands=0.15, gut=0.15, bend=0.8, wave=0.15,
        legs=3, leg=0.16, legs_from=0.15, legs_to=0.34, antenna=0.45, cerci=0.5,
    ),
    "Dicellurata": Plan(
        outline=((0, 0.02), (0.04, 0.045), (0.1, 0.045), (0.14, 0.03), (0.3, 0.05), (0.7, 0.06), (0.93, 0.05), (1,
                 0.035)),
        colours=_PALE, opacity=(0.5, 0.85), segments=13, bands=0.18, gut=0.2, bend=0.8, wave=0.12,
        legs=3, leg=0.14, legs_from=0.15, legs_to=0.34, antenna=0.3, cerci=0.1, forceps=True,
    ),
    "Symphyla": Plan(
        outline=((0, 0.02), (0.04, 0.05), (0.1, 0.05), (0.14, 0.04), (0.35, 0.052), (0.8, 0.052), (0.96, 0.03), (1,
                 0.01)),
        colours=_WHITE, opacity=(0.5, 0.85), segments=14, bands=0.2, gut=0.15, bend=1.1, wave=0.35,
        legs=12, leg=0.10, legs_from=0.12, legs_to=0.93, antenna=0.35, cerci=0.06,
    ),
    "Pauropoda": Plan(
        outline=((0, 0.03), (0.08, 0.08), (0.2, 0.08), (0.5, 0.12), (0.85, 0.10), (1, 0.03)),
        colours=_WHITE, opacity=(0.4, 0.75), segments=7, bands=0.15, bend=0.5, legs=9, leg=0.14, legs_from=0.18,
        legs_to=0.9, antenna=0.22,
    ),
    "Polydesmida": Plan(
        outline=((0, 0.02), (0.04, 0.045), (0.1, 0.06), (0.8, 0.065), (0.95, 0.04), (1, 0.01)),
        colours=((150, 116, 84), (120, 92, 70), (176, 150, 118)), opacity=(0.9, 0.97), segments=20, bands=0.45,
        shine=0.25, bend=1.0, wave=0.2, legs=28, leg=0.06, legs_from=0.08, legs_to=0.95, antenna=0.09,
    ),
    "Julida": Plan(
        outline=((0, 0.02), (0.02, 0.032), (0.1, 0.036), (0.9, 0.036), (0.98, 0.025), (1, 0.005)),
        colours=((84, 66, 56), (120, 96, 76), (62, 50, 46)), opacity=(0.93, 0.98), segments=42, bands=0.4, shine=0.5,
        bend=3.6, wave=0.15, legs=60, leg=0.03, legs_from=0.04, legs_to=0.95, antenna=0.05,
    ),
    "Geophilomorpha": Plan(
        outline=((0, 0.006), (0.015, 0.016), (0.1, 0.019), (0.6, 0.022), (0.95, 0.014), (1, 0.006)),
        colours=((196, 142, 70), (178, 118, 54), (206, 160, 96)), opacity=(0.75, 0.93), segments=45, bands=0.25,
        gut=0.15,
        bend=2.6, wave=0.7, legs=45, leg=0.028, legs_from=0.03, legs_to=0.98, antenna=0.05,
    ),
    "Lithobiomorpha": Plan(
        outline=((0, 0.02), (0.03, 0.055), (0.1, 0.06), (0.14, 0.05), (0.5, 0.062), (0.9, 0.05), (1, 0.02)),
        colours=_RUST, opacity=(0.88, 0.96), segments=15, bands=0.35, shine=0.4, bend=0.7, wave=0.2,
        legs=15, leg=0.17, legs_from=0.14, legs_to=0.98, antenna=0.42,
    ),
    "Isopoda": Plan(
        outline=((0, 0.06), (0.05, 0.13), (0.2, 0.21), (0.5, 0.25), (0.8, 0.2), (0.94, 0.11), (1, 0.04)),
        colours=_GREY, opacity=(0.93, 0.98), segments=12, bands=0.35, shine=0.3, spots=0.15, bend=0.3,
        legs=7, leg=0.16, legs_from=0.18, legs_to=0.75, antenna=0.32, cerci=0.08,
    ),
    "Pseudoscorpiones": Plan(
        outline=((0, 0.08), (0.08, 0.13), (0.32, 0.15), (0.36, 0.17), (0.6, 0.23), (0.85, 0.19), (1, 0.05)),
        colours=((150, 96, 52), (126, 80, 46), (170, 126, 82)), opacity=(0.85, 0.95), segments=11, bands=0.2,
        shine=0.3, bend=0.1,
        legs=4, leg=0.28, legs_from=0.12, legs_to=0.36, claws=True,
    ),
    "Formicidae": Plan(
        outline=((0, 0.05), (0.06, 0.10), (0.2, 0.10), (0.25, 0.03), (0.32, 0.07), (0.5, 0.055), (0.55, 0.025),
                 (0.61, 0.03),
                 (0.65, 0.06), (0.78, 0.13), (0.92, 0.09), (1, 0.015)),
        colours=((70, 36, 20), (126, 66, 30), (44, 28, 22)), opacity=(0.93, 0.98), segments=0, shine=0.45, bend=0.25,
        legs=3, leg=0.38, legs_from=0.3, legs_to=0.5, antenna=0.4,
    ),
    "Diptera": Plan(
        outline=((0, 0.01), (0.03, 0.03), (0.2, 0.06), (0.75, 0.07), (0.93, 0.055), (0.99, 0.03), (1, 0.008)),
        colours=_WHITE, opacity=(0.5, 0.85), segments=12, bands=0.16, gut=0.35, spots=0.03, bend=1.0,
    ),
    "Enchytraeidae": Plan(
        outline=_THREAD, colours=_WHITE, opacity=(0.35, 0.75), segments=50, bands=0.06, gut=0.18, bend=3.4, wave=1.2,
    ),
    "Lumbricidae": Plan(
        outline=((0, 0.01), (0.03, 0.025), (0.12, 0.036), (0.24, 0.04), (0.25, 0.046), (0.32, 0.046), (0.33, 0.038),
                 (0.9, 0.034), (1, 0.01)),
        colours=((168, 110, 94), (150, 92, 84), (186, 136, 116)), opacity=(0.8, 0.95), segments=90, bands=0.2,
        gut=0.25,
        shine=0.35, bend=2.4, wave=0.8,
    ),
    "Gastropoda": Plan(
        outline=_ROUND,
        colours=((178, 150, 112), (150, 124, 92), (196, 180, 150)), opacity=(0.75, 0.92), shine=0.4, bend=0.0,
        shell=True,
    ),
    "Nematoda": Plan(
        outline=((0, 0.006), (0.1, 0.014), (0.6, 0.016), (0.9, 0.01), (1, 0.001)),
        colours=_WHITE, opacity=(0.3, 0.6), bend=1.8, wave=1.0,
    ),
    "Protura": Plan(
        outline=((0, 0.02), (0.1, 0.05), (0.2, 0.05), (0.45, 0.075), (0.8, 0.06), (1, 0.01)),
        colours=_PALE, opacity=(0.45, 0.8), segments=12, bands=0.15, bend=0.6, legs=3, leg=0.13, legs_from=0.16,
        legs_to=0.34,
        antenna=0.12,
    ),
}  # fmt: skip
