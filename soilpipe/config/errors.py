"""What is wrong with a project file, told to the person who wrote it: all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from soilpipe.errors import SoilpipeError

Where = tuple[str | int, ...]
"""A key path inside the file: ("scanners", 1, "dpi") is `scanners[1].dpi`, the dpi of the second scanner."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend: the key path, what is wrong and what would be right, the line (from 1) where known."""

    where: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        place = ", ".join(part for part in (f"line {self.line}" if self.line else "", self.where) if part)
        return f"{place}: {self.what}" if place else self.what


class ConfigError(SoilpipeError):
    """Every problem of one project file. `file` is the file, `problems` the list."""

    def __init__(self, file: str | Path, problems: Iterable[Problem]) -> None:
        self.file = Path(file)
        self.problems = tuple(problems)
        super().__init__(self.file, self.problems)  # the arguments, so that the error survives pickling

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.file}: {self.problems[0]}"
        return "\n".join((f"{self.file}: {len(self.problems)} problems", *(f"  - {p}" for p in self.problems)))


def key_path(where: Where) -> str:
    """("scanners", 1, "dpi") -> "scanners[1].dpi"."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object, limit: int = 60) -> str:
    """A value as an error shows it: quoted where it is text, cut where it is long."""
    # A regular expression keeps its single backslashes.
    text = f"'{value}'" if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, whatever the case; None where none is like it."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """A sentence for an error about an unknown name: the nearest known one, or else all of them."""
    known = tuple(known)
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near}?"
    return f"known are {', '.join(known)}." if known else "none is declared."
