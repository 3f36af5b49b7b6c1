"""`soilpipe quarantine`: what was refused and why, and a person's decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.options import (
    DEFAULT_PROJECT,
    AsJson,
    OptionError,
    ProjectFile,
    Scanners,
    chosen,
    moment,
    opened,
)
from deployments.commands.shown import local_time, print_json, print_table

if TYPE_CHECKING:
    from soilpipe.config import Scanner
    from soilpipe.ingest.quarantine import Decision
    from soilpipe.ingest.scan import Outcome
    from soilpipe.store import Store

quarantine = typer.Typer(no_args_is_help=True, help="What was refused and why, and a person's decision.")

OneScanner = Annotated[str, typer.Argument(metavar="SCANNER", help="The scanner's id.")]
Content = Annotated[str, typer.Argument(metavar="ID", help="First digits of the file's sha256, or a scan id.")]
AnyContent = Annotated[str | None, typer.Option("--id", metavar="ID", help="One file: first digits of its sha256.")]
Everything = Annotated[bool, typer.Option("--all", help="Also what is decided or superseded.")]
Time = Annotated[str | None, typer.Option(metavar="TIME", help="The device's time, where the name is wrong.")]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the decision.")]


@quarantine.command("list")
def list_(
    project: ProjectFile = DEFAULT_PROJECT,
    scanner: Scanners = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """The refused files, why each was refused, and what to do."""
    loaded, store = opened(project)
    from soilpipe.ingest.clock import at_present
    from soilpipe.ingest.quarantine import list_quarantine, open_quarantine

    scanners = chosen(loaded, scanner)
    found = [
        (one, at_present(item, one))
        for one in scanners
        for item in (list_quarantine(store, one.id) if everything else open_quarantine(store, one))
    ]
    if as_json:
        print_json([item for _, item in found])
        return
    if not found:
        typer.echo("Nothing is waiting in quarantine.")
        return
    for one, item in found:
        typer.echo(f"{one.id}  {local_time(item.captured_at, one.zone)}  {item.source_name}  id {item.sha256[:12]}")
        typer.echo(f"    {item.reason} {item.remedy}")
    typer.echo("`soilpipe quarantine accept SCANNER ID` takes one as it is, `retry` looks again at all.")


@quarantine.command()
def retry(
    project: ProjectFile = DEFAULT_PROJECT,
    scanner: Scanners = None,
    content: AnyContent = None,
    as_json: AsJson = False,
) -> None:
    """Look again at what was refused, after a new version, pattern or limit. Exit code 1 when some is still refused."""
    loaded, store = opened(project)
    scanners = chosen(loaded, scanner)
    if content is not None and len(scanners) > 1:
        raise OptionError("--id is about one scanner's file: name the scanner too, with --scanner.")
    outcomes = [
        (one.id, outcome)
        for one in scanners
        for outcome in _look_again(str(project.resolve()), one, store, content, loaded.max_pixels)
    ]
    if as_json:
        print_json([outcome for _, outcome in outcomes])
    elif not outcomes:
        typer.echo("Nothing is waiting in quarantine.")
    else:
        rows = [(scanner_id, o.name, o.kind, o.reason) for scanner_id, o in outcomes]
        print_table("Looked at again", ("scanner", "file", "now", "reason"), rows)
        typer.echo("`soilpipe run` detects what was taken, and brings the series up to date.")
    if any(outcome.kind in ("refused", "conflict") for _, outcome in outcomes):
        raise typer.Exit(1)


@quarantine.command()
def accept(
    scanner: OneScanner,
    content: Content,
    project: ProjectFile = DEFAULT_PROJECT,
    time: Time = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Take a refused file as it is, or keep the scan it contradicts; a file that cannot be read is dismissed."""
    loaded, store = opened(project)
    device_time = moment(time, "--time")
    if device_time is not None and (not isinstance(device_time, datetime) or device_time.tzinfo is not None):
        raise OptionError("--time is the device's own clock: date and time without a zone, like 2024-03-06T06:00.")
    one = loaded.scanner(scanner)
    decision = _decide(str(project.resolve()), one, store, content, device_time, note)
    if as_json:
        print_json(decision)
        return
    words = {"taken": "is a scan now", "dismissed": "stays in quarantine and is not asked about again", "kept": "stays"}
    typer.echo(f"{decision.scan_id or decision.sha256[:12]} {words[decision.outcome]}.")
    if decision.sets_aside:
        typer.echo(f"Put aside: {', '.join(decision.sets_aside)}.")
    typer.echo("`soilpipe run` brings the series up to date.")


def _look_again(
    project_file: str, scanner: Scanner, store: Store, content: str | None, max_pixels: float
) -> Iterator[Outcome]:
    """File by file in a worker process: one that crashes or hangs its reader stays refused, and ends only that."""
    from soilpipe.ingest.quarantine import open_quarantine
    from soilpipe.ingest.scan import Outcome
    from tasks.ingest import SCAN_TIMEOUT_S, retry_here, scan_timeout_s
    from tasks.isolated import Isolated, WorkerCrashedError, WorkerTimeoutError

    refused = open_quarantine(store, scanner)
    waiting = {item.sha256: item.source_name for item in refused}
    limits = {item.sha256: scan_timeout_s(item.source_size, max_pixels) for item in refused}
    if content is not None:
        waiting = {sha: name for sha, name in waiting.items() if sha.startswith(content)} or {content: content}
    with closing(Isolated(SCAN_TIMEOUT_S)) as worker:
        for sha256, name in waiting.items():
            worker.within(limits.get(sha256, SCAN_TIMEOUT_S))
            try:
                yield from worker.call(retry_here, project_file, scanner.id, sha256, datetime.now(UTC))
            except (WorkerCrashedError, WorkerTimeoutError) as error:
                yield Outcome("refused", name, reason=f"{name}: Reading it {error}.", sha256=sha256)


def _decide(
    project_file: str, scanner: Scanner, store: Store, content: str, device_time: datetime | None, note: str
) -> Decision:
    """In a worker process; a file that crashes or hangs it cannot be taken, and is dismissed."""
    from soilpipe.ingest.crashed import dismiss_crashed
    from tasks.ingest import SCAN_TIMEOUT_S, accept_here
    from tasks.isolated import Isolated, WorkerCrashedError, WorkerTimeoutError

    now = datetime.now(UTC)
    with closing(Isolated(SCAN_TIMEOUT_S)) as worker:
        try:
            decision: Decision = worker.call(accept_here, project_file, scanner.id, content, now, device_time, note)
        except (WorkerCrashedError, WorkerTimeoutError) as error:
            dismissed = dismiss_crashed(scanner, store, content, now, note)
            if dismissed is None:
                words = f"{content} of {scanner.id} stays in quarantine: reading it {error}"
                raise OptionError(f"{words}. `soilpipe quarantine list` says what to do.") from error
            return dismissed
    return decision
