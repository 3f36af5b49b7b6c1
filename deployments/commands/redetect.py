"""`soilpipe redetect`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import (
    DEFAULT_PROJECT,
    AsJson,
    ProjectFile,
    Until,
    Verbose,
    begin_utc,
    end_utc,
    moment,
    opened,
)
from deployments.commands.shown import print_json

OneScanner = Annotated[str, typer.Option("--scanner", "-s", metavar="ID", help="The scanner's id.")]
From = Annotated[str, typer.Option("--since", metavar="DATE", help="From this local date (or ISO time) on.")]


def redetect(
    scanner: OneScanner,
    since: From,
    project: ProjectFile = DEFAULT_PROJECT,
    until: Until = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Detect a scanner's scans of some days again, with the detector of now, and count those days by it.

    A promoted model counts from the next scan on and re-makes nothing older; this is how to have it. Older detections
    are kept. Killed in between, `soilpipe run` finishes it.
    """
    loaded, store = opened(project)
    one = loaded.scanner(scanner)
    first, last = begin_utc(moment(since, "--since"), one.zone), end_utc(moment(until, "--until"), one.zone)
    assert first is not None
    from soilpipe.analyses import analysis_of
    from soilpipe.counts.redetect import publish_again
    from soilpipe.run_detector import load_run_detector

    analysis = analysis_of(load_run_detector(loaded, store).info)
    scans = publish_again(store, one, analysis, first, last)
    from deployments.running import run_scanner, shown_progress, uses_prefect

    with uses_prefect(loaded, verbose=verbose), shown_progress(quiet=as_json):
        result = run_scanner(loaded, one, first, last)
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"{len(scans)} scans of {one.id} are counted by analysis {analysis.id} ({analysis.detector_name}) now; "
            f"{result.detected} of them were detected for it. What was found before is kept."
        )
        for problem in result.problems:
            typer.echo(f"- {problem}", err=True)
    if result.problems:
        raise typer.Exit(1)
