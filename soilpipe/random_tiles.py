"""How many of a project's random tiles could judge a version: told from the label records, without cutting a pixel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from soilpipe.config import ConfigError, Project
from soilpipe.detect.ancestry import familiar, last_seen
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.held_out import held_out
from soilpipe.ingest.clock import scan_times
from soilpipe.labels.taken import image_name, newest_by_place
from soilpipe.layout import parse_scan_id
from soilpipe.store import Store


@dataclass(frozen=True)
class RandomTiles:
    """Random tiles that somebody has looked at, of the scanners in the project file.

    looked_at: all of them; hold_out: those of the hold-out. fit, hold_out_fit: of these, those that the version is not
    familiar with (`detect.ancestry`). unfamiliar_from: of the scanners that it was trained on, later scans (UTC) are no
    neighbours of what it saw; None where it saw none of them.
    """

    looked_at: int
    hold_out: int
    fit: int
    hold_out_fit: int
    unfamiliar_from: datetime | None


@dataclass(frozen=True)
class _Looked:
    scanner_id: str
    captured_at: datetime


def random_tiles(project: Project, store: Store, card: Mapping[str, Any]) -> RandomTiles:
    """By the labels that the store has now; `card`: of the version, empty for one that learned nothing."""
    tiles: dict[str, list[str]] = defaultdict(list)  # by scan
    for tile, _ in newest_by_place(store):
        if tile.how == "random":
            tiles[tile.scan_id].append(image_name(tile.place))
    names: list[str] = []
    images: list[_Looked] = []
    held: set[str] = set()
    hold_out = held_out(project, store)
    for scanner_id in sorted({parse_scan_id(scan_id).scanner_id for scan_id in tiles}):
        try:
            scanner = project.scanner(scanner_id)
        except ConfigError:
            continue  # no longer in the project file: judging does not read its scans
        scans = sorted(scan_id for scan_id in tiles if parse_scan_id(scan_id).scanner_id == scanner_id)
        for scan_id, at in scan_times(store, scanner, scans).items():
            names += tiles[scan_id]
            images += [_Looked(scanner_id, at)] * len(tiles[scan_id])
            held.update(tiles[scan_id] if hold_out.holds_scan(scanner_id, scan_id) else ())
    known = familiar(card, names, images, held=held)
    last = last_seen(card, {image.scanner_id for image in images})
    return RandomTiles(
        looked_at=len(names),
        hold_out=len(held),
        fit=len(names) - len(known),
        hold_out_fit=len(held - known),
        unfamiliar_from=None if last is None else last + NEIGHBOURING,
    )
