"""Tables and JSON on the terminal."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

GAP = "–"
PIPE_WIDTH = 200


def print_json(value: Any) -> None:
    """One JSON document on standard output: the whole answer, and nothing else."""
    json.dump(plain(value), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """Dataclasses, models, times and tables as what JSON has; NaN and NA as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict("records"))
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        return plain(value.item())
    return None if str(value) in ("<NA>", "NaT") else str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> None:
    """A table for people; numbers stand right, gaps are dashes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = [tuple(row) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        numbers = any(isinstance(row[place], int | float) for row in made)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in made:
        table.add_row(*(cell(value) for value in row))
    # A pipe has no width: a table that is folded at 80 columns is of no use there.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(highlight=False, markup=False, width=width)
    console.print(table)
    if caption:
        console.print(caption, soft_wrap=True)


def cell(value: Any) -> str:
    if value is None or str(value) in ("<NA>", "NaT", "nan", ""):
        return GAP
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def local_time(value: datetime | None, zone: ZoneInfo) -> str:
    return GAP if value is None else f"{value.astimezone(zone):%Y-%m-%d %H:%M}"
