"""The picture of an explanation: a detection, and beside it the labelled crops that are nearest to it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from soilpipe.report.brightness import MOST, TARGET, WORTH_IT
from soilpipe.report.drawing import INK, MUTED, PAPER, draw_scale_bar, font, text_width
from soilpipe.report.palette import taxon_colour
from soilpipe.taxonomy import SOIL, Taxonomy

if TYPE_CHECKING:
    from soilpipe.classify.explain import Explanation

CELL = 192  # px: side of a crop, twice that of the crop itself
GAP, APART, MARGIN = 12, 30, 16
HEAD, CAPTION = 52, 112


def nearest_png(explanation: Explanation, taxonomy: Taxonomy = SOIL) -> bytes:
    """PNG: the detection on the left with what is said of it, then the crops, nearest first.

    Below each of those its taxon, its distance (0: the same, 2: the opposite), scanner and day. Dark crops are shown
    brighter.
    """
    near = explanation.neighbours
    width = 2 * MARGIN + CELL + APART + len(near) * (CELL + GAP) - GAP
    sheet = Image.new("RGB", (width, HEAD + CELL + CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 10), "This detection", font=font(15), fill=INK)
    bottom = HEAD + CELL + CAPTION - 18
    draw.text((MARGIN, bottom), explanation.detection.detection_id, font=font(10), fill=MUTED)
    left = MARGIN + CELL + APART
    draw.text((left, 10), "Labelled crops nearest to it", font=font(15), fill=INK)
    draw.text((left, 30), "distance: 0 is the same, 1 has nothing in common", font=font(10), fill=MUTED)
    told = [*_answer(explanation), f"{explanation.size_mm:.2g} mm", *_alternatives(explanation)]
    _cell(sheet, MARGIN, explanation.picture, explanation.um_per_px, told, explanation.taxon, taxonomy)
    for one in near:
        day = (one.source.captured_at or "")[:10]
        words = [one.taxon, f"distance {one.distance:.2f}", one.source.scanner_id or one.source.scan, day]
        _cell(sheet, left, one.thumbnail, one.source.um_per_px, words, one.taxon, taxonomy)
        left += CELL + GAP
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return data.getvalue()


def _cell(
    sheet: Image.Image,
    left: int,
    picture: bytes,
    um_per_px: float,
    words: Sequence[str],
    taxon: str | None,
    taxonomy: Taxonomy,
) -> None:
    draw = ImageDraw.Draw(sheet)
    if picture:
        crop = _bright(Image.open(io.BytesIO(picture)).convert("RGB"))
        across = crop.width
        crop = crop.resize((CELL, CELL), Image.Resampling.BICUBIC)
        draw_scale_bar(crop, um_per_px * across / CELL, small=True)
        sheet.paste(crop, (left, HEAD))
    else:
        draw.rectangle((left, HEAD, left + CELL - 1, HEAD + CELL - 1), outline=MUTED)
        draw.text((left + 10, HEAD + CELL // 2), "no picture kept", font=font(12), fill=MUTED)
    colour = taxon_colour(taxon, taxonomy) if taxon is not None else MUTED
    draw.rectangle((left, HEAD - 4, left + CELL - 1, HEAD - 2), fill=colour)
    top = HEAD + CELL + 4
    for number, line in enumerate(words):
        size = 14 if number == 0 else 11
        draw.text((left, top), _fitted(line, CELL, size), font=font(size), fill=INK if number == 0 else MUTED)
        top += size + 5


def _bright(crop: Image.Image) -> Image.Image:
    """A dark crop brought up as pages do with dark scans, each by itself: crops of two scanners are to be compared."""
    brightest = float(np.percentile(np.asarray(crop).max(axis=2), 98))
    factor = min(MOST, TARGET / max(brightest, 1.0))
    return crop.point(lambda value: min(255, round(value * factor))) if factor >= WORTH_IT else crop


def _answer(explanation: Explanation) -> list[str]:
    if explanation.taxon is None:
        words = ["nothing can be said"]
    else:
        words = [f"{explanation.taxon}?" if explanation.is_unknown else explanation.taxon]
    if explanation.probability is not None:
        words.append(f"probability {explanation.probability:.2f}")
    return [*words, "far from all that is known"] if explanation.is_unknown else words


def _alternatives(explanation: Explanation) -> list[str]:
    if not explanation.alternatives:
        return []
    return ["or " + ", ".join(f"{taxon} {chance:.2f}" for taxon, chance in explanation.alternatives)]


def _fitted(text: str, width: int, size: int) -> str:
    """The text, cut where it is wider than so many px."""
    if text_width(text, font(size)) <= width:
        return text
    while text and text_width(text + "…", font(size)) > width:
        text = text[:-1]
    return text + "…"
