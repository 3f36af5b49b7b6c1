"""The strip of magnified detections below an overlay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from soilpipe.report.drawing import INK, MUTED, PAPER, draw_scale_bar, font
from soilpipe.report.marks import Marks
from soilpipe.report.palette import taxon_colour
from soilpipe.taxonomy import SOIL, Taxonomy
from soilpipe.tiles import Pixels

CELL = 168  # px: side of one magnified detection
GAP = 10
CAPTION = 40
LEAST_PX = 32  # full-resolution px: a crop is at least this wide
CONTEXT = 1.7  # side of the crop over the longer side of the box


def most_certain(marks: Marks, n: int) -> list[int]:
    """Indices of the n detections to show: the surest of each taxon first, then the second of each, and so on."""
    by_taxon: dict[str, list[int]] = defaultdict(list)
    scores = np.nan_to_num(marks.scores, nan=0.0)
    for index in np.argsort(-scores, kind="stable"):
        by_taxon[marks.taxa[index]].append(int(index))
    ranked = [(rank, -float(scores[index]), index) for found in by_taxon.values() for rank, index in enumerate(found)]
    return [index for _, _, index in sorted(ranked)[:n]]


def draw_crops(
    levels: Sequence[Pixels],
    marks: Marks,
    chosen: Sequence[int],
    um_per_px: float | None,
    orientation: int,
    width: int,
    codes: dict[str, str],
    taxonomy: Taxonomy = SOIL,
) -> Image.Image:
    """A sheet `width` px wide with one cell per chosen detection, each with its own scale bar."""
    columns = max(1, (width + GAP) // (CELL + GAP))
    if len(chosen) > columns:  # whole rows only
        chosen = chosen[: len(chosen) // columns * columns]
    rows = -(-len(chosen) // columns)
    head = 24
    sheet = Image.new("RGB", (width, head + rows * (CELL + CAPTION)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((0, 0), "The surest of each taxon, magnified", font=font(14), fill=MUTED)
    for place, index in enumerate(chosen):
        left, top = place % columns * (CELL + GAP), head + place // columns * (CELL + CAPTION)
        cell = _cell(levels, marks.boxes[index], um_per_px, orientation)
        taxon = marks.taxa[index]
        colour = taxon_colour(taxon, taxonomy)
        sheet.paste(cell, (left, top))
        draw.rectangle((left, top, left + CELL - 1, top + 2), fill=colour)
        draw.text((left, top + CELL + 2), _fitted(taxon), font=font(13), fill=INK)
        score = marks.scores[index]
        if np.isfinite(score):
            draw.text((left, top + CELL + 18), f"score {score:.2f}", font=font(11), fill=MUTED)
    return sheet


def _fitted(taxon: str) -> str:
    return taxon if len(taxon) <= 21 else taxon[:20] + "…"


def _cell(levels: Sequence[Pixels], box: np.ndarray, um_per_px: float | None, orientation: int) -> Image.Image:
    """A square around the box, CELL px wide, from the coarsest level that still has CELL px across it."""
    x_min, y_min, x_max, y_max = (float(value) for value in box)
    side = max(LEAST_PX, CONTEXT * max(x_max - x_min, y_max - y_min))
    level_number = min(len(levels) - 1, max(0, int(np.log2(max(1.0, side / CELL)))))
    factor = 2**level_number
    across = max(2, round(side / factor))
    level = levels[level_number]
    top = _inside(round(((y_min + y_max) / 2 - side / 2) / factor), across, level.height)
    left = _inside(round(((x_min + x_max) / 2 - side / 2) / factor), across, level.width)
    window = _read_padded(level, top, left, across)
    window = np.ascontiguousarray(np.rot90(window, k=-(orientation // 90) % 4))
    kind = Image.Resampling.BICUBIC if across < CELL else Image.Resampling.BOX
    cell = Image.fromarray(window).resize((CELL, CELL), kind)
    if um_per_px:
        draw_scale_bar(cell, um_per_px * factor * across / CELL, share=0.4, small=True)
    return cell


def _inside(start: int, across: int, size: int) -> int:
    """At the border of the scan the window moves inwards, where it fits at all."""
    return min(max(start, 0), size - across) if across <= size else start


def _read_padded(level: Pixels, top: int, left: int, across: int) -> np.ndarray:
    """(across, across, 3) uint8; what lies outside the scan is mid-grey."""
    window = np.full((across, across, 3), 128, np.uint8)
    y0, y1 = max(0, top), min(level.height, top + across)
    x0, x1 = max(0, left), min(level.width, left + across)
    if y0 < y1 and x0 < x1:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = level.read(y0, y1, x0, x1)
    return window
