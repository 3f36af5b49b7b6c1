"""The picture of one scan with a thin box around every animal that was found.

The scan is read from the pyramid level that fits the picture, in bands, so a picture of a 2400 dpi scan costs a few
tens of MB whatever the scan's size. Animals are often smaller than a pixel there: a strip below shows the most certain
ones of each taxon magnified, each read from the finest level that its cell can show.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from soilpipe.report.brightness import brightened
from soilpipe.report.crops import draw_crops, most_certain
from soilpipe.report.drawing import INK, MUTED, PAPER, draw_scale_bar, font, text_width
from soilpipe.report.marks import Marks, marks_of, turn_box
from soilpipe.report.palette import taxon_codes, taxon_colour
from soilpipe.taxonomy import SOIL, Taxonomy
from soilpipe.tiles import ArrayPixels, Pixels, ScanImage

BAND_BYTES = 48 * 2**20
MARGIN = 16
SMALLEST_BOX = 11  # px of the picture: the least side of a box, so that a mite's box does not cover the mite
SMALLEST_SIDE = 900  # px: smaller images are enlarged to this, at most threefold


def overlay_picture(
    image: ScanImage | Pixels | np.ndarray,
    detections: Any,
    *,
    um_per_px: float | None = None,
    max_side: int = 1600,
    orientation: int = 0,
    title: str = "",
    note: str = "",
    crops: int = 14,
    taxonomy: Taxonomy = SOIL,
) -> bytes:
    """Draw what was found in a scan; returns a PNG.

    image: a ScanImage, anything with the Pixels protocol, or (H, W, 3) uint8. detections: a table with the columns
    `x_min, y_min, x_max, y_max` (and `taxon`, `score` where it has them), or `Detections`, or an (n, 4) array; px at
    full resolution in the file's own frame, half-open. um_per_px: of full resolution; taken from a ScanImage, and
    without it there is no scale bar. orientation: degrees clockwise (0, 90, 180, 270) that turn the scan upright.
    A dark scan is brightened, which the note tells.
    note: one line below the title. crops: how many magnified detections, at most; 0 for none.
    """
    levels, um_per_px = _levels(image, um_per_px)
    levels, brighter = brightened(levels)
    if brighter > 1:
        note = " · ".join(part for part in (note, f"brightened {brighter:.1f} times") if part)
    marks = marks_of(detections)
    full = levels[0]
    picture = _turned(_shrunk(levels, max_side), orientation)
    scale = max(picture.shape[:2]) / max(full.height, full.width)  # picture px per full-resolution px
    canvas = Image.fromarray(picture)
    codes = taxon_codes(marks.taxa, taxonomy)
    _draw_boxes(canvas, marks, (full.height, full.width), orientation, scale, codes, taxonomy)
    if um_per_px:
        draw_scale_bar(canvas, um_per_px / scale)
    strip = None
    if crops and len(marks):
        chosen = most_certain(marks, crops)
        strip = draw_crops(levels, marks, chosen, um_per_px, orientation, canvas.width, codes, taxonomy)
    return _png(_page(canvas, strip, marks, title, note, codes, taxonomy))


def _levels(image: ScanImage | Pixels | np.ndarray, um_per_px: float | None) -> tuple[Sequence[Pixels], float | None]:
    if isinstance(image, np.ndarray):
        return (ArrayPixels(image),), um_per_px
    if isinstance(image, ScanImage):
        return image.levels, um_per_px or image.um_per_px or None
    return (image,), um_per_px


def _shrunk(levels: Sequence[Pixels], max_side: int) -> np.ndarray:
    """The whole scan as (h, w, 3) uint8 with a longer side of at most max_side px, read in bands."""
    height, width = levels[0].height, levels[0].width
    wanted = min(max_side, max(max(height, width), min(SMALLEST_SIDE, 3 * max(height, width))))
    fitting = [level for level in levels if max(level.height, level.width) >= wanted]
    level = fitting[-1] if fitting else levels[0]
    factor = max(1, max(level.height, level.width) // wanted)
    rows = max(factor, BAND_BYTES // (3 * level.width) // factor * factor)
    bands = [
        _box_mean(level.read(top, min(top + rows, level.height), 0, level.width), factor)
        for top in range(0, level.height, rows)
    ]
    small = Image.fromarray(np.concatenate(bands))
    longest = max(height, width)
    size = (max(1, round(width * wanted / longest)), max(1, round(height * wanted / longest)))
    if size == small.size:
        return np.asarray(small)
    enlarging = size[0] > small.size[0]
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC if enlarging else Image.Resampling.BOX))


def _box_mean(band: np.ndarray, factor: int) -> np.ndarray:
    """(h, w, 3) uint8 -> (ceil(h/factor), ceil(w/factor), 3) uint8, the mean of each block, the odd edge replicated."""
    if factor == 1:
        return band
    height, width = -(-band.shape[0] // factor), -(-band.shape[1] // factor)
    padding = ((0, height * factor - band.shape[0]), (0, width * factor - band.shape[1]), (0, 0))
    padded = np.pad(band, padding, mode="edge") if any(map(any, padding)) else band
    return np.asarray(cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA))


def _turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(picture, k=-(orientation // 90) % 4))


def _draw_boxes(
    canvas: Image.Image,
    marks: Marks,
    size: tuple[int, int],
    orientation: int,
    scale: float,
    codes: dict[str, str],
    taxonomy: Taxonomy,
) -> None:
    """Thin boxes, a little outside the animal, on a faint dark edge that shows them on pale soil too."""
    line = 2 if max(canvas.size) >= 1000 else 1  # pages show large pictures at half their size
    shade = Image.new("L", canvas.size, 0)
    under, over = ImageDraw.Draw(shade), ImageDraw.Draw(canvas)
    frames = [_frame(turn_box(box, size, orientation), scale) for box in marks.boxes]
    for frame in frames:
        x_min, y_min, x_max, y_max = frame
        under.rectangle((x_min - 1, y_min - 1, x_max + 1, y_max + 1), outline=150, width=line + 2)
    canvas.paste(Image.new("RGB", canvas.size), mask=shade)
    # More codes than that hide more than they tell, and one taxon alone needs none: the legend has the colours.
    tagged = len(marks) <= 150 and len(set(marks.taxa)) > 1
    small = font(11 if line == 1 else 13)
    # The least certain are drawn first: where boxes cross, the surer one lies on top.
    for index in np.argsort(marks.scores, kind="stable"):
        taxon, frame = marks.taxa[index], frames[index]
        colour = taxon_colour(taxon, taxonomy)
        over.rectangle(frame, outline=colour, width=line)
        if tagged:
            above = frame[1] - 6 - small.size
            place = (frame[0], above if above >= 0 else frame[3] + 3)
            over.text(place, codes[taxon], font=small, fill=PAPER, stroke_width=1, stroke_fill=(0, 0, 0))


def _frame(box: tuple[float, float, float, float], scale: float) -> tuple[int, int, int, int]:
    """The rectangle drawn around a box: 3 px outside it, and never smaller than SMALLEST_BOX."""
    x_min, y_min, x_max, y_max = (value * scale for value in box)
    grow_x = max(3.0, (SMALLEST_BOX - (x_max - x_min)) / 2)
    grow_y = max(3.0, (SMALLEST_BOX - (y_max - y_min)) / 2)
    return round(x_min - grow_x), round(y_min - grow_y), round(x_max + grow_x), round(y_max + grow_y)


def _page(
    canvas: Image.Image,
    strip: Image.Image | None,
    marks: Marks,
    title: str,
    note: str,
    codes: dict[str, str],
    taxonomy: Taxonomy,
) -> Image.Image:
    """Title, picture, legend and strip on one sheet."""
    width = canvas.width + 2 * MARGIN
    lines = [line for line in (title, note) if line]
    head = MARGIN + 26 * bool(title) + 20 * bool(note)
    legend = _legend(canvas.width, marks, codes, taxonomy)
    parts = [canvas, legend] + ([strip] if strip else [])
    sheet = Image.new("RGB", (width, head + sum(part.height + MARGIN for part in parts)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN - 6
    for line, (size, colour) in zip(lines, [(19, INK), (14, MUTED)] if title else [(14, MUTED)], strict=False):
        draw.text((MARGIN, top), line, font=font(size), fill=colour)
        top += 26
    top = head
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return sheet


def _legend(width: int, marks: Marks, codes: dict[str, str], taxonomy: Taxonomy) -> Image.Image:
    """Each taxon's colour, code, name and number of boxes, in as many lines as they need."""
    letters = font(14)
    if not len(marks):
        sheet = Image.new("RGB", (width, 24), PAPER)
        ImageDraw.Draw(sheet).text((0, 3), "Looked, and found nothing.", font=letters, fill=MUTED)
        return sheet
    counts = {taxon: marks.taxa.count(taxon) for taxon in marks.taxa}
    entries = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    places, x, y = [], 0, 0
    for taxon, n in entries:
        label = f"{codes[taxon]}  {taxon} ({n})"
        wide = 22 + text_width(label, letters) + 22
        if x and x + wide > width:
            x, y = 0, y + 24
        places.append((x, y, label, taxon))
        x += wide
    sheet = Image.new("RGB", (width, y + 24), PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, y, label, taxon in places:
        colour = taxon_colour(taxon, taxonomy)
        draw.rectangle((x, y + 5, x + 14, y + 19), fill=(70, 62, 54), outline=colour, width=3)
        draw.text((x + 22, y + 3), label, font=letters, fill=INK)
    return sheet


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=False, compress_level=6)
    return buffer.getvalue()
