"""Who is where in each scan: animals come, rest at one place, walk on within the window, and leave.

Places and lengths are in mm, so the same season at another dpi shows the same animals. For every taxon the number in
the window follows a birth-and-death process around its expected number, which itself wanders (a log-normal AR(1), as
the campaign's counts do); an animal rests through a gap of h hours with the probability of `TaxonField.stay(h)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from soilpipe.simulate.field import (
    ACTIVITY_CORRELATION_H,
    FIELD,
    MOVES_WITHIN,
    SCANNER_CV,
    TOTAL_PER_100CM2,
    TaxonField,
)
from soilpipe.simulate.spec import SeasonSpec

WALKING = 0.35  # share of the animals that have just moved which still walk while the carriage passes
NUDGED = 0.25  # chance that a resting animal has shifted legs or bent a little since the scan before
PATCH = "ground patch"
_PATCH_FIELD = TaxonField(PATCH, 0.0, 0.12, 0.0, 0.0, (0.4, 9.0), 1.0, None)


@dataclass(frozen=True)
class Placement:
    """One animal (or patch of bare ground, taxon PATCH) in one scan.

    x_mm, y_mm: its middle, from the window's top left. angle: heading, radians clockwise from +x. off_glass_mm: gap
    between body and glass. buried: share of the body that soil hides. velocity_mm_s: 0 while resting. pose: seed of
    its looks in this place. nudge: how often it has shifted a little since it came here.
    """

    track_id: int
    taxon: str
    length_mm: float
    x_mm: float
    y_mm: float
    angle: float
    off_glass_mm: float
    buried: float
    velocity_mm_s: float
    pose: int
    nudge: int
    scans_present: int


def populate(spec: SeasonSpec) -> list[tuple[Placement, ...]]:
    """Placements of every scan of the season, in the order of `spec.times`."""
    shares = {taxon.name: taxon.per_100cm2 / TOTAL_PER_100CM2 for taxon in FIELD}
    total = TOTAL_PER_100CM2 if spec.animals_per_100cm2 is None else spec.animals_per_100cm2
    scans: list[list[Placement]] = [[] for _ in spec.times]
    expected_animals = total * spec.window_cm2 / 100.0
    for index, taxon in enumerate(FIELD):
        share = (1.0 - spec.evenness) * shares[taxon.name] + spec.evenness / len(FIELD)
        for scan, placed in zip(scans, _Taxon(spec, taxon, index, expected_animals * share).run(), strict=True):
            scan.extend(placed)
    patches = _Taxon(spec, _PATCH_FIELD, len(FIELD), expected_animals * spec.patches_per_animal, varying=False)
    for scan, placed in zip(scans, patches.run(), strict=True):
        scan.extend(placed)
    return [tuple(scan) for scan in scans]


class _Taxon:
    """The process of one taxon at one scanner."""

    def __init__(self, spec: SeasonSpec, taxon: TaxonField, index: int, expected: float, varying: bool = True) -> None:
        self.spec, self.taxon = spec, taxon
        self.rng = spec.random(f"population/{taxon.name}")
        shape = 1.0 / SCANNER_CV**2
        self.expected = expected * (self.rng.gamma(shape, 1.0 / shape) if varying else 1.0)
        self.next_id = 1 + index * 1_000_000

    def run(self) -> list[list[Placement]]:
        times, activity = self.spec.times, self._activity()
        present: list[Placement] = []
        for _ in range(self.rng.poisson(self.expected * activity[0])):
            present.append(self._newcomer(present))
        scans = [present]
        for before, now, level in zip(times, times[1:], activity[1:], strict=False):
            scans.append(self._next(scans[-1], (now - before).total_seconds() / 3600.0, level))
        return scans

    def _activity(self) -> np.ndarray:
        """(scans,) multiplier with mean 1 of the expected number."""
        hours = np.array([(time - self.spec.times[0]).total_seconds() / 3600.0 for time in self.spec.times])
        keep = np.exp(-np.diff(hours, prepend=0.0) / ACTIVITY_CORRELATION_H)
        keep[0] = 0.0
        sigma2 = np.log1p(self.taxon.activity_cv**2)
        state, states = 0.0, []
        for share, step in zip(keep, self.rng.standard_normal(len(hours)), strict=True):
            state = share * state + np.sqrt(1.0 - share**2) * step
            states.append(state)
        return np.exp(np.sqrt(sigma2) * np.array(states) - sigma2 / 2.0)

    def _next(self, before: list[Placement], hours: float, level: float) -> list[Placement]:
        rests = self.taxon.stay(hours)
        stays: list[Placement] = []
        walkers: list[Placement] = []
        for animal in before:
            draw = self.rng.random()
            if draw < rests:
                nudge = animal.nudge + int(self.rng.random() < NUDGED)
                stays.append(replace(animal, scans_present=animal.scans_present + 1, velocity_mm_s=0.0, nudge=nudge))
            elif draw < rests + (1.0 - rests) * MOVES_WITHIN:
                walkers.append(animal)
        for animal in walkers:
            placed = self._place(stays)
            stays.append(replace(placed, track_id=animal.track_id, length_mm=animal.length_mm))
        leaving = (1.0 - rests) * (1.0 - MOVES_WITHIN)
        for _ in range(self.rng.poisson(self.expected * level * leaving)):
            stays.append(self._newcomer(stays))
        return stays

    def _newcomer(self, others: list[Placement]) -> Placement:
        placed = self._place(others)
        low, high = np.log(self.taxon.length_mm)
        length = np.exp(np.clip((low + high) / 2 + (high - low) / 4 * self.rng.standard_normal(), low, high))
        self.next_id += 1
        return replace(placed, track_id=self.next_id - 1, length_mm=round(float(length), 3))

    def _place(self, others: list[Placement]) -> Placement:
        """A place and a way of lying there; beside one of its kind with the taxon's probability `together`."""
        rng = self.rng
        height, width = self.spec.window_mm
        x, y = rng.random() * width, rng.random() * height
        if others and rng.random() < self.taxon.together:
            host = others[rng.integers(len(others))]
            dx, dy = rng.normal(0.0, 4.0, 2)
            x, y = float(np.clip(host.x_mm + dx, 0.0, width)), float(np.clip(host.y_mm + dy, 0.0, height))
        walks = rng.random() < WALKING
        return Placement(
            track_id=0,
            taxon=self.taxon.name,
            length_mm=0.0,
            x_mm=float(x),
            y_mm=float(y),
            angle=float(rng.uniform(0.0, 2.0 * np.pi)),
            off_glass_mm=float(rng.exponential(0.12)),
            buried=float(max(0.0, rng.normal(0.0, 0.28))),
            velocity_mm_s=float(rng.gamma(2.0, self.taxon.speed_mm_s / 2.0)) if walks else 0.0,
            pose=int(rng.integers(2**31)),
            nudge=0,
            scans_present=0,
        )
