"""How loam looks: its colours, crumbs, light, clutter and bodies, of one kind, or drawn anew for each season.

A detector that has seen one kind of ground alone learns that ground: on another one it believes in roots and seeds, and
passes over animals. Where everything that does not make an animal changes from season to season, what is left to be
learned is the animal (domain randomisation, Tobin et al. 2017). Nothing here is modelled on `peat`, which tests that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from soilpipe.simulate.generator import Gain
from soilpipe.simulate.loam_bodies import Colour, Plan
from soilpipe.simulate.loam_litter import Litter, drawn_litter

Rgb = tuple[float, float, float]

CLUTTER: Mapping[str, float] = MappingProxyType(
    {"sand": 30.0, "stone": 0.35, "hypha": 2.0, "fibre": 1.6, "pellets": 0.8}
)
"""What lies about on bare ground, per cm2."""
LOOK_ALIKES: Mapping[str, float] = MappingProxyType(
    {"skin": 0.34, "fibre": 0.2, "seed": 0.16, "grain": 0.1, "pellets": 0.1, "hypha": 0.1}
)
"""Shares of what could pass for an animal."""
LITTER = "litter"
LITTER_PER_CM2 = 0.8
PLAIN_GAIN = Gain(level=0.92, channel=0.02, scan=0.04, noise=1.6, stripes=0.008, gamma=1.0, black=2.0)


@dataclass(frozen=True)
class LoamLook:
    """dry, dark, humus: colours of the ground, 0..255. crumbs: (size in mm, weight). lamp: where it stands, radians
    from the top of the scan. slope, relief, grain: how strongly slopes, heights and finest grain change the brightness.
    damp: mean share of `dry` and how far dampness moves it. mottles: strength and colour of another soil in patches.
    pores: how dark holes are. clutter: per cm2. roots: per cm2, grown before the season. look_alikes: their shares.
    litter: kinds made up for the season, which `clutter` and `look_alikes` may name. tint, shade: gain of the colour
    channels, and range of the brightness, of all that lies on the ground. bodies: how far animals differ from the plan
    of their taxon: 0 not at all, 1 as much as kinds and stages do. gain: the scanner's."""

    dry: Rgb = (104.0, 78.0, 56.0)
    dark: Rgb = (52.0, 37.0, 27.0)
    humus: Rgb = (38.0, 30.0, 26.0)
    crumbs: tuple[tuple[float, float], ...] = ((3.2, 0.8), (1.2, 0.75), (0.45, 0.6), (0.16, 0.5))
    lamp: float = 0.0
    slope: float = 0.17
    relief: float = 0.20
    grain: float = 0.08
    damp: tuple[float, float] = (0.42, 0.2)
    mottles: tuple[float, Rgb] = (0.0, (0.0, 0.0, 0.0))
    pores: float = 0.65
    clutter: Mapping[str, float] = field(default_factory=lambda: CLUTTER)
    roots: float = 0.35
    look_alikes: Mapping[str, float] = field(default_factory=lambda: LOOK_ALIKES)
    litter: tuple[Litter, ...] = ()
    tint: Rgb = (1.0, 1.0, 1.0)
    shade: tuple[float, float] = (1.0, 1.0)
    bodies: float = 0.0
    gain: Gain = PLAIN_GAIN


