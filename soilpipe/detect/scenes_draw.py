"""Drawing the scenes of one pass: a piece of ground, what is pasted on it, and what of it counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from soilpipe.detect.dataset import Sample
from soilpipe.detect.network import Head
from soilpipe.detect.scenes_cutouts import Cutout, cut_ground, um_per_px_of_pass
from soilpipe.detect.scenes_paste import paste, present_in_background, turned_box, turned_size

SAME_SCALE = 1.05  # factor of µm/px within which a cut-out fits a ground: sizes in mm are kept
MORE_ANIMALS = 0.7  # a scene holds one animal and, on average, so many more
PATCHES, LOOK_ALIKES = 1.0, 1.0  # for each animal, on average
GAP = 2.0  # px between the boxes of what is pasted, and to what is there
TRIES = 12  # places tried for each; without one it is left out
COUNTED = 12.0  # px around what is pasted that count on ground that nobody knows

Boxes = npt.NDArray[np.float32]
ANIMAL, PATCH, LOOK_ALIKE = "animal", "patch", "look-alike"


@dataclass(frozen=True)
class Scene:
    """pixels (7, side, side) uint8 of a pass; boxes (n, 4) float32, px there, and labels (n,) int64 of the animals in
    it; crowd (n,) bool: what counts neither way."""

    pixels: npt.NDArray[np.uint8]
    boxes: Boxes
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]


class ScenesOfPass:
    """Draws scenes. grounds: where to; labelled: samples that bare ground is cut from; stays: (taxa + 1, 4) shares as
    `scenes_residency.stays`, the last for what has no taxon; tally: counts what is drawn."""

    def __init__(
        self,
        head: Head,
        grounds: Sequence[Sample],
        labelled: Sequence[Sample],
        animals: Sequence[Cutout],
        look_alikes: Sequence[Cutout],
        stays: npt.NDArray[np.float64],
        tally: Counter[str],
    ) -> None:
        self._stays, self._tally = stays, tally
        self._grounds: list[_Ground] = []
        for sample in grounds:
            scale = um_per_px_of_pass(sample, head)
            fitting = [cutout for cutout in animals if _alike(cutout.um_per_px, scale)]
            if fitting:
                static = [cutout for cutout in look_alikes if _alike(cutout.um_per_px, scale)]
                bare = [other for other in labelled if _alike(um_per_px_of_pass(other, head), scale)]
                self._grounds.append(_Ground(sample, head, fitting, static, bare))
        self._by_area = _cumulated([ground.area for ground in self._grounds])

    @property
    def possible(self) -> bool:
        return bool(self._grounds)

    def draw(self, side: int, inner: float, rng: np.random.Generator) -> Scene:
        """A scene of side x side px; what is pasted has its middle within the middle inner x inner px."""
        ground = self._grounds[_pick(self._by_area, rng)]
        window = ground.window(side, rng)
        low, high = (side - inner) / 2, (side + inner) / 2
        left, top, right, bottom = window.image
        room = (max(low, left), max(low, top), min(high, right), min(high, bottom))
        taken = [*window.boxes]
        animals: list[tuple[Boxes, int]] = []
        for cutout, kind in self._things(ground, rng):
            spot = _spot(cutout, window.image, room, taken, rng)
            if spot is None:
                self._tally["without a place"] += 1
                continue
            present = self._present(cutout, kind, ground.references, rng)
            y, x, turn = spot
            box = paste(window.pixels, cutout, y, x, turn=turn, present=present, rng=rng)
            taken.append(box)
            if kind == ANIMAL:
                animals.append((box, cutout.label))
            self._count(cutout, kind, present)
        self._tally["scenes"] += 1
        boxes, labels, crowd = window.boxes, window.labels, window.crowd
        if ground.nobody_knows:
            boxes = _all_but(side, taken)
            labels, crowd = np.zeros(len(boxes), np.int64), np.ones(len(boxes), bool)
        return Scene(
            window.pixels,
            np.concatenate([boxes, *(box[None] for box, _ in animals)]).astype(np.float32),
            np.concatenate([labels, np.array([label for _, label in animals], np.int64)]),
            np.concatenate([crowd, np.zeros(len(animals), bool)]),
        )

    def _things(self, ground: _Ground, rng: np.random.Generator) -> list[tuple[Cutout, str]]:
        """What to paste, in the order of pasting."""
        count = 1 + int(rng.poisson(MORE_ANIMALS))
        things = [(ground.animal(rng), ANIMAL) for _ in range(count)]
        patches = [ground.patch(rng) for _ in range(rng.poisson(PATCHES * count))]
        things += [(patch, PATCH) for patch in patches if patch is not None]
        if ground.look_alikes:
            static = rng.integers(len(ground.look_alikes), size=rng.poisson(LOOK_ALIKES * count))
            things += [(ground.look_alikes[index], LOOK_ALIKE) for index in static]
        return [things[index] for index in rng.permutation(len(things))]

    def _present(self, cutout: Cutout, kind: str, references: int, rng: np.random.Generator) -> float:
        """How much of a thing the background shows."""
        if kind == LOOK_ALIKE:
            return present_in_background(references, references)
        before = int((rng.random() < self._stays[cutout.label, :references]).sum())
        return present_in_background(before, references)

    def _count(self, cutout: Cutout, kind: str, present: float) -> None:
        self._tally[kind] += 1
        if kind == ANIMAL:
            self._tally[f"animal {cutout.label}"] += 1
            self._tally["resting"] += present == 1.0
            self._tally["half in background"] += present == 0.5


@dataclass(frozen=True)
class _Window:
    """A piece of ground: its pixels, the image's x_min y_min x_max y_max in it, and the labels in it."""

    pixels: npt.NDArray[np.uint8]
    image: tuple[int, int, int, int]
    boxes: Boxes
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]


