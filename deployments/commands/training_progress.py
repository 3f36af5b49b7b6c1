"""How far a training is: a line that moves on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rich.progress import TaskID

    from soilpipe.detect.training import Progress as Told

EVERY_S = 30.0


@contextmanager
def shown(quiet: bool) -> Iterator[Told]:
    """A progress for `train_detector`, on standard error; `quiet`: nothing is shown."""
    console = Console(stderr=True)
    if quiet:
        yield lambda stage, done, of, figures: None
    elif not console.is_terminal:
        yield _Lines(console)
    else:
        # A step on a slow processor takes seconds: the time left is judged by the last ten minutes.
        columns = (TextColumn("{task.description}"), BarColumn(20), TaskProgressColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[figures]}"))  # fmt: skip
        with Progress(*columns, console=console, speed_estimate_period=600) as progress:
            yield _Bars(progress)


class _Bars:
    """One bar a stage, with the last figures beside it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._figures: dict[str, float] = {}

    def __call__(self, stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        self._figures |= figures
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=of, figures="")
        self._progress.update(self._bars[stage], completed=done, total=of, figures=in_words(self._figures))


class _Lines:
    """For logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, tuple[float, int]] = {}
        self._last = float("-inf")
        self._figures: dict[str, float] = {}

    def __call__(self, stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        began, first = self._began.setdefault(stage, (now, done))
        self._figures |= figures
        if now - self._last < EVERY_S and done != of:
            return
        self._last = now
        left = f", {time_left((now - began) * (of - done) / (done - first))} left" if first < done < of else ""
        words = in_words(self._figures)
        told = f"{stage} {done} of {of}{left}{', ' if words else ''}{words}"
        self._console.print(told, highlight=False, soft_wrap=True)


def in_words(figures: Mapping[str, float]) -> str:
    """`heat 0.412  box 0.300`"""
    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items())


def time_left(seconds: float) -> str:
    """Minutes from two on, else seconds."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
