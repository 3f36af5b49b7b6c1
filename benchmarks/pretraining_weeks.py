"""Eight simulated weeks with drift, once with the gate and once without it.

Week 4 brings a new taxon, from week 6 on the soil is darker, in week 7 one scanner fogs, and week 5 is garbage on all
scanners: stripes and noise, which nobody labels. Each week a few scans are labelled and `soilpipe.refresh` runs as it
does in a project. Without the gate, whatever a refresh makes is put to use, and remembered. The gate is that of the
figures: no detector runs here, so what a change does to the counts of the last seven days is left out.

What is in use is judged every week on the same scans of scanners that no project has: macro-F1 over the taxa and the
background, in plain light.
"""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from pretraining_scenes import DPI, EARLY_TAXA, TAXA, Light, Marked, Shown, Window, write_labels
from pretraining_weeks_report import report

from soilpipe import layout
from soilpipe.bundles.promotion import bundle_in_use
from soilpipe.classify.evaluation import f1_by_class
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.weights import load_classifier
from soilpipe.config import Project, RefreshPlan, load_project
from soilpipe.detect.coco import read_labels
from soilpipe.encoders import encoder_at
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
from soilpipe.models import model_path
from soilpipe.refresh.begin import begin
from soilpipe.refresh.bundle import decide_on_bundle, fit_classifier
from soilpipe.refresh.refresh import refresh
from soilpipe.refresh.state import JUDGE, forget
from soilpipe.refresh.steps import choose_corpus, done_with, pretrain_encoder, state_of
from soilpipe.store import Store

__all__ = ["report", "weeks"]

FIRST = datetime(2025, 3, 3, tzinfo=UTC)
WEEK, SLOT = timedelta(days=7), timedelta(hours=12)
NEW_FROM, GARBAGE, DARK_FROM, FOG = 4, 5, 6, 7
WEEKS = 8


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


def weeks(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """One row a seed, week and arm; with a --folder each is written there as soon as it is there, a file a run."""
    if arguments.folder is None:
        yield from _weeks(arguments)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with (arguments.folder / f"weeks-{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl").open("x") as file:
        for row in _weeks(arguments):
            file.write(json.dumps(row) + "\n")
            file.flush()
            yield row


def _weeks(arguments: Namespace) -> Iterator[dict[str, Any]]:
    plan = Plan.of(arguments)
    for seed in arguments.only_seeds or range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            test = write_test(folder / "test", plan, seed)
            for gated in (True, False):
                arm = SimulatedProject(folder / ("gated" if gated else "open"), plan, seed)
                for week in range(1, arguments.weeks + 1):
                    arm.add(week)
                    outcome, words = one_refresh(arm, plan, week, gated, folder / f"work-{gated}", arguments.device)
                    yield {
                        "seed": seed,
                        "gated": gated,
                        "week": week,
                        "outcome": outcome,
                        "words": words,
                        "macro_f1": champions_worth(arm, test, arguments.device),
                    }


def one_refresh(
    arm: SimulatedProject, plan: Plan, week: int, gated: bool, work: Path, device: str | None
) -> tuple[str, str]:
    """Refresh as a project does; without the gate the verdict is always yes."""
    from soilpipe.pretrain.corpus import NoNewScansError

    now = FIRST + week * WEEK
    if gated:
        with patch("soilpipe.refresh.verdict.with_week", lambda project, store, verdict, *_, **__: verdict):
            result = refresh(arm.project, arm.store, plan=plan.refresh, now=now, device=device, work=work)
        return result.outcome, result.words

    def silent(step: str, note: str, done: int, of: int) -> None:
        pass

    work.mkdir(exist_ok=True)
    begin(arm.project, arm.store, work, plan=plan.refresh, now=now)
    try:
        choose_corpus(arm.project, arm.store, work, device=device, tell=silent)
    except NoNewScansError as error:
        forget(work)
        return "nothing new", str(error)
    pretrain_encoder(arm.project, arm.store, work, device=device, tell=silent)
    state = fit_classifier(arm.project, arm.store, work, device=device, tell=silent)
    passed = state.done["classifier"]["classifier"] is not None
    verdict = {"passed": passed, "undecided": not passed, "words": "there is no gate", "figures": {}}
    done_with(work, state_of(work), JUDGE, verdict)
    record = decide_on_bundle(arm.project, arm.store, work, device=device, now=now, tell=silent)
    forget(work)
    return record.outcome, record.words


def write_test(folder: Path, plan: Plan, seed: int) -> Path:
    """Scans of two scanners that no project has, with all taxa, in plain light; the first ones serve as references."""
    shown = []
    for number in range(2):
        window = Window(f"T{number:02d}", 900_000 + 100 * seed + number, plan.side, plan.side)
        for scan in range(10):
            image, marked = window.scan(scan, TAXA, plan.animals, Light())
            shown.append(Shown(window.scanner_id, FIRST + scan * SLOT, image, marked, labelled=scan >= 4))
    return write_labels(folder, shown)


def champions_worth(arm: SimulatedProject, test: Path, device: str | None) -> float | None:
    """Macro-F1 of what is in use on the test scans; None while nothing is."""
    bundle = bundle_in_use(arm.store)
    if bundle is None:
        return None
    encoder = encoder_at(arm.store, bundle.encoder, device)
    classifier = load_classifier(model_path(arm.store, "classifier", bundle.classifier))
    examples = labelled_crops(read_labels(test, test.parent), encoder, taxonomy=arm.project.taxonomy)
    answers = classifier.classify(examples.embeddings, examples.sizes_mm)
    names = sorted({*examples.taxa, *answers.classes})
    true, found = (np.array([names.index(one) for one in told]) for told in (examples.taxa, answers.best_taxon))
    there = np.isin(np.arange(len(names)), true)
    return float(f1_by_class(true, found, len(names))[there].mean())