class _Ground:
    """A sample to paste on, and what fits its scale."""

    def __init__(
        self,
        sample: Sample,
        head: Head,
        animals: Sequence[Cutout],
        look_alikes: Sequence[Cutout],
        bare: Sequence[Sample],
    ) -> None:
        self._image, self._pass, self._head = sample.image, sample.passes[head], head
        self._boxes: Boxes = (sample.image.boxes / self._pass.factor).astype(np.float32)
        self._animals, self._bare = animals, bare
        labels = np.array([cutout.label for cutout in animals])
        self._by_rarity = _cumulated(1 / np.sqrt(np.bincount(labels)[labels]))
        self.look_alikes = look_alikes
        self.area = self._pass.height * self._pass.width
        self.references = sample.references
        self.nobody_knows = not sample.image.labelled and sample.references < 2

    def window(self, side: int, rng: np.random.Generator) -> _Window:
        """A piece drawn at random; of a ground that is smaller all of it, in the middle."""
        given = self._pass
        top, left = (
            int(rng.integers(room + 1)) if room >= 0 else room // 2
            for room in (given.height - side, given.width - side)
        )
        boxes: Boxes = self._boxes - np.array([left, top, left, top], np.float32)
        here = ((boxes[:, :2] < side) & (boxes[:, 2:] > 0)).all(axis=1)
        return _Window(
            given.read(top, top + side, left, left + side),
            (max(-left, 0), max(-top, 0), min(given.width - left, side), min(given.height - top, side)),
            boxes[here],
            self._image.labels[here],
            self._image.crowd[here],
        )

    def animal(self, rng: np.random.Generator) -> Cutout:
        return self._animals[_pick(self._by_rarity, rng)]

    def patch(self, rng: np.random.Generator) -> Cutout | None:
        """Bare ground in the shape of an animal; None when the places drawn were not bare."""
        if not self._bare:
            return None
        like = self.animal(rng)
        for _ in range(3):
            sample = self._bare[int(rng.integers(len(self._bare)))]
            height, width = (
                max(1, side - size + 1)
                for side, size in zip(sample.passes[self._head].pixels.shape[1:], like.alpha.shape, strict=True)
            )
            found = cut_ground(sample, self._head, like, int(rng.integers(height)), int(rng.integers(width)))
            if found is not None:
                return found
        return None


def _spot(
    cutout: Cutout,
    image: tuple[int, int, int, int],
    room: tuple[float, float, float, float],
    taken: Sequence[Boxes],
    rng: np.random.Generator,
) -> tuple[int, int, int] | None:
    """y, x and turn for a cut-out with its middle in `room`, within the image and clear of what is taken."""
    left, top, right, bottom = image
    others = np.array(taken, np.float32).reshape(-1, 4)
    if room[0] >= room[2] or room[1] >= room[3]:
        return None
    for _ in range(TRIES):
        turn = int(rng.integers(8))
        height, width = turned_size(cutout, turn)
        y = round(rng.uniform(room[1], room[3]) - height / 2)
        x = round(rng.uniform(room[0], room[2]) - width / 2)
        if y < top or x < left or y + height > bottom or x + width > right:
            continue
        box = turned_box(cutout, turn) + np.array([x, y, x, y], np.float32)
        if not ((others[:, :2] < box[2:] + GAP) & (others[:, 2:] > box[:2] - GAP)).all(axis=1).any():
            return y, x, turn
    return None


def _all_but(side: int, kept: Sequence[Boxes]) -> Boxes:
    """(n, 4) boxes that cover a square but for the boxes kept and `COUNTED` px around them."""
    rest = [(0.0, 0.0, float(side), float(side))]
    for box in kept:
        a, b, c, d = (*(float(v) - COUNTED for v in box[:2]), *(float(v) + COUNTED for v in box[2:]))
        parts: list[tuple[float, float, float, float]] = []
        for x0, y0, x1, y1 in rest:
            if a >= x1 or c <= x0 or b >= y1 or d <= y0:
                parts.append((x0, y0, x1, y1))
                continue
            middle = max(y0, b), min(y1, d)
            pieces = (
                (x0, y0, x1, middle[0]),
                (x0, middle[1], x1, y1),
                (x0, middle[0], min(x1, a), middle[1]),
                (max(x0, c), middle[0], x1, middle[1]),
            )
            parts += [piece for piece in pieces if piece[0] < piece[2] and piece[1] < piece[3]]
        rest = parts
    return np.array(rest, np.float32).reshape(-1, 4)


def _alike(one: float, other: float) -> bool:
    return abs(math.log(one / other)) <= math.log(SAME_SCALE)


def _cumulated(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(weights, float)
    return np.cumsum(values / values.sum()) if len(values) else values


def _pick(cumulated: npt.NDArray[np.float64], rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(cumulated, rng.random(), side="right")), len(cumulated) - 1)
