"""A season of one scanner, scan by scan, with everything that was in it.

The ground is drawn once. Each scan then takes the ground as it is by now (roots grown, crumbs fallen), lays the animals
and the pasted patches of bare ground on it, wets it, and reads it through the unsteady sensor. A season needs about
40 bytes of memory per pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from soilpipe.simulate.compose import LINE_S_AT_1200, Laid, Look, Pasted, Sprite, blend, lay, paste
from soilpipe.simulate.field import FIELD
from soilpipe.simulate.generator import Generator
from soilpipe.simulate.loam import Loam
from soilpipe.simulate.loam_look import drawn_look
from soilpipe.simulate.peat import Peat
from soilpipe.simulate.population import PATCH, Placement, populate
from soilpipe.simulate.sensor import Carriage, Sensor, Weather, carriage
from soilpipe.simulate.spec import SeasonSpec, SimulatedScan, TrueAnimal

SEEN_SHARE = 0.25
SEEN_CONTRAST = 8.0
"""Below a quarter of its body, or this mean difference from the ground (grey levels), a person would not see an animal:
it is drawn, but is no part of the truth."""
MOVED_CRUMBS_PER_CM2_DAY = 0.25
_SOFT_FOCUS = 0.9  # blur, px at 1200 dpi per 0.1 mm off the glass


def generator_of(spec: SeasonSpec) -> Generator:
    if spec.generator == "varied":
        return Loam(drawn_look(spec.random("look")))
    return Loam() if spec.generator == "loam" else Peat()


def simulate_season(spec: SeasonSpec) -> Iterator[SimulatedScan]:
    """The season's scans in the order of their times. Equal specs give equal pixels, whatever was simulated before."""
    season = _Season(spec)
    for number, placements in enumerate(populate(spec)):
        yield season.scan(number, placements)


