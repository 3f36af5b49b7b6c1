"""`soilpipe run` and `soilpipe serve`: work now, and work by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.commands.options import (
    DEFAULT_PROJECT,
    AsJson,
    ProjectFile,
    Scanners,
    Since,
    Until,
    Verbose,
    begin_utc,
    chosen,
    end_utc,
    moment,
    opened,
)
from deployments.commands.shown import print_json, print_table

if TYPE_CHECKING:
    from soilpipe.config import Project, Scanner
    from soilpipe.store import Store

Only = Annotated[Literal["ingest", "detect", "series"] | None, typer.Option(help="One stage alone.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Port = Annotated[int | None, typer.Option(help="Port of the Prefect server and its UI; the first free one from 4200.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Scanners worked on at the same time.")]


def run(
    project: ProjectFile = DEFAULT_PROJECT,
    scanner: Scanners = None,
    since: Since = None,
    until: Until = None,
    only: Only = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the flow of each scanner, now. Exit code 1 when something needs a person, after the rest is done."""
    loaded, store = opened(project)
    scanners = chosen(loaded, scanner)
    first, last = moment(since, "--since"), moment(until, "--until")
    if dry_run:
        _print_plan(loaded, store, scanners, as_json)
        return
    from deployments.running import run_scanner, shown_progress, uses_prefect

    results = []
    with uses_prefect(loaded, verbose=verbose), shown_progress(quiet=as_json):
        for one in scanners:
            results.append(run_scanner(loaded, one, begin_utc(first, one.zone), end_utc(last, one.zone), only))
    if as_json:
        print_json(results)
    else:
        columns = ("scanner", "taken in", "scans detected", "needs a person")
        print_table("Done", columns, [(r.scanner_id, r.taken_in, r.detected, len(r.problems)) for r in results])
        for problem in (problem for result in results for problem in result.problems):
            typer.echo(f"- {problem}", err=True)
    if any(result.problems for result in results):
        raise typer.Exit(1)


def serve(
    project: ProjectFile = DEFAULT_PROJECT, port: Port = None, at_once: AtOnce = 1, verbose: Verbose = False
) -> None:
    """Run every scanner's flow by its schedule, on this machine, with Prefect's UI; until Ctrl-C or SIGTERM."""
    loaded, _ = opened(project)
    from deployments.serve import serve_project

    serve_project(loaded, port=port, at_once=at_once, verbose=verbose, tell=typer.echo)


def _print_plan(project: Project, store: Store, scanners: list[Scanner], as_json: bool) -> None:
    """What a run would find to do. Only looks."""
    from datetime import UTC, datetime

    from soilpipe.counts.truth import read_truth
    from soilpipe.counts.undetected import list_undetected
    from soilpipe.errors import SoilpipeError
    from soilpipe.ingest.arrivals import find_arrivals

    rows = []
    for scanner in scanners:
        undetected = [scan.scan_id for scan in list_undetected(read_truth(store, scanner))]
        row = {"scanner_id": scanner.id, "take_in": [], "growing": [], "detect": undetected, "problem": None}
        try:
            arrivals = find_arrivals(project, scanner, store, datetime.now(UTC))
            row["take_in"] = [file.name for file in arrivals.ready]
            row["growing"] = [file.name for file in arrivals.growing]
        except SoilpipeError as error:
            row["problem"] = str(error)
        rows.append(row)
    if as_json:
        print_json(rows)
        return
    columns = ("scanner", "files to take in", "still growing", "accepted, to detect", "problem")
    table = [
        (row["scanner_id"], *(len(row[key] or ()) for key in ("take_in", "growing", "detect")), row["problem"])
        for row in rows
    ]
    print_table("What a run would do", columns, table, "Nothing was done. Files that are taken in are then detected.")
