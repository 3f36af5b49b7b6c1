"""`soilpipe upkeep`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.commands.options import DEFAULT_PROJECT, AsJson, ProjectFile, opened
from deployments.commands.shown import print_json, print_table

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")]


def upkeep(project: ProjectFile = DEFAULT_PROJECT, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Remove what killed runs and refused files left in the store: unfinished writes older than a day, and scans
    without a receipt older than a week. Nothing that a receipt lists is ever touched; runs may be at work meanwhile.
    """
    _, store = opened(project)
    from soilpipe.leftovers import find_leftovers, remove_leftover

    now = datetime.now(UTC)
    left = find_leftovers(store, now)
    freed = [one.size if dry_run else remove_leftover(store, one, now) for one in left.found]
    if as_json:
        print_json({"dry_run": dry_run, "found": left.found, "freed": sum(freed), "lost": left.lost})
        return
    if left.found:
        rows = [
            (one.kind, one.key, f"{one.changed:%Y-%m-%d}", size_in_words(size))
            for one, size in zip(left.found, freed, strict=True)
        ]
        print_table("Would be removed" if dry_run else "Removed", ("what", "object", "last changed", "size"), rows)
    if left.found:
        typer.echo(f"{size_in_words(sum(freed))} {'would be' if dry_run else 'were'} freed.")
    else:
        typer.echo("Nothing was left over.")
    for scan_id in left.lost:
        typer.echo(f"{scan_id} has no receipt any more and stays; `soilpipe verify` says what to do.")


def size_in_words(size: int) -> str:
    """``1.7 GB``"""
    value, unit = float(size), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
