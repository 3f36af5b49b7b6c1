"""`soilpipe demo`: three simulated scanners, with the troubles of real ones, through the real flow.

The scans are of the generator `peat`, which no shipped detector was trained on. What is counted is shown beside the
truth, whatever it is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from soilpipe.errors import SoilpipeError

if TYPE_CHECKING:
    from deployments.running import ScannerRun
    from soilpipe.config import Project
    from soilpipe.simulate.faults import Delivery, FaultKind
    from soilpipe.store import Store

MARKER = ".soilpipe-demo"
FIRST = datetime(2024, 3, 6, tzinfo=UTC)
SCANS = 8
SIDE_PX = 1400
DPI = 1200.0
ANIMALS_PER_100CM2 = 150.0
"""Many more than in real soil, where a window this small would show one animal in five scans."""
FAULTS: dict[str, dict[int, FaultKind]] = {
    "meadow_1": {3: "missing"},
    "meadow_2": {2: "truncated", 5: "twice"},
    "orchard_1": {4: "late"},
}
SITES = {"meadow_1": "meadow", "meadow_2": "meadow", "orchard_1": "orchard"}


class DemoError(SoilpipeError):
    """The demo cannot be made there, or did not end as it should."""


def run_demo(folder: Path) -> None:
    """Make the demo in `folder` and show what came of it. Raises DemoError when it did not end as it should."""
    began = time.monotonic()
    prepare(folder)
    deliveries = _make_seasons(folder)
    project_file = _write_project(folder)
    from deployments.demo_result import show_result
    from deployments.running import run_scanner, shown_progress, uses_prefect
    from soilpipe.config import load_project
    from soilpipe.store import Store

    project = load_project(project_file)
    store = Store(project.store)
    typer.echo("Running the flow of each scanner through Prefect's own server (its first start takes a moment) ...")
    with uses_prefect(project), shown_progress():
        runs = [run_scanner(project, scanner) for scanner in project.scanners]
    show_result(project, store, deliveries)
    _tell_problems(runs, deliveries)
    _tell_where(project, store, time.monotonic() - began)
    _check(runs, deliveries)


def prepare(folder: Path) -> None:
    """An empty folder with the demo's mark; one that is there is emptied only if an earlier demo made it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARKER).is_file():
            raise DemoError(f"{folder} is there and was not made by a demo. Name another folder with --folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `soilpipe demo`, which empties this folder when it runs again.\n")


def make_season(scanner_id: str, folder: Path) -> tuple[Delivery, ...]:
    """Simulate one scanner's season and deliver its files to its inbox, faults and all."""
    import cv2

    from soilpipe.simulate import SeasonSpec, write_season
    from soilpipe.simulate.faults import deliver

    cv2.setNumThreads(1)  # one season per processor
    spec = SeasonSpec(
        scanner_id=scanner_id,
        generator="peat",
        seed=list(FAULTS).index(scanner_id),
        times=tuple(FIRST + number * timedelta(hours=6) for number in range(SCANS)),
        height_px=SIDE_PX,
        width_px=SIDE_PX,
        dpi=DPI,
        animals_per_100cm2=ANIMALS_PER_100CM2,
    )
    season = folder / "seasons" / scanner_id
    inbox = folder / "inbox" / scanner_id
    write_season(spec, season)
    deliveries = deliver(season, inbox, FAULTS[scanner_id])
    for delivery in deliveries:
        # As if the upload had come five minutes after its scan.
        came = ((delivery.captured_at or delivery.slot) + timedelta(minutes=5)).timestamp()
        for name in delivery.names:
            os.utime(inbox / name, (came, came))
    return deliveries


def _make_seasons(folder: Path) -> dict[str, tuple[Delivery, ...]]:
    from rich.console import Console
    from rich.progress import Progress

    made: dict[str, tuple[Delivery, ...]] = {}
    workers = min(len(FAULTS), os.cpu_count() or 1)
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        Progress(console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task(f"simulating {len(FAULTS)} seasons", total=len(FAULTS) * SCANS)
        pending = {pool.submit(make_season, scanner_id, folder): scanner_id for scanner_id in FAULTS}
        while len(made) < len(FAULTS):
            for future in [future for future in pending if future.done()]:
                made[pending.pop(future)] = future.result()
            done = sum(1 for _ in (folder / "seasons").glob("*/*.jpg"))
            progress.update(bar, completed=done)
            time.sleep(0.2)
    return {scanner_id: made[scanner_id] for scanner_id in FAULTS}


def _write_project(folder: Path) -> Path:
    """The project file that a person would write for these scanners."""
    window = round((SIDE_PX / DPI * 2.54) ** 2, 2)
    blocks = "".join(
        f"  - {{id: {scanner_id}, site: {SITES[scanner_id]}, inbox: ./inbox/{scanner_id}}}\n" for scanner_id in FAULTS
    )
    path = folder / "soilpipe.yaml"
    path.write_text(
        "# A demo: simulated scans, for which the truth is known.\n"
        "project: demo\n"
        "store: ./store\n"
        "timezone: UTC\n"
        'slots: ["00:00", "06:00", "12:00", "18:00"]\n'
        "settle: 0s\n"
        f"dpi: {DPI:g}\n"
        f"window_cm2: {window}\n"
        f"from: {FIRST:%Y-%m-%d}\n"
        f"until: {FIRST + timedelta(hours=6 * (SCANS - 1)):%Y-%m-%d}\n"
        "sites:\n" + "".join(f"  - {{id: {site}}}\n" for site in dict.fromkeys(SITES.values())) + "scanners:\n" + blocks
    )
    return path


def _refused_names(deliveries: dict[str, tuple[Delivery, ...]]) -> list[str]:
    return [d.names[0] for of_scanner in deliveries.values() for d in of_scanner if d.fault == "truncated"]


def _tell_problems(runs: Sequence[ScannerRun], deliveries: dict[str, tuple[Delivery, ...]]) -> None:
    typer.echo("\nWhat the runs said needs a person (the truncated file is part of the demo):")
    for problem in (problem for run in runs for problem in run.problems):
        typer.echo(f"- {problem}")


def _tell_where(project: Project, store: Store, seconds: float) -> None:
    from soilpipe import layout

    file = os.path.relpath(project.path)
    typer.echo(f"\nPage with pictures and plots: {store.root}/{layout.report('index.html')}")
    typer.echo(f"Prefect's UI with these runs:  soilpipe serve --project {file}")
    typer.echo(f"And then: soilpipe status, counts, quarantine list, verify, each with --project {file}")
    typer.echo(f"Done in {seconds:.0f} s.")


def _check(runs: Sequence[ScannerRun], deliveries: dict[str, tuple[Delivery, ...]]) -> None:
    """The demo is also a test: exactly what was made to fail may have failed."""
    meant = _refused_names(deliveries)
    problems = [problem for run in runs for problem in run.problems]
    unmeant = [problem for problem in problems if not any(name in problem for name in meant)]
    missed = [name for name in meant if not any(name in problem for problem in problems)]
    if unmeant or missed:
        told = [*unmeant, *(f"{name} is truncated, and was not refused" for name in missed)]
        raise DemoError("The demo did not end as it should:\n" + "\n".join(f"- {line}" for line in told))
