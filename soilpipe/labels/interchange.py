"""What the formats of labelling tools have in common: a tile with boxes in px of its picture.

A format has a writer and a reader. The writer says what a person is to look at, and never that it was looked at; the
reader gives back what stands in a file, checked as far as the format goes. Whether a tile is of this store, a box
lies in it and a name is a taxon, `soilpipe.labels.taking` decides, for all formats alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from soilpipe.labels.records import LabellingError

LOOKED_AT = "looked at"
"""The mark by which a person says that a tile was looked at, where a format has none of its own."""
CROWD = "crowd"
"""A region of animals that nobody can tell apart: it counts neither way."""

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class ToolBox:
    """x0, y0, x1, y1 in px of the tile; `name` as in the list of labels. `where`: its place in the file, for errors."""

    box: XYXY
    name: str
    score: float | None = None
    where: str = ""


@dataclass(frozen=True)
class TileToLabel:
    """A tile on its way to a person. `boxes`: where to begin, from a detector or from earlier labels."""

    tile_id: str
    width: int
    height: int
    how: str
    dpi: float | None
    boxes: tuple[ToolBox, ...]
    boxes_from: str


@dataclass(frozen=True)
class ReadTile:
    """A tile in a file that came back.

    `name`: what the file calls the picture. `width`, `height`: its size, None where the file says none. `looked_at`:
    whether somebody said so. `by`, `at`: who and when, where the file tells.
    """

    name: str
    where: str
    width: int | None
    height: int | None
    looked_at: bool
    boxes: tuple[ToolBox, ...]
    by: str | None = None
    at: datetime | None = None


@dataclass
class Problems:
    """What is wrong with a file, gathered so that a person mends it at once."""

    source: str
    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.found.append(f"{where}: {what}")

    def raise_if_any(self) -> None:
        """LabellingError with the first ten."""
        if self.found:
            more = f"; and {len(self.found) - 10} more" if len(self.found) > 10 else ""
            raise LabellingError(f"{self.source}: {'; '.join(self.found[:10])}{more}. Nothing was imported")


def around(points: Sequence[tuple[float, float]]) -> XYXY:
    """The box around some points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def turned(box: XYXY, degrees: float, pivot: tuple[float, float]) -> XYXY:
    """The upright box around a box that is turned clockwise about a point; itself where nothing is turned."""
    if not degrees or not math.isfinite(degrees):
        return box
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    px, py = pivot
    corners = ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]))
    return around([(px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos) for x, y in corners])


def moment(text: object) -> datetime | None:
    """An ISO time as UTC (UTC where it names no zone), None for anything else."""
    try:
        time = datetime.fromisoformat(str(text).strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def number(value: object) -> float:
    """A number as it stands in a file; NaN for anything else, so that the check of the box names it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def whole(value: object) -> int | None:
    """A whole number as it stands in a file, else None."""
    read = number(value)
    return int(read) if math.isfinite(read) and read == int(read) else None


def decoded(data: bytes, source: str) -> str:
    """A file as text; LabellingError where it is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabellingError(f"{source}: not a text file ({error}). Nothing was imported") from error


def parsed(data: bytes, source: str) -> Any:
    """A file as JSON; LabellingError where it is none, or only the beginning of some."""
    try:
        return json.loads(decoded(data, source))
    except (ValueError, RecursionError) as error:
        raise LabellingError(f"{source}: not whole JSON ({error}); export it again. Nothing was imported") from error


def in_order(tiles: Iterable[TileToLabel]) -> list[TileToLabel]:
    """By name, as tools list pictures: some match the pictures of a file by their number alone."""
    return sorted(tiles, key=lambda tile: f"{tile.tile_id}.png")
