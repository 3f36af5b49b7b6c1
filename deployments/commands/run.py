"""`soilpipe run` and `soilpipe serve`: work now, and work by the clock."""

from __future__ import annotations

from datetime import UTC, datetime
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
    from soilpipe.config import Project
    from soilpipe.counts.plan import Plan

Only = Annotated[Literal["ingest", "detect", "series"] | None, typer.Option(help="One stage alone.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what refused, and do nothing.")]
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
        from soilpipe.counts.plan import plan_of

        now = datetime.now(UTC)
        spans = [(one, begin_utc(first, one.zone), end_utc(last, one.zone)) for one in scanners]
        plans = [plan_of(loaded, one, store, now, begin, end, only) for one, begin, end in spans]
        _print_plans(loaded, plans, as_json)
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
        for one, result in zip(scanners, results, strict=True):
            if result.arriving:
                files = "1 file" if result.arriving == 1 else f"{result.arriving} files"
                wait = f"{one.settle.total_seconds():g} s after the last of them came"
                typer.echo(
                    f"{one.id}: {files} in the inbox came only just now, or may still be "
                    f"growing. Run again {wait} (`settle` in the project file)"
                )
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


def _print_plans(project: Project, plans: list[Plan], as_json: bool) -> None:
    """What runs would find to do, and what is not known before."""
    from soilpipe.counts.plan import NOT_LOOKED_AT
    from soilpipe.counts.strangers import stranger_in_words

    if as_json:
        print_json(plans)
        return
    columns = ("scanner", "files to take in", "of them in doubt", "still growing", "accepted, to detect", "problem")
    rows = [(p.scanner_id, *map(len, (p.take_in, p.doubts, p.growing, p.detect)), p.problem) for p in plans]
    print_table("What a run would do", columns, rows)
    for plan in plans:
        for doubt in plan.doubts:
            typer.echo(f"{plan.scanner_id}: {doubt.name} {doubt.why}")
        for name in plan.try_again:
            typer.echo(
                f"{plan.scanner_id}: {name} in quarantine contradicts nothing any more, and would be tried again"
            )
        for sentence in plan.overdue:
            typer.echo(f"{plan.scanner_id}: {sentence}")
        for name in plan.strangers:
            typer.echo(
                f"{plan.scanner_id}: {name} in its inbox {stranger_in_words(project, name)}, and would be left there"
            )
    typer.echo(f"Nothing was done. Files that are taken in are then detected. {NOT_LOOKED_AT}")
