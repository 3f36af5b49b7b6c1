"""The worst misses and false alarms of an evaluation, cut out of their images while those are at hand.

Misses: animals that no counted detection took, those first that nothing pointed to, the longer ones before the shorter.
False alarms: counted detections that took no animal, the surest first.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from soilpipe.detect.decode import overlaps
from soilpipe.detect.scoring import near
from soilpipe.report.brightness import brightened
from soilpipe.report.crops import CONTEXT, LEAST_PX
from soilpipe.report.drawing import draw_scale_bar
from soilpipe.report.palette import RGB
from soilpipe.taxonomy import SOIL, Taxonomy
from soilpipe.tiles import Pixels

if TYPE_CHECKING:
    from soilpipe.detect.evaluate import JudgedScene

MOST = 18  # of each kind
CELL = 208  # px: side of a picture
LABEL, FOUND, DARK = (255, 255, 255), (230, 159, 0), (20, 20, 20)
ENOUGH, SOME = 0.5, 0.1  # overlap (IoU) that takes an animal; that means the same thing
MARGIN = 1.6  # context of a picture over that of the strip below an overlay


@dataclass
class Shown:
    """One picture with its words; `worst`: larger is worse. times: in how many images of this scanner it was at this
    place; `picture` (JPEG) is of the worst. box: px of the scan."""

    worst: tuple[float, ...]
    picture: bytes
    taxon: str
    score: float | None
    why: str
    image: str
    length_mm: float
    scanner: str
    box: np.ndarray
    times: int = 1


class Gallery:
    """Watches an evaluation and keeps the worst of each kind; memory does not grow with the number of images."""

    def __init__(self, most: int = MOST, taxonomy: Taxonomy = SOIL) -> None:
        self._most, self._taxonomy = most, taxonomy
        self._kept: dict[str, list[Shown]] = {"misses": [], "alarms": []}
        self._seen = {"misses": 0, "alarms": 0}

    def __call__(self, seen: JudgedScene) -> None:
        """Look at one judged scene."""
        judged = seen.judged
        missed = np.flatnonzero(judged.counted & (judged.found_by() < 0))
        for label, (there, shared) in zip(missed, near(judged.boxes[missed], judged.found, least=SOME), strict=True):
            hint = float(judged.scores[there[shared >= ENOUGH]].max(initial=0.0))
            length = _length_mm(judged.boxes[label], judged.um_per_px)
            why = _why_missed(shared, judged.scores[there], judged.at_work[there])
            self._keep("misses", (-hint, length), seen, judged.boxes[label], seen.label_names[label], None, why)
        wrong = np.flatnonzero(judged.at_work & (judged.taken < 0) & ~judged.aside)
        for found, (_, shared) in zip(wrong, near(judged.found[wrong], judged.boxes, least=SOME), strict=True):
            score = float(judged.scores[found])
            why = _why_wrong(shared)
            self._keep("alarms", (score,), seen, judged.found[found], seen.found_names[found], score, why)

    @property
    def misses(self) -> list[Shown]:
        """Worst first."""
        return list(self._kept["misses"])

    @property
    def alarms(self) -> list[Shown]:
        """Surest first."""
        return list(self._kept["alarms"])

    def count(self, kind: str) -> int:
        """How many there were of a kind: `misses` or `alarms`."""
        return self._seen[kind]

    def _keep(
        self,
        kind: str,
        worst: tuple[float, ...],
        seen: JudgedScene,
        box: np.ndarray,
        taxon: str,
        score: float | None,
        why: str,
    ) -> None:
        kept, judged = self._kept[kind], seen.judged
        self._seen[kind] += 1
        corner = np.tile(seen.scene.image.origin or (0, 0), 2)
        scanner = judged.scanner_id or judged.name
        there = _same_place([one for one in kept if one.scanner == scanner], box + corner)
        if there is not None:
            there.times += 1
            if worst <= there.worst:
                return
            kept.remove(there)
        elif len(kept) >= self._most and worst <= kept[-1].worst:
            return
        shown = Shown(
            worst=worst,
            picture=draw_cell(
                brightened(seen.scene.scan.levels)[0], box, judged.boxes, judged.found[judged.at_work], judged.um_per_px
            ),
            taxon=self._taxonomy.find(taxon).name if taxon in self._taxonomy else taxon,
            score=score,
            why=why,
            image=judged.name,
            length_mm=_length_mm(box, judged.um_per_px),
            scanner=scanner,
            box=box + corner,
            times=there.times if there else 1,
        )
        kept.append(shown)
        kept.sort(key=lambda one: one.worst, reverse=True)
        del kept[self._most :]


def _same_place(shown: Sequence[Shown], box: np.ndarray) -> Shown | None:
    """The first of those shown that lies where the box does."""
    if not shown:
        return None
    same = np.flatnonzero(overlaps(np.stack([one.box for one in shown]), box[None])[:, 0] >= ENOUGH)
    return shown[same[0]] if len(same) else None


def _length_mm(box: np.ndarray, um_per_px: float) -> float:
    return float((box[2:] - box[:2]).max()) * um_per_px / 1000


def _why_missed(near: np.ndarray, scores: np.ndarray, at_work: np.ndarray) -> str:
    weak = (near >= ENOUGH) & ~at_work
    if weak.any():
        return f"seen, but scored {float(scores[weak].max()):.2f}: below the threshold"
    loose = (near >= SOME) & at_work
    if loose.any():
        return f"boxed, but the box fits badly (overlap {float(near[loose].max()):.2f})"
    return "not seen at all"


def _why_wrong(shared: np.ndarray) -> str:
    best = float(shared.max(initial=0.0))
    if best >= ENOUGH:
        return "a second box on one animal"
    return f"an animal is there, but the box fits badly (overlap {best:.2f})" if best >= SOME else "nothing marked here"


def draw_cell(
    levels: Sequence[Pixels], box: np.ndarray, labels: np.ndarray, found: np.ndarray, um_per_px: float
) -> bytes:
    """A JPEG of the square around a box, CELL px wide, with a scale bar.

    Boxes (n, 4), px of level 0: `labels` dashed white, `found` orange.
    """
    x_min, y_min, x_max, y_max = (float(value) for value in box)
    side = max(LEAST_PX * MARGIN, CONTEXT * MARGIN * max(x_max - x_min, y_max - y_min))
    number = min(len(levels) - 1, max(0, int(np.log2(max(1.0, side / CELL)))))
    level, factor = levels[number], 2**number
    across = max(2, round(side / factor))
    left = _inside(round(((x_min + x_max - side) / 2) / factor), across, level.width)
    top = _inside(round(((y_min + y_max - side) / 2) / factor), across, level.height)
    window = np.full((across, across, 3), 128, np.uint8)  # outside the image
    y0, y1, x0, x1 = max(0, top), min(level.height, top + across), max(0, left), min(level.width, left + across)
    window[y0 - top : y1 - top, x0 - left : x1 - left] = level.read(y0, y1, x0, x1)
    kind = Image.Resampling.BICUBIC if across < CELL else Image.Resampling.BOX
    cell = Image.fromarray(window).resize((CELL, CELL), kind)
    scale = CELL / (across * factor)
    corner = np.array([left, top, left, top], float) * factor
    draw = ImageDraw.Draw(cell)
    for boxes, colour, dashed in ((found, FOUND, False), (labels, LABEL, True)):
        cornered = (boxes - corner) * scale
        for one in cornered[(cornered[:, 2:] >= 0).all(axis=1) & (cornered[:, :2] <= CELL).all(axis=1)]:
            _rectangle(draw, one, colour, dashed=dashed)
    _point_at(draw, (box - corner) * scale)
    draw_scale_bar(cell, um_per_px / scale, share=0.4, small=True)
    held = io.BytesIO()
    cell.save(held, format="JPEG", quality=88)
    return held.getvalue()


def _point_at(draw: ImageDraw.ImageDraw, box: np.ndarray) -> None:
    """A small arrow from above (or below) at the box that a picture is about, for there may be others in it."""
    middle, top, bottom = (float(box[0]) + float(box[2])) / 2, float(box[1]), float(box[3])
    tip, away = (top - 4, -1) if top > 18 else (bottom + 4, 1)
    draw.polygon(
        [(middle, tip), (middle - 6, tip + away * 11), (middle + 6, tip + away * 11)], fill=FOUND, outline=DARK
    )


def _inside(start: int, across: int, size: int) -> int:
    """At the border the picture moves inwards, where it fits at all."""
    return min(max(start, 0), size - across) if across <= size else start


def _rectangle(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: RGB, *, dashed: bool) -> None:
    """Two px wide with a dark line beside it, so that it is seen on any ground."""
    x0, y0, x1, y1 = (float(value) for value in box)
    x0, y0, x1, y1 = max(x0, -9), max(y0, -9), min(x1, CELL + 9), min(y1, CELL + 9)
    sides = [((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))]
    for begin, end in sides:
        draw.line([begin, end], fill=DARK, width=4)
        length = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]))
        steps = max(1, round(length / 7)) if dashed else 1
        for step in range(0, steps, 2 if dashed else 1):
            part = [tuple(a + (b - a) * at / steps for a, b in zip(begin, end, strict=True)) for at in (step, step + 1)]
            draw.line(part, fill=colour, width=2)
