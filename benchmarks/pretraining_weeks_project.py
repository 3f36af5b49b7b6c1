"""A project in a folder to which simulated weeks are added, as their drift has them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml
from pretraining_scenes import DPI, EARLY_TAXA, TAXA, Light, Marked, Window

from soilpipe import layout
from soilpipe.config import Project, RefreshPlan, load_project
from soilpipe.ingest.quality import Quality
from soilpipe.ingest.receipts import Receipt, write_receipt
from soilpipe.ingest.zarr_writer import write_image
from soilpipe.labels.records import (
    Draw,
    LabelFile,
    LabelledBox,
    Stratum,
    Tile,
    TileLabel,
    make_tile_id,
    write_draw,
    write_label_file,
)
from soilpipe.store import Store

FIRST = datetime(2025, 3, 3, tzinfo=UTC)
WEEK, SLOT = timedelta(days=7), timedelta(hours=12)
NEW_FROM, GARBAGE, DARK_FROM, FOG = 4, 5, 6, 7


@dataclass(frozen=True)
class Plan:
    """How large the simulated project is. side: height and width of a scan, px. labelled: scans a week and scanner."""

    scanners: int
    scans: int
    labelled: int
    side: int
    animals: int
    refresh: RefreshPlan

    @classmethod
    def of(cls, arguments: Namespace) -> Plan:
        """By the command line."""
        plan = RefreshPlan(
            minutes=arguments.minutes, steps=arguments.steps, crops=arguments.crops, memory=2_000_000_000
        )
        return cls(arguments.scanners, arguments.scans, arguments.labelled, arguments.side, arguments.animals, plan)


def drift(week: int, scanner: int) -> tuple[tuple[str, ...], Light]:
    """Who is there in a week (from 1), and in what light a scanner sees it."""
    taxa = TAXA if week >= NEW_FROM else EARLY_TAXA
    gain = 0.55 if week >= DARK_FROM else 1.0
    return taxa, Light(gain, 0.6 if week == FOG and scanner == 0 else 0.0, week == GARBAGE)


def spread(scans: int, labelled: int) -> frozenset[int]:
    """Which of a week's scans are labelled: as many as are asked for, or all, at even distances from the first on."""
    count = min(labelled, scans)
    return frozenset(number * scans // count for number in range(count))


class SimulatedProject:
    """A project in a folder, to which weeks are added."""

    def __init__(self, folder: Path, plan: Plan, seed: int) -> None:
        self._plan = plan
        ids = [f"S{number:02d}" for number in range(plan.scanners)]
        file = folder / "soilpipe.yaml"
        folder.mkdir(parents=True)
        document = {
            "project": "weeks",
            "store": "./store",
            "timezone": "UTC",
            "sites": [{"id": "here"}],
            "scanners": [{"id": one, "site": "here", "inbox": f"./in/{one}", "dpi": DPI} for one in ids],
        }
        file.write_text(yaml.safe_dump(document))
        self.project: Project = load_project(file)
        self.store = Store(self.project.store)
        self.windows = [Window(one, 100 * seed + n, plan.side, plan.side) for n, one in enumerate(ids)]

    def add(self, week: int) -> None:
        """The scans of a week (from 1), and what a person marked in some of them."""
        tiles: list[tuple[Tile, tuple[Marked, ...]]] = []
        for place, window in enumerate(self.windows):
            taxa, light = drift(week, place)
            labelled = spread(self._plan.scans, self._plan.labelled)
            for number in range(self._plan.scans):
                at = FIRST + (week - 1) * WEEK + number * SLOT
                image, marked = window.scan(100 * week + number, taxa, self._plan.animals, light)
                scan_id = self._take_in(window.scanner_id, at, image)
                if number in labelled and not light.garbage:
                    tile = _tile(scan_id, image, week)
                    tiles.append((tile, tuple(one for one in marked if (one.box[0] + one.box[2]) / 2 < tile.x1)))
        if tiles:
            self._label(week, tiles)

    def _take_in(self, scanner_id: str, at: datetime, image: np.ndarray) -> str:
        sha256 = f"{int(at.timestamp()):08x}".ljust(64, "0")
        scan_id = layout.make_scan_id(scanner_id, at.replace(tzinfo=None), sha256)
        height, width = image.shape[:2]
        write_image([image], (height, width), self.store, layout.image_zarr(scan_id), "", 25_400 / DPI)
        receipt = Receipt(
            scan_id=scan_id,
            scanner_id=scanner_id,
            site_id="here",
            sha256=sha256,
            source_name=f"{scan_id}.png",
            source_size=1,
            source_modified=0.0,
            captured_at=at,
            device_time=at.replace(tzinfo=None),
            time_from="name",
            timezone="UTC",
            dpi=DPI,
            dpi_from="file",
            width_px=width,
            height_px=height,
            format="png",
            orientation=0,
            quality=Quality(sharpness=1.0, usable_fraction=1.0, flat_bands=()),
            code_version="0",
            files=(),
        )
        write_receipt(self.store, receipt)
        return scan_id

    def _label(self, week: int, tiles: list[tuple[Tile, tuple[Marked, ...]]]) -> None:
        draw = Draw(
            draw_id=_draw_id(week),
            seed=0,
            asked=len(tiles),
            tile_px=self._plan.side,
            strata=(Stratum(scans=len(tiles), draws=len(tiles)),),
            analyses={},
            design="every so many scans",
            estimator="the mean",
            tiles=tuple(tile for tile, _ in tiles),
        )
        write_draw(self.store, draw)
        at = FIRST + week * WEEK
        labels = tuple(
            TileLabel(
                tile_id=tile.tile_id,
                by="simulation",
                at=at,
                boxes=tuple(
                    LabelledBox(
                        x_min=m.box[0], y_min=m.box[1], x_max=min(m.box[2], tile.x1), y_max=m.box[3], taxon=m.taxon
                    )
                    for m in marked
                ),
            )
            for tile, marked in tiles
        )
        file = LabelFile(imported_at=at, source_name=f"{week}", source_sha256="0", format="coco", labels=labels)
        write_label_file(self.store, file)


def _draw_id(week: int) -> str:
    return f"{week:08x}".ljust(16, "0")


def _tile(scan_id: str, image: np.ndarray, week: int) -> Tile:
    """The left half: what is held out is learned from by nobody, at its place, and something must be left to learn."""
    height, width = image.shape[0], image.shape[1] // 2
    tile_id = make_tile_id(scan_id, 0, 0, _draw_id(week))
    return Tile(
        tile_id=tile_id, scan_id=scan_id, x0=0, y0=0, x1=width, y1=height, how="random", inclusion_probability=1.0
    )
