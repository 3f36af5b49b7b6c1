"""The flow of scanners, run in this process: for `soilpipe run` and for the demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from deployments.prefect_home import use_project_home
from deployments.prefect_server import start_passing_server
from soilpipe.errors import SoilpipeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from flows.progress import Step
    from soilpipe.config import Project, Scanner

STAGE_WORDS = {
    "ingest": "taking in",
    "detect": "detecting",
    "series": "series",
    "corpus": "choosing crops",
    "pretrain": "training the encoder",
    "classifier": "fitting the classifier",
    "judge": "judging both",
    "decide": "deciding",
}


class PrefectError(SoilpipeError):
    """Prefect's server cannot be reached or started."""


@dataclass(frozen=True)
class ScannerRun:
    """What a run of one scanner did; `arriving` files were too young to be taken, `problems` are sentences about what
    needs a person."""

    scanner_id: str
    taken_in: int
    detected: int
    problems: tuple[str, ...]
    arriving: int = 0


@contextmanager
def uses_prefect(project: Project, *, verbose: bool = False) -> Iterator[None]:
    """Flows in this block use the running server, if there is one, else one of their own that ends with the process."""
    import httpx

    loaded = "prefect" in sys.modules
    home = use_project_home(project.path, verbose=verbose)
    if not loaded and not os.environ.get("PREFECT_API_URL"):  # once prefect is imported it knows its server
        start_passing_server(home)
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        where = os.environ.get("PREFECT_API_URL", "of this project")
        raise PrefectError(
            f"The Prefect server {where} does not answer ({error}). Start it, or unset PREFECT_API_URL."
        ) from error
    except RuntimeError as error:
        if "ephemeral" not in str(error).lower():
            raise
        raise PrefectError(
            f"Prefect's own server did not start: {error} Is there space and leave at {home}?"
        ) from error


def run_scanner(
    project: Project,
    scanner: Scanner,
    since: datetime | None = None,
    until: datetime | None = None,
    only: Literal["ingest", "detect", "series"] | None = None,
) -> ScannerRun:
    """Run one scanner's flow to its end; what went wrong is told, and not raised."""
    from flows.monitor import monitor_scanner
    from flows.problems import RunProblemsError
    from flows.progress import listening
    from flows.stages import ARRIVING

    steps: list[Step] = []
    with listening(steps.append):
        state = monitor_scanner(str(project.path), scanner.id, since, until, only, return_state=True)
    problems: tuple[str, ...] = ()
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        told = error.problems if isinstance(error, RunProblemsError) else (error,)
        problems = tuple(f"{scanner.id}: {problem}" for problem in told)
    done = [step for step in steps if step.total and step.level != "error"]
    return ScannerRun(
        scanner_id=scanner.id,
        taken_in=sum(step.stage == "ingest" for step in done),
        detected=sum(step.stage == "detect" for step in done),
        problems=problems,
        arriving=sum(step.note.endswith(ARRIVING) for step in steps),
    )


def run_refresh(project: Project, steps: int | None, minutes: float | None) -> str:
    """Run the project's refresh to its end; what came of it, in words. What went wrong is raised."""
    from flows.pretrain import refresh_pretraining

    state = refresh_pretraining(str(project.path), steps, minutes, return_state=True)
    return str(state.result())


@contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[None]:
    """Bars on standard error while flows run here; warnings and errors as lines above them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from flows.progress import listening

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as progress, listening(_Bars(progress)):
        yield


class _Bars:
    """One bar per scanner and stage, made when its first scan is done with; that of a training shows its loss and the
    rank of its vectors."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[tuple[str, str], TaskID] = {}

    def __call__(self, step: Step) -> None:
        if step.level != "info":
            self._progress.console.print(f"{step.scanner_id}: {step.note}")
        if step.total:
            key = (step.scanner_id, step.stage)
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(f"{step.scanner_id} {STAGE_WORDS[step.stage]}", total=None)
            self._progress.update(
                self._bars[key],
                completed=step.done,
                total=step.total,
                description=f"{step.scanner_id} {STAGE_WORDS[step.stage]}{_figures(step)}",
            )


def _figures(step: Step) -> str:
    """Of a training's note the loss and the effective rank, for its bar."""
    shown = [part for part in step.note.partition(": ")[2].split(", ") if part.startswith(("loss ", "effective rank "))]
    return f" ({', '.join(shown)})" if step.stage == "pretrain" and shown else ""