def drawn_look(rng: np.random.Generator) -> LoamLook:
    """The look of one season: soils from ochre to grey and nearly black, fine to coarse, bare to littered."""
    plain = LoamLook()

    def times(sd: float) -> float:
        return float(np.exp(rng.normal(0.0, sd)))

    bright, hue = float(rng.uniform(0.45, 1.9)), _hue(rng, 0.12)
    apart = rng.uniform(0.35, 0.75)  # how much darker damp soil is than dry
    dry = _rgb(np.array(plain.dry) * bright * hue)
    dark = _rgb(np.array(plain.dry) * bright * hue * _hue(rng, 0.04) * apart)
    sizes = sorted(np.exp(rng.uniform(np.log(0.12), np.log(6.0), int(rng.integers(3, 6)))), reverse=True)
    shares = rng.dirichlet(np.full(len(LOOK_ALIKES), 1.5))
    look = LoamLook(
        dry=dry,
        dark=dark,
        humus=_rgb(np.array(dark) * rng.uniform(0.4, 1.3) * _hue(rng, 0.1)),
        crumbs=tuple((float(size), float(rng.uniform(0.2, 1.0))) for size in sizes),
        lamp=float(rng.normal(0.0, 0.5)),
        slope=float(rng.uniform(0.04, 0.32)),
        relief=float(rng.uniform(0.05, 0.35)),
        grain=float(rng.uniform(0.02, 0.2)),
        damp=(float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.05, 0.35))),
        mottles=(
            float(rng.uniform(0.0, 0.8) * (rng.random() < 0.5)),
            _rgb(np.array(dry) * times(0.4) * _hue(rng, 0.15)),
        ),
        pores=float(rng.uniform(0.2, 0.9)),
        clutter={name: per_cm2 * times(0.9) for name, per_cm2 in CLUTTER.items()},
        roots=plain.roots * times(0.9),
        look_alikes=dict(zip(LOOK_ALIKES, map(float, shares), strict=True)),
        tint=_rgb(_hue(rng, 0.08)),
        shade=(float(rng.uniform(0.5, 1.0)), float(rng.uniform(1.0, 1.3))),
        bodies=float(rng.uniform(0.3, 1.0)),
        gain=Gain(
            level=float(rng.uniform(0.7, 1.15)),
            channel=float(rng.uniform(0.01, 0.05)),
            scan=float(rng.uniform(0.01, 0.07)),
            noise=float(rng.uniform(0.8, 3.0)),
            stripes=float(rng.uniform(0.002, 0.015)),
            gamma=float(rng.uniform(0.8, 1.25)),
            black=float(rng.uniform(0.0, 6.0)),
        ),
    )
    passing = float(rng.uniform(0.1, 0.5))  # of what could pass for an animal
    return replace(
        look,
        litter=drawn_litter(rng),
        clutter={**look.clutter, LITTER: LITTER_PER_CM2 * times(0.9)},
        look_alikes={**{name: share * (1 - passing) for name, share in look.look_alikes.items()}, LITTER: passing},
    )


def varied(plan: Plan, strength: float, rng: np.random.Generator) -> Plan:
    """Another kind or stage of the same taxon; with 0 the plan itself. Which limbs it has, and how many, stays."""
    if strength <= 0:
        return plan

    def times(sd: float) -> float:
        return float(np.exp(rng.normal(0.0, sd * strength)))

    stout = times(0.16)
    outline = tuple((at, half * stout * times(0.08)) for at, half in plan.outline)
    clear = rng.normal(0.0, 0.12 * strength)
    thin, thick = (float(np.clip(opacity + clear, 0.2, 0.99)) for opacity in plan.opacity)
    return replace(
        plan,
        outline=outline,
        colours=tuple(_another(colour, strength, rng) for colour in plan.colours),
        opacity=(min(thin, thick), thick),
        bands=min(0.6, plan.bands * times(0.6)),
        gut=min(0.6, plan.gut * times(0.6)),
        shine=min(0.7, plan.shine * times(0.7)),
        spots=min(0.4, plan.spots * times(0.8)),
        bend=plan.bend * times(0.3),
        wave=plan.wave * times(0.4),
        leg=plan.leg * times(0.18),
        antenna=plan.antenna * times(0.22),
        cerci=plan.cerci * times(0.22),
        furca=plan.furca * times(0.22),
    )


def _another(colour: Colour, strength: float, rng: np.random.Generator) -> Colour:
    """A colour near one: lighter or darker, of another hue, more or less grey."""
    there = np.array(colour) * np.exp(rng.normal(0.0, 0.18 * strength)) * _hue(rng, 0.08 * strength)
    grey = rng.uniform(0.0, 0.5 * strength)
    red, green, blue = np.clip(there * (1 - grey) + there.mean() * grey, 12, 240).astype(int)
    return int(red), int(green), int(blue)


def _hue(rng: np.random.Generator, sd: float) -> np.ndarray:
    """(3,) gain of the channels whose mean is 1: warmer or colder, and a little greener or redder."""
    warm, green = rng.normal(0.0, sd), rng.normal(0.0, 0.3 * sd)
    gain = np.exp(np.array([warm - green / 2, green, -warm - green / 2]))
    return np.asarray(gain / gain.mean())


def _rgb(colour: np.ndarray) -> Rgb:
    red, green, blue = (float(value) for value in colour)
    return red, green, blue
