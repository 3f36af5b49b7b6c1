"""`soilpipe serve`: the schedules of all scanners, on one machine, with Prefect's UI."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.prefect_home import RunningServer, use_project_home
from deployments.prefect_server import prefect_server
from soilpipe.errors import SoilpipeError
from soilpipe.locks import HeldError, only_one

if TYPE_CHECKING:
    from soilpipe.config import Project


class ServeError(SoilpipeError):
    """Schedules cannot be served."""


def serve_project(
    project: Project,
    *,
    port: int | None = None,
    at_once: int = 1,
    verbose: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve every scanner's schedule until SIGINT or SIGTERM; flow runs and the server that this started then end.

    At most `at_once` flow runs work at the same time: a scan's tiles fill the processor by themselves.
    """
    home = use_project_home(project.path, verbose=verbose)
    with _stopped_by_signals(), _only_one(home), prefect_server(home, port) as server:
        _serve(project, server, at_once, tell)
    tell("Stopped. Schedules go on with the next `soilpipe serve`; what a run had begun, the next one finishes.")


def _serve(project: Project, server: RunningServer, at_once: int, tell: Callable[[str], None]) -> None:
    from deployments.apply import (
        close_abandoned_runs,
        deployment_of,
        ensure_gpu_limit,
        refresh_deployment,
        remove_departed,
        upkeep_deployment,
    )
    from deployments.project_runner import ProjectRunner

    for what in remove_departed(project):
        tell(f"{what} is no longer in {project.path.name}: its schedule is removed.")
    ensure_gpu_limit()
    close_abandoned_runs(project)
    runner = ProjectRunner(limit=at_once, pause_on_shutdown=False)
    for scanner in project.scanners:
        runner.add_deployment(deployment_of(project, scanner))
    runner.add_deployment(upkeep_deployment(project))
    told = f"Serving {len(project.scanners)} scanners of project {project.project}"
    if project.refresh is not None:
        # A runner of its own: two hours of training must not hold up the scans of a whole site.
        refresher = ProjectRunner(limit=1, pause_on_shutdown=False)
        refresher.add_deployment(refresh_deployment(project, project.refresh))
        runner.beside = (refresher,)
        told += f", and its refresh every {project.refresh.day.capitalize()} at {project.refresh.hour:02}:00"
    # Ctrl-C ends as SIGTERM does: asyncio's own way would leave the runs at work marked as running.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.handle_sigterm)
    tell(f"{told}. Prefect UI: {server.ui_url}")
    tell("Stop with Ctrl-C.")
    asyncio.run(runner.start_all())


class _StoppedBySignalError(KeyboardInterrupt):
    """Told to stop. Raised within `exec` of a text, as dataclasses do, KeyboardInterrupt itself makes `python -m` end
    by SIGINT at the very end, also where it was caught; what is derived from it does not."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM, which service managers send, ends as cleanly as Ctrl-C, also while the server is still starting."""

    def stop(*_: Any) -> None:
        raise _StoppedBySignalError

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _StoppedBySignalError:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the project's lock; the system lets go of it however the process ends."""
    with ExitStack() as held:
        try:
            held.enter_context(only_one(home / "serve.lock"))
        except HeldError as error:
            raise ServeError(
                f"This project is served already, by process {error.process}. Stop that one first."
            ) from None
        yield
