"""Options that several commands share, and what stands behind them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from soilpipe.errors import SoilpipeError

if TYPE_CHECKING:
    from soilpipe.config import Project, Scanner
    from soilpipe.store import Store

ProjectFile = Annotated[Path, typer.Option("--project", "-p", metavar="FILE", help="The project file.")]
DEFAULT_PROJECT = Path("soilpipe.yaml")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Scanners = Annotated[list[str] | None, typer.Option("--scanner", "-s", metavar="ID", help="Only this one; repeatable.")]
Since = Annotated[str | None, typer.Option(metavar="DATE", help="From this local date (or ISO time) on.")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Up to and with this local date (or up to a time).")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log lines too.")]


class OptionError(SoilpipeError):
    """An option's value makes no sense."""


def opened(project_file: Path) -> tuple[Project, Store]:
    """The project and its store."""
    from soilpipe.config import load_project
    from soilpipe.store import Store

    if not project_file.exists():
        raise OptionError(
            f"There is no project file {project_file}. Write one with `soilpipe init`, or name yours with --project."
        )
    project = load_project(project_file)
    return project, Store(project.store, project.storage_options)


def chosen(project: Project, ids: list[str] | None) -> list[Scanner]:
    """The scanners that were named, in the order of the project file; all when none was."""
    wanted = {project.scanner(scanner_id).id for scanner_id in ids or ()}
    return [scanner for scanner in project.scanners if not wanted or scanner.id in wanted]


def moment(text: str | None, option: str) -> date | datetime | None:
    """A date, or a time with or without zone."""
    if text is None:
        return None
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            return parse(text)
        except ValueError:
            continue
    raise OptionError(f"{option} {text!r} is no date. Write it like 2024-03-06, or like 2024-03-06T18:00.")


def begin_utc(value: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """A date's local midnight, or the time itself (local when it has no zone), as UTC."""
    if value is None:
        return None
    local = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (local if local.tzinfo else local.replace(tzinfo=zone)).astimezone(UTC)


def end_utc(value: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """The first instant that is left out: a date's day is still in, a time itself is not."""
    if value is not None and not isinstance(value, datetime):
        value = value + timedelta(days=1)
    return begin_utc(value, zone)
