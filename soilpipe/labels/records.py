"""What the store keeps of labelling: draws of tiles, and what people marked in them.

Both are append-only files, written whole. A tile has labels only once somebody has looked at it: a `TileLabel` without
boxes says "looked at, nothing there", and a tile without one has not been looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel
from soilpipe.config.frozen import UtcTime
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store, canonical_json

SCHEMA_VERSION: Literal[1] = 1
How = Literal["random", "suggested"]
Format = Literal["coco", "cvat", "label-studio"]
Place = tuple[str, int, int, int, int]
"""Scan id, x0, y0, x1, y1: what a tile shows, whichever draw it came from."""

_TILE_ID = re.compile(r"(?P<scan>.+)-x(?P<x>[0-9]+)-y(?P<y>[0-9]+)-(?P<draw>[0-9a-f]{8})")


class LabellingError(SoilpipeError):
    """Labels, or a draw of tiles, that cannot be used; the message names the file and the entry."""


class Tile(FrozenModel):
    """A window of a scan that somebody is to look at.

    x0, y0, x1, y1: px of the scan at full resolution, half-open. `how` it was chosen; `inclusion_probability` and
    `stratum` where that was at random, `reason` (in words) where it was suggested. `references`: the earlier scans
    that it is compared with, newest first.
    """

    tile_id: str
    scan_id: str
    x0: int = Field(ge=0)
    y0: int = Field(ge=0)
    x1: int
    y1: int
    how: How
    inclusion_probability: float | None = None
    stratum: int | None = None
    reason: str | None = None
    references: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def place(self) -> Place:
        return self.scan_id, self.x0, self.y0, self.x1, self.y1


class Stratum(FrozenModel):
    """A run of consecutive scans of the list (ordered by scanner, then time): how many, and how many draws it got."""

    scans: int
    draws: int


class Draw(FrozenModel):
    """One draw of tiles. `design` and `estimator` say in words how it was made and what may be computed from it.

    `analyses`: scanner -> analysis whose detections the suggestions come from. `asked`: tiles that were wanted;
    `tile_px`: their greatest side.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    draw_id: str
    seed: int
    asked: int
    tile_px: int
    strata: tuple[Stratum, ...]
    analyses: Mapping[str, str]
    design: str
    estimator: str
    notes: tuple[str, ...] = ()
    tiles: tuple[Tile, ...]


class LabelledBox(FrozenModel):
    """One animal (or one thing that looks like one): px of the scan at full resolution, half-open.

    `crowd`: a region of animals not told apart, which counts neither way; its `taxon` is None.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    taxon: str | None
    stage: str | None = None
    crowd: bool = False

    @property
    def name(self) -> str:
        """Taxon and stage as people write them: "Diptera (larva)"."""
        return f"{self.taxon} ({self.stage})" if self.stage else str(self.taxon)


class TileLabel(FrozenModel):
    """What one person marked in one tile, having looked at all of it; `at` is when, UTC."""

    tile_id: str
    by: str
    at: UtcTime
    boxes: tuple[LabelledBox, ...]


class LabelFile(FrozenModel):
    """What one import brought."""

    schema_version: Literal[1] = SCHEMA_VERSION
    imported_at: UtcTime
    source_name: str
    source_sha256: str
    format: Format
    labels: tuple[TileLabel, ...]


Record = TypeVar("Record", Draw, LabelFile)


def make_tile_id(scan_id: str, x0: int, y0: int, draw_id: str) -> str:
    """``<scan_id>-x<x0>-y<y0>-<first 8 of the draw's id>``"""
    return f"{scan_id}-x{x0}-y{y0}-{draw_id[:8]}"


def is_tile_id(text: str) -> bool:
    """Whether a text has the form of a tile id, of this store or another."""
    return _TILE_ID.fullmatch(text) is not None


def write_draw(store: Store, draw: Draw) -> bool:
    """Keep a draw; False when the store has it already."""
    return store.write_if_changed(layout.label_draw(draw.draw_id), canonical_json(draw.model_dump(mode="json")))


def read_draws(store: Store) -> dict[str, Draw]:
    """Every draw of the store by its id, in the order of the ids."""
    found = (_read(store, key, Draw) for key in store.keys(layout.label_draws_prefix(), ".json"))
    return {draw.draw_id: draw for draw in found}


def all_tiles(draws: Iterable[Draw]) -> dict[str, Tile]:
    """The tiles of some draws by their id."""
    return {tile.tile_id: tile for draw in draws for tile in draw.tiles}


def write_label_file(store: Store, file: LabelFile) -> str:
    """Add what an import brought; its key. Named by time and content: the same import twice at once is one file."""
    data = canonical_json(file.model_dump(mode="json"))
    key = layout.label_file(f"{file.imported_at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(data).hexdigest()[:16]}")
    store.write_if_changed(key, data)
    return key


def read_label_files(store: Store) -> Iterator[LabelFile]:
    """What every import brought, in the order of the keys."""
    return (_read(store, key, LabelFile) for key in store.keys(layout.label_files_prefix(), ".json"))


def newest_labels(store: Store) -> dict[tuple[str, str], TileLabel]:
    """What each person last said about each tile, by (tile id, who); persons are kept apart.

    Newest by the time of the annotation, then by the time of the import.
    """
    newest: dict[tuple[str, str], tuple[datetime, datetime, TileLabel]] = {}
    for file in read_label_files(store):
        for label in file.labels:
            entry = (label.at, file.imported_at, label)
            before = newest.get((label.tile_id, label.by))
            if before is None or before[:2] <= entry[:2]:
                newest[label.tile_id, label.by] = entry
    return {key: newest[key][2] for key in sorted(newest)}


def _read(store: Store, key: str, model: type[Record]) -> Record:
    try:
        return model.model_validate(store.read_json(key))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LabellingError(
            f"{key} is no record of labels that this version reads ({where}: {first['msg']}). Records must not be "
            "edited: restore it from a backup"
        ) from error
