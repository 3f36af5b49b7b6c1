"""`soilpipe quarantine`: what was refused and why, and a person's decision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

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
    from soilpipe.ingest.quarantine import list_quarantine, open_quarantine

    scanners = chosen(loaded, scanner)
    ask = list_quarantine if everything else open_quarantine
    found = [(one, item) for one in scanners for item in ask(store, one.id)]
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
    from soilpipe.ingest.decisions import retry as look_again

    scanners = chosen(loaded, scanner)
    if content is not None and len(scanners) > 1:
        raise OptionError("--id is about one scanner's file: name the scanner too, with --scanner.")
    outcomes = [
        (one.id, outcome)
        for one in scanners
        for outcome in look_again(loaded, one, store, datetime.now(UTC), sha256=content)
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
    from soilpipe.ingest.decisions import accept as decide

    device_time = moment(time, "--time")
    if device_time is not None and (not isinstance(device_time, datetime) or device_time.tzinfo is not None):
        raise OptionError("--time is the device's own clock: date and time without a zone, like 2024-03-06T06:00.")
    one = loaded.scanner(scanner)
    decision = decide(loaded, one, store, content, datetime.now(UTC), device_time=device_time, note=note)
    if as_json:
        print_json(decision)
        return
    words = {"taken": "is a scan now", "dismissed": "stays in quarantine and is not asked about again", "kept": "stays"}
    typer.echo(f"{decision.scan_id or decision.sha256[:12]} {words[decision.outcome]}.")
    if decision.sets_aside:
        typer.echo(f"Put aside: {', '.join(decision.sets_aside)}.")
    typer.echo("`soilpipe run` brings the series up to date.")
