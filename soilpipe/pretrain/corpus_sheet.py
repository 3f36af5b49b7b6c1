"""Pictures of a corpus for people: what was chosen and why, and what was dropped beside what stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from soilpipe.pretrain.corpus_pixels import CHANNELS
from soilpipe.pretrain.manifest import CropEntry
from soilpipe.pretrain.near_duplicates import NearDuplicates

CHOSEN, DROPPED = "crops.png", "near_duplicates.png"
_ROWS = {
    "detection": "around a detection",
    "change": "around change",
    "anywhere": "anywhere",
    "memory": "replayed from memory",
}
_CELL, _GAP, _LINE = 160, 10, 15  # px
_A_ROW = 8
_PAIRS = 16
_BRIGHT, _MOST_GAIN = 235, 4.0
_INK, _MUTED = (32, 33, 36), (95, 99, 104)

Cell = tuple[np.ndarray, list[str]]
"""A picture, (s, s, 3) uint8, and the lines of text below it."""


def draw_chosen(folder: Path, entries: Sequence[CropEntry], pixels: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write `crops.png`: some crops of each reason, evenly spread over the corpus, each above its difference."""
    by_reason = {reason: [row for row, entry in enumerate(entries) if entry.reason == reason] for reason in _ROWS}
    shown = {reason: _spread(there, _A_ROW) for reason, there in by_reason.items() if there}
    pictures = {row: pixels(np.array([row]))[0] for chosen in shown.values() for row in chosen}
    gain = _gain(pictures.values())
    rows: list[tuple[str, list[Cell]]] = []
    for reason, chosen in shown.items():
        there, words = by_reason[reason], _ROWS[reason]
        above: list[Cell] = []
        below: list[Cell] = []
        for row in chosen:
            picture = pictures[row]
            above.append((_colours(picture, gain), _told(entries[row])))
            below.append((_difference(picture), []))
        rows += [(f"{words}: {len(there):,}", above), ("", below)]
    title = f"Crops to learn from, all {gain:.1f} times as bright; below each, how it differs from the scans before"
    _sheet(f"{title} (white: not known)", rows).save(folder / CHOSEN)


def draw_dropped(
    folder: Path, entries: Sequence[CropEntry], found: NearDuplicates, read: Callable[[int], bytes], side: int
) -> None:
    """Write `near_duplicates.png`: dropped crops, from the most to the least alike, beside what stands for them.

    `read` gives the bytes of a crop by its row. A picture of an earlier corpus is removed where nothing was dropped.
    """
    (folder / DROPPED).unlink(missing_ok=True)
    dropped = np.flatnonzero(~found.keep)
    if not len(dropped):
        return
    shown = _spread(dropped[np.argsort(-found.likeness[dropped], kind="stable")].tolist(), _PAIRS)

    wanted = {*shown, *(int(found.twin[row]) for row in shown)}
    pictures = {row: np.frombuffer(read(row), np.uint8).reshape(CHANNELS, side, side) for row in sorted(wanted)}
    gain = _gain(pictures.values())

    def colours(row: int) -> np.ndarray:
        return _colours(pictures[row], gain)

    rows: list[tuple[str, list[Cell]]] = []
    for start in range(0, len(shown), _A_ROW):
        line = shown[start : start + _A_ROW]
        twins = [int(found.twin[row]) for row in line]
        rows.append(("kept", [(colours(twin), _told(entries[twin])) for twin in twins]))
        below: list[Cell] = []
        for row, twin in zip(line, twins, strict=True):
            where = "the same place" if entries[row].place == entries[twin].place else "another place"
            below.append((colours(row), [*_told(entries[row]), f"{where}, cosine {found.likeness[row]:.4f}"]))
        rows.append(("dropped for the one above", below))
    share = len(dropped) / len(found.keep)
    _sheet(
        f"Near-duplicates: {len(dropped):,} of {len(found.keep):,} candidates ({share:.0%}) were dropped; "
        f"from the most alike to the least, all {gain:.1f} times as bright",
        rows,
    ).save(folder / DROPPED)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, evenly spaced."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    return [rows[place] for place in places.tolist()]


def _told(entry: CropEntry) -> list[str]:
    width = f"{entry.side * entry.um_per_px / 1000:.1f} mm wide"
    return [entry.scanner_id[:24], f"{entry.captured_at:%Y-%m-%d %H:%M}, {width}"]


def _gain(pictures: Iterable[np.ndarray]) -> float:
    """How much brighter they are all shown: soil is dark. One gain, so that what differs in light still does."""
    bright = np.percentile([np.percentile(picture[:3], 99.5) for picture in pictures], 75)
    return float(np.clip(_BRIGHT / max(float(bright), 1.0), 1.0, _MOST_GAIN))


def _colours(picture: np.ndarray, gain: float) -> np.ndarray:
    """(7, s, s) -> (s, s, 3) uint8"""
    brighter = np.minimum(picture[:3].astype(np.float32) * gain, 255).astype(np.uint8)
    return np.moveaxis(brighter, 0, -1)


def _difference(picture: np.ndarray) -> np.ndarray:
    """(7, s, s) -> (s, s, 3) uint8: the difference, four times stronger; white where there is none to tell."""
    difference = (picture[3:6].astype(np.int16) - 128) * 4 + 128
    shown = np.where(picture[6] > 0, difference.clip(0, 255), 255)
    return np.moveaxis(shown.astype(np.uint8), 0, -1)


def _sheet(title: str, rows: Sequence[tuple[str, Sequence[Cell]]]) -> Image.Image:
    """Rows of pictures, each row under its own heading."""
    heights = [
        (_LINE + 6 if heading else 0) + _CELL + _LINE * max(len(text) for _, text in cells) + _GAP
        for heading, cells in rows
    ]
    sheet = Image.new("RGB", (_GAP + _A_ROW * (_CELL + _GAP), 2 * _GAP + 2 * _LINE + sum(heights)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, font=ImageFont.load_default(15), fill=_INK)
    top = _GAP + 2 * _LINE
    for (heading, cells), height in zip(rows, heights, strict=True):
        picture_top = top
        if heading:
            draw.text((_GAP, top), heading, font=ImageFont.load_default(13), fill=_INK)
            picture_top += _LINE + 6
        for column, (picture, text) in enumerate(cells):
            left = _GAP + column * (_CELL + _GAP)
            kind = Image.Resampling.BICUBIC if len(picture) < _CELL else Image.Resampling.BOX
            sheet.paste(
                Image.fromarray(np.ascontiguousarray(picture)).resize((_CELL, _CELL), kind), (left, picture_top)
            )
            for number, line in enumerate(text):
                at = (left, picture_top + _CELL + 1 + number * _LINE)
                draw.text(at, line, font=ImageFont.load_default(10), fill=_MUTED)
        top += height
    return sheet