class _Season:
    def __init__(self, spec: SeasonSpec) -> None:
        self.spec = spec
        self.generator = generator_of(spec)
        self.line_s = LINE_S_AT_1200 * 1200.0 / spec.dpi
        rng = spec.random("ground")
        self.ground = self.generator.ground(spec.height_px, spec.width_px, spec.px_per_mm, rng)
        rng = spec.random("look-alikes")
        for _ in range(rng.poisson(spec.look_alikes_per_cm2 * spec.window_cm2)):
            self._look_alike(rng)
        self.spare = self.ground.copy()  # bare ground to cut patches from: holds look-alikes, never an animal
        self.roots = self.generator.roots(spec.height_px, spec.width_px, spec.px_per_mm, spec.random("roots"))
        grown = spec.random("growth")
        self.growth = [(grown.uniform(-20, 10), grown.uniform(5, 40)) for _ in self.roots]  # days: start, span
        self.grown = [0.0] * len(self.roots)
        self.weather = Weather(spec)
        self.sensor = Sensor(spec, self.generator.gain)
        self.laid: dict[tuple[int, int, int, bool], Laid] = {}  # as seen in the scan before: resting animals stay so

    def scan(self, number: int, placements: tuple[Placement, ...]) -> SimulatedScan:
        self._age(number)
        scene = self.ground.copy()
        moved = carriage(self.spec, number)
        shown: list[tuple[Placement, Pasted]] = []
        laid: dict[tuple[int, int, int, bool], Laid] = {}
        for placement in sorted(placements, key=lambda p: (-p.off_glass_mm, p.track_id)):
            key = (placement.track_id, placement.pose, placement.nudge, placement.velocity_mm_s > 0.0)
            laid[key] = self.laid.get(key) or self._lay(placement)
            pasted = blend(scene, laid[key])
            shown = [(other, below.behind(laid[key])) for other, below in shown]
            if placement.taxon != PATCH and pasted is not None:
                shown.append((placement, pasted))
        self.laid = laid
        self.weather.apply(scene, number)
        image = self.sensor.read(scene, number, moved)
        found = (_truth(placement, pasted, moved, scene.shape[:2]) for placement, pasted in shown)
        animals = sorted((animal for animal in found if animal is not None), key=lambda animal: animal.track_id)
        return SimulatedScan(self.spec.times[number], image, tuple(animals))

    def _age(self, number: int) -> None:
        """What has changed in the ground since the scan before: longer roots, fallen crumbs, cast skins."""
        spec = self.spec
        days = (spec.times[number] - spec.times[0]).total_seconds() / 86400.0
        for i, root in enumerate(self.roots):
            start, span = self.growth[i]
            share = float(np.clip((days - start) / span, 0.0, 1.0))
            if share > self.grown[i]:
                self._grow(root.sprite, root.when, root.y, root.x, self.grown[i], share)
                self.grown[i] = share
        if not number:
            return
        rng = spec.random("falls", number)
        gap = (spec.times[number] - spec.times[number - 1]).total_seconds() / 86400.0
        for _ in range(rng.poisson(MOVED_CRUMBS_PER_CM2_DAY * spec.window_cm2 * gap)):
            if rng.random() < 0.25:
                self._look_alike(rng)
            else:
                size = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0)))) * spec.px_per_mm
                sprite = self._patch(_crumb(rng, size), rng)
                y, x = rng.random() * spec.height_px, rng.random() * spec.width_px
                paste(self.ground, sprite, y, x, Look(off_glass_px=float(rng.exponential(1.0))), 0.0)

    def _grow(self, sprite: Sprite, when: np.ndarray, y: float, x: float, before: float, now: float) -> None:
        fresh = sprite.alpha * ((when <= now) & (when > before if before > 0 else True))
        paste(self.ground, Sprite(sprite.colour, fresh.astype(np.float32), sprite.body), y, x, Look(shadow=0.1), 0.0)

    def _look_alike(self, rng: np.random.Generator) -> None:
        spec = self.spec
        sprite = self.generator.look_alike(spec.px_per_mm, rng)
        off = float(rng.exponential(0.12))
        look = _look(off, spec.px_per_mm, _cover(rng, sprite.alpha.shape, float(max(0.0, rng.normal(0.0, 0.28)))))
        paste(self.ground, sprite, rng.random() * spec.height_px, rng.random() * spec.width_px, look, 0.0)

    def _lay(self, placement: Placement) -> Laid:
        spec, per_mm = self.spec, self.spec.px_per_mm
        rng = np.random.default_rng([placement.pose, 77])
        if placement.taxon == PATCH:
            sprite = self._patch(self._outline(placement, rng), rng)
        else:
            sprite = self.generator.animal(
                placement.taxon, placement.length_mm, placement.angle, spec.px_per_mm, placement.pose, placement.nudge
            )
        cover = _cover(rng, sprite.alpha.shape, placement.buried)
        speed = placement.velocity_mm_s * per_mm
        velocity = (float(speed * np.cos(placement.angle)), float(speed * np.sin(placement.angle)))
        look = replace(_look(placement.off_glass_mm, per_mm, cover), velocity_px_s=velocity)
        return lay(sprite, placement.y_mm * per_mm, placement.x_mm * per_mm, look, self.line_s)

    def _outline(self, placement: Placement, rng: np.random.Generator) -> np.ndarray:
        """The outline of a patch: an animal's in two cases of three, so that shape does not tell either."""
        if rng.random() < 0.33:
            return _crumb(rng, placement.length_mm * 0.5 * self.spec.px_per_mm)
        fits = [t.name for t in FIELD if t.length_mm[0] <= placement.length_mm <= t.length_mm[1]] or ["Poduromorpha"]
        taxon = fits[rng.integers(len(fits))]
        return self.generator.animal(
            taxon, placement.length_mm, placement.angle, self.spec.px_per_mm, placement.pose, 0
        ).alpha

    def _patch(self, alpha: np.ndarray, rng: np.random.Generator) -> Sprite:
        """Bare ground from elsewhere in the window, cut out by `alpha`, somewhat lighter or darker."""
        h, w = alpha.shape
        source = self.spare
        rows = np.abs((np.arange(h) + rng.integers(source.shape[0])) % (2 * source.shape[0] - 1) - source.shape[0] + 1)
        columns = np.abs(
            (np.arange(w) + rng.integers(source.shape[1])) % (2 * source.shape[1] - 1) - source.shape[1] + 1
        )
        colour = source[rows[:, None], columns[None, :]] * np.float32(rng.uniform(0.75, 1.5))
        return Sprite(colour.astype(np.float32), alpha.astype(np.float32), alpha.astype(np.float32))


