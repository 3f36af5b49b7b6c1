"""The command line. Console script `soilpipe`."""

from __future__ import annotations

import sys

import typer

from deployments.commands import (
    detector,
    evaluate,
    explain,
    label,
    models,
    quarantine,
    redetect,
    refresh,
    run,
    series,
    simulation,
    train,
    train_classifier,
    upkeep,
)
from soilpipe.errors import SoilpipeError

TOLD = 2
"""Exit code of an error that is told; 1 means that something needs a person."""
INTERRUPTED = 130

app = typer.Typer(
    name="soilpipe",
    help="From scans of buried flat-bed scanners to time series of soil invertebrates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    simulation.init,
    run.run,
    run.serve,
    series.status,
    series.counts,
    series.verify,
    series.rebuild,
    upkeep.upkeep,
    redetect.redetect,
    detector.detect,
    explain.explain,
    refresh.refresh,
    simulation.simulate,
    simulation.demo,
):
    app.command()(command)
train.train.command("classifier")(train_classifier.train_classifier)
app.add_typer(quarantine.quarantine, name="quarantine")
app.add_typer(models.models, name="models")
app.add_typer(label.label, name="label")
app.add_typer(train.train, name="train")
app.add_typer(evaluate.evaluate, name="evaluate")


def main() -> None:
    """Run a command. What a person can mend is one message on standard error, without a traceback."""
    try:
        app()
    except SoilpipeError as error:
        sys.stderr.write(f"soilpipe: {error}\n")
        sys.exit(TOLD)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of Ctrl-C, without a word
            sys.stderr.write("Stopped. What was begun, the next run finishes.\n")
        raise


if __name__ == "__main__":
    main()
