"""Ground to paste on: windows of scans that nobody labelled.

What changed in them since the scans before may be an animal that nobody marked: it is boxed as a crowd, which counts
neither way, and nothing is pasted on it. Scans are opened one after the other and only windows are kept, so memory is
bounded by a budget, whatever the size and the number of the scans.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from soilpipe.background import ModelInput, even_contrast
from soilpipe.detect.change import ChangeSettings, change_map
from soilpipe.detect.components import find_components
from soilpipe.detect.dataset import Progress, Sample, SamplePass, open_scenes
from soilpipe.detect.labelled import LabelledImage, LabelSet
from soilpipe.detect.network import Head
from soilpipe.detect.passes import COARSE, PassName
from soilpipe.detect.pictures import Scene
from soilpipe.detect.split import NEIGHBOURING

SIDE = 1536  # px of the fine pass, a side of a window: a crop of 256 px of the coarse pass fits in
BUDGET = 1_000_000_000  # bytes of windows
CHANGED = ChangeSettings(low=5.0, high=7.0, smallest_mm2=0.005, gap_mm=0.4)
"""What may be an animal: about half the evidence that the change detector asks for."""
MARGIN_MM = 0.2  # around what changed
MOST_CHANGED = 0.5  # of a window, and
MOST_UNREST = 12.0  # grey levels, the median of the difference: more is rain on the glass, where no animal stands out


def grounds_of_labels(
    labels: LabelSet,
    um_per_px: float,
    *,
    trained_on: LabelSet,
    dpi: float | None = None,
    difference: bool = True,
    even: bool = False,
    budget: int = BUDGET,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Sample]:
    """Windows of the images of a label file that nobody labelled (`labelled: false`), with their difference.

    labels: as read from the file, before anything is held back; trained_on: the part to train on. Images of the file
    that are labelled and not trained on are held back, and so is what shows the same ground: other images of their
    scanner, where training has none of it, else those within `split.NEIGHBOURING` of them. `budget`: bytes; which
    windows are taken is drawn by `seed`. Empty where no image is free.
    """
    free = free_images(labels, trained_on)
    rng = np.random.default_rng([seed, 5])
    most = windows_in(budget)
    chosen = {free[index].file_name for index in rng.permutation(len(free))[:most]}
    if not chosen:
        return []
    each = max(1, most // len(chosen))
    asked = replace(labels, images=tuple(replace(image, labelled=image.file_name in chosen) for image in labels.images))
    grounds: list[Sample] = []
    for done, scene in enumerate(open_scenes(asked, dpi=dpi, difference=difference), start=1):
        grounds += windows_of(scene, um_per_px, each, rng, even=even)
        if progress:
            progress(done, len(chosen))
    return grounds


def windows_of(
    scene: Scene, um_per_px: float, most: int, rng: np.random.Generator, *, even: bool = False
) -> Iterator[Sample]:
    """Up to `most` windows of an unlabelled scan that do not overlap, as samples of both passes.

    Windows in which most has changed are left out. `even`: their contrast is evened; what has changed is told from the
    scan as it is.
    """
    scales: dict[Head, float] = {"fine": um_per_px, "coarse": COARSE * um_per_px}
    tone = even_contrast(scene.scan) if even else None
    inputs = {
        head: ModelInput(scene.scan, scene.references, scene.registrations, scale, even=tone)
        for head, scale in scales.items()
    }
    fine, coarse = inputs["fine"], inputs["coarse"]
    plain = ModelInput(scene.scan, scene.references, scene.registrations, um_per_px) if even else fine
    step = max(1, round(coarse.factor / fine.factor))
    places = [(top, left) for top in _starts(fine.height, step, rng) for left in _starts(fine.width, step, rng)]
    for index in rng.permutation(len(places))[:most]:
        top, left = places[index]
        bottom, right = min(top + SIDE, fine.height), min(left + SIDE, fine.width)
        passes: dict[PassName, SamplePass] = {
            "fine": SamplePass(fine.read(top, bottom, left, right), fine.factor),
            "coarse": SamplePass(
                coarse.read(top // step, -(-bottom // step), left // step, -(-right // step)), coarse.factor
            ),
        }
        seen = SamplePass(plain.read(top, bottom, left, right), plain.factor) if even else passes["fine"]
        changed = changed_boxes(seen, scene.scan.um_per_px * fine.factor) * np.float32(fine.factor)
        size = (bottom - top) * fine.factor, (right - left) * fine.factor
        if _area(changed) <= MOST_CHANGED * size[0] * size[1] and _unrest(seen) <= MOST_UNREST:
            yield Sample(_unlabelled(scene.image, changed, size), passes, scene.scan.um_per_px, fine.usable)


def changed_boxes(window: SamplePass, um_per_px: float) -> npt.NDArray[np.float32]:
    """(n, 4) boxes around what changed since the references, px of the window; none where no difference is valid."""
    if not window.pixels[6].any():
        return np.zeros((0, 4), np.float32)
    evidence = change_map(window, um_per_px, CHANGED)
    reach = max(1, round(CHANGED.gap_mm * 1000 / um_per_px))
    found = find_components(evidence, CHANGED.low * 8, CHANGED.high * 8, reach)
    found = found.select(np.flatnonzero(found.area * (um_per_px / 1000) ** 2 >= CHANGED.smallest_mm2))
    margin = math.ceil(MARGIN_MM * 1000 / um_per_px)
    boxes = found.boxes + np.array([-margin, -margin, margin, margin])
    return np.clip(boxes, 0, np.tile([window.width, window.height], 2)).astype(np.float32)


def free_images(labels: LabelSet, trained_on: LabelSet) -> list[LabelledImage]:
    """The images of a label set without labels that show nothing of what is held back, as `grounds_of_labels` says; by
    name."""
    trained = {image.file_name for image in trained_on.labelled}
    own = {image.scanner_id for image in trained_on.labelled}
    held = [image for image in labels.labelled if image.file_name not in trained]

    def shows_what_is_held(image: LabelledImage) -> bool:
        same = [other for other in held if image.scanner_id is not None and other.scanner_id == image.scanner_id]
        if not same or image.scanner_id not in own:
            return bool(same)
        return any(
            image.captured_at is None
            or other.captured_at is None
            or abs(image.captured_at - other.captured_at) <= NEIGHBOURING
            for other in same
        )

    free = [image for image in labels.images if not image.labelled and not shows_what_is_held(image)]
    return sorted(free, key=lambda image: image.file_name)


def _starts(side: int, step: int, rng: np.random.Generator) -> Sequence[int]:
    """Where windows begin along a side: next to each other, moved by a drawn part of what is left over."""
    count = max(1, side // SIDE)
    spare = max(0, side - count * SIDE)
    first = int(rng.integers(spare // step + 1)) * step
    return [first + number * SIDE for number in range(count)]


def windows_in(budget: int) -> int:
    """How many windows fit in so many bytes; one at least."""
    return max(1, int(budget / (7 * SIDE * SIDE * (1 + 1 / COARSE**2))))


def _area(boxes: npt.NDArray[np.float32]) -> float:
    """Of boxes together, overlaps counted twice."""
    return float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())


def _unrest(window: SamplePass) -> float:
    """Median of the difference where it is valid, grey levels; 0 where it is nowhere."""
    pixels = window.pixels[:, ::4, ::4]
    size = np.abs(pixels[3:6].astype(np.int16) - 128).max(axis=0)[pixels[6] > 0]
    return float(np.median(size)) if size.size else 0.0


def _unlabelled(image: LabelledImage, changed: npt.NDArray[np.float32], size: tuple[float, float]) -> LabelledImage:
    """A window as an image of its own, height and width in px of the file: what changed in it is a crowd."""
    count = len(changed)
    return replace(
        image,
        height=round(size[0]),
        width=round(size[1]),
        labelled=False,
        boxes=changed,
        labels=np.zeros(count, np.int64),
        crowd=np.ones(count, bool),
        scans_present=np.full(count, -1, np.int64),
        outlines=(),
    )