def _look(off_glass_mm: float, per_mm: float, cover: np.ndarray | None) -> Look:
    """CIS optics are sharp for a few tenths of a mm; behind that it gets dark and soft."""
    blur = _SOFT_FOCUS * off_glass_mm / 0.1 * per_mm * 25.4 / 1200.0
    return Look(off_glass_px=min(blur, 12.0), cover=cover, light=float(np.exp(-off_glass_mm / 0.9)))


def _cover(rng: np.random.Generator, shape: tuple[int, int], buried: float) -> np.ndarray | None:
    """(h, w) share that soil does not hide: crumbs lie before about `buried` of the area."""
    if buried < 0.03:
        return None
    cell = max(4.0, min(shape) / 3.0)
    grid = rng.standard_normal((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3)).astype(np.float32)
    field = cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    ragged = rng.standard_normal((int(shape[0] / cell * 4) + 3, int(shape[1] / cell * 4) + 3)).astype(np.float32)
    field += 0.3 * cv2.resize(ragged, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    edge = np.quantile(field, min(0.95, buried))
    return np.clip((field - edge) * cell * 0.6 + 0.5, 0.0, 1.0).astype(np.float32)


def _crumb(rng: np.random.Generator, size: float) -> np.ndarray:
    """(h, w) float32 coverage of an irregular crumb about `size` px across."""
    side = int(np.clip(size, 5, 400)) * 2
    ys, xs = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    grid = cv2.resize(rng.standard_normal((6, 6)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip((0.26 - np.hypot(ys, xs * rng.uniform(0.7, 1.6)) + 0.06 * grid) * side * 0.5, 0.0, 1.0).astype(
        np.float32
    )


def _truth(placement: Placement, pasted: Pasted, moved: Carriage, shape: tuple[int, int]) -> TrueAnimal | None:
    """What a person would mark, or None where there is too little to see."""
    if pasted.visible < SEEN_SHARE or pasted.contrast < SEEN_CONTRAST:
        return None
    mask = (pasted.body > 0.35).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=lambda c: (cv2.contourArea(c), len(c)))
    ys, xs = np.nonzero(mask)
    if len(ys) < 4:
        return None
    top, left = pasted.origin
    corners = moved.moved(np.array([[left + xs.min(), top + ys.min()], [left + xs.max() + 1.0, top + ys.max() + 1.0]]))
    limit = np.array([shape[1], shape[0]], float)
    (x0, y0), (x1, y1) = np.clip(corners, 0.0, limit)
    if x1 - x0 < 1.0 or y1 - y0 < 1.0:
        return None
    outline = _polygon(largest[:, 0, :].astype(float), left, top)
    outline = np.clip(moved.moved(outline), 0.0, limit)
    return TrueAnimal(
        track_id=placement.track_id,
        taxon=placement.taxon,
        box=(round(float(x0), 2), round(float(y0), 2), round(float(x1), 2), round(float(y1), 2)),
        length_mm=placement.length_mm,
        scans_present=placement.scans_present,
        polygon=tuple((round(float(x), 1), round(float(y), 1)) for x, y in outline),
        visible=round(pasted.visible, 3),
        contrast=round(pasted.contrast, 1),
        walking=placement.velocity_mm_s > 0.0,
    )


def _polygon(points: np.ndarray, left: int, top: int) -> np.ndarray:
    """Contour through pixel middles to pixel edges, x, y; a sliver of one pixel becomes a small square."""
    if len(points) < 3:
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0) + 1.0
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - 0.5
    return points + 0.5 + np.array([left, top])
