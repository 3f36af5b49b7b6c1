"""`status`, `counts`, `verify` and `rebuild`: what there is, and whether it is right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.commands.counts_table import behind, print_counts
from deployments.commands.options import (
    DEFAULT_PROJECT,
    AsJson,
    OptionError,
    ProjectFile,
    Scanners,
    Since,
    Until,
    moment,
    opened,
)
from deployments.commands.shown import local_time, print_json, print_table
from deployments.commands.written import write_whole

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.store import Store

Taxa = Annotated[list[str] | None, typer.Option("--taxon", "-t", metavar="NAME", help="Only this one; repeatable.")]
ListTaxa = Annotated[bool, typer.Option("--list-taxa", help="Print the names that --taxon takes, and no counts.")]
By = Annotated[Literal["slot", "day", "week"], typer.Option(help="One row per slot, day or week, and taxon.")]
Format = Annotated[Literal["table", "csv", "parquet"], typer.Option("--format", "-f", help="How to write them.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")]
Sample = Annotated[int | None, typer.Option(min=1, metavar="N", help="Re-read only N scans, drawn anew each time.")]


def status(project: ProjectFile = DEFAULT_PROJECT, as_json: AsJson = False) -> None:
    """How each scanner is doing: slots by state, last scan. Exit code 1 when something needs a person."""
    loaded, store = opened(project)
    from soilpipe.counts.status import project_status
    from soilpipe.counts.strangers import stranger_in_words
    from soilpipe.counts.undeclared import undeclared_scanners

    found, undeclared = project_status(loaded, store, datetime.now(UTC)), undeclared_scanners(loaded, store)
    if as_json:
        print_json([*found, *undeclared])
    else:
        states = ("observed", "late", "missing", "quarantined", "pending")
        rows = []
        for one in found:
            counts = [one.slots.get(state, 0) for state in states]
            last = local_time(one.last_scan, loaded.scanner(one.scanner_id).zone)
            rows.append((one.scanner_id, one.site_id, *counts, one.waiting, one.not_analysed, last))
        columns = ("scanner", "site", *states, "in the inbox", "to detect", "last scan (local)")
        print_table(f"Project {loaded.project}", columns, rows)
        for one in found:
            for name in one.strangers:
                typer.echo(f"{one.scanner_id}: {name} in its inbox {stranger_in_words(loaded, name)}")
            if one.growing:
                files = "1 file" if len(one.growing) == 1 else f"{len(one.growing)} files"
                typer.echo(f"{one.scanner_id}: {files} in its inbox came only just now, or may still be growing")
        for gone in undeclared:
            typer.echo(gone.sentence)
        needs = [sentence for one in found for sentence in one.needs_person]
        if needs:
            typer.echo("What needs a person:")
            for sentence in needs:
                typer.echo(f"- {sentence}")
    if any(one.needs_person for one in found):
        raise typer.Exit(1)


def counts(
    project: ProjectFile = DEFAULT_PROJECT,
    scanner: Scanners = None,
    taxon: Taxa = None,
    since: Since = None,
    until: Until = None,
    by: By = "slot",
    format_: Format = "table",
    output: Output = None,
    list_taxa: ListTaxa = False,
    as_json: AsJson = False,
) -> None:
    """The counts, for people and scripts. A slot without a count is a gap, not a zero."""
    if format_ == "parquet" and output is None:
        raise OptionError("Parquet is not for the terminal: say where to write it with --output FILE.")
    if as_json and (output is not None or format_ != "table"):
        raise OptionError("--json goes to the terminal alone: leave out --output and --format, or leave out --json.")
    if format_ == "table" and output is not None:
        raise OptionError("A table is for the terminal: choose --format csv or --format parquet for a file.")
    loaded, store = opened(project)
    if list_taxa:
        _print_taxa(loaded, as_json)
        return
    from soilpipe.counts.query import query_counts
    from soilpipe.counts.uncompared import uncompared_scans

    asked = moment(since, "--since"), moment(until, "--until")
    frame = query_counts(loaded, store, scanner, taxon, *asked, by=by)
    if as_json:
        print_json(frame)
    elif format_ == "parquet" and output is not None:
        write_whole(output, frame.to_parquet(index=False))
        typer.echo(f"{len(frame)} rows in {output}. {behind(frame)}")
    elif format_ == "csv":
        text = frame.to_csv(index=False, lineterminator="\n")
        if output is None:
            typer.echo(text, nl=False)
        else:
            write_whole(output, text.encode())
        typer.echo(behind(frame), err=True)
    else:
        print_counts(frame, by, bool(taxon), uncompared_scans(loaded, store, scanner, *asked))


def _print_taxa(project: Project, as_json: bool) -> None:
    """The names that `--taxon` takes, below the names above them."""
    rows = [
        {"taxon": taxon.name, "rank": taxon.rank, "parent": taxon.parent, "synonyms": taxon.synonyms}
        for taxon in project.taxonomy
        if not taxon.background
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        depth = len(project.taxonomy.ancestors(str(row["taxon"])))
        also = f", also {', '.join(row['synonyms'])}" if row["synonyms"] else ""
        typer.echo(f"{'  ' * depth}{row['taxon']} ({row['rank']}{also})")


def verify(
    project: ProjectFile = DEFAULT_PROJECT, since: Since = None, sample: Sample = None, as_json: AsJson = False
) -> None:
    """Re-read the store: every receipt's files, every series. Exit code 1 and a list when something is wrong."""
    loaded, store = opened(project)
    from rich.console import Console

    from deployments.commands.options import begin_utc
    from soilpipe.counts.verify import verify as verify_store

    first = begin_utc(moment(since, "--since"), loaded.scanners[0].zone) if since else None
    with Console(stderr=True).status("Reading the store") as spinner:
        problems = verify_store(
            loaded, store, first, sample, lambda what, done, of: spinner.update(f"{what}: {done} of {of}")
        )
    if as_json:
        print_json(problems)
    elif problems:
        print_table("What is wrong", ("kind", "object", "what"), [(p.kind, p.key, p.message) for p in problems])
    else:
        typer.echo("Everything is as it should be.")
    if not as_json:
        _note_leftovers(store)
    if problems:
        raise typer.Exit(1)


def _note_leftovers(store: Store) -> None:
    """They are nothing wrong, and a store that does not tell them is none either."""
    from soilpipe.leftovers import find_leftovers
    from soilpipe.store import StoreError

    try:
        left = find_leftovers(store, datetime.now(UTC)).found
    except StoreError as error:
        typer.echo(f"Note: leftovers of killed runs are not known: {error}")
        return
    if left:
        size = sum(one.size for one in left)
        typer.echo(
            f"Note: {len(left)} leftover{'s' if len(left) > 1 else ''} of killed runs and refused files, "
            f"{size / 1e6:.1f} MB: `soilpipe upkeep` frees that."
        )


def rebuild(project: ProjectFile = DEFAULT_PROJECT, as_json: AsJson = False) -> None:
    """Make the series again from receipts, detections and records: to the same bytes when nothing changed."""
    loaded, store = opened(project)
    from soilpipe.counts.verify import rebuild as rebuild_series

    summaries = rebuild_series(loaded, store)
    if as_json:
        print_json(summaries)
        return
    rows = [(s.scanner_id, sum(s.slots.values()), len(s.changed), len(s.problems)) for s in summaries]
    print_table("Series", ("scanner", "slots", "files changed", "problems"), rows)
    for problem in (problem for summary in summaries for problem in summary.problems):
        typer.echo(f"- {problem}", err=True)
