"""`soilpipe refresh`: learn from the scans that nobody labelled, now."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, ProjectFile, Verbose, opened
from deployments.commands.shown import print_json

Steps = Annotated[int | None, typer.Option(min=1, help="Training steps at most; by the project file if left out.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.1, help="Minutes of training at most; by the project file if left out.")
]


def refresh(
    project: ProjectFile = DEFAULT_PROJECT,
    steps: Steps = None,
    minutes: Minutes = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train the encoder on new scans, fit the classifier on it, and use both if they are no worse.

    The same that `soilpipe serve` does every week. One that was interrupted goes on where it was; with other steps or
    minutes its training begins anew, and it says so. Without enough labelled tiles that judge and serve nothing else,
    the new models stay candidates, and it says what is missing.
    """
    loaded, store = opened(project)
    from deployments.running import run_refresh, shown_progress, uses_prefect

    with uses_prefect(loaded, verbose=verbose), shown_progress(quiet=as_json):
        told = run_refresh(loaded, steps, minutes)
    if as_json:
        from soilpipe.refresh.records import refreshes

        records = refreshes(store)
        print_json({"told": told, "last": records[-1] if records else None})
    else:
        typer.echo(told)
