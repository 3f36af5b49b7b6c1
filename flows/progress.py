"""What a run tells while it works: to its log in Prefect, and to whoever listens in the same process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["ingest", "detect", "series"]
RefreshStage = Literal["corpus", "pretrain", "classifier", "judge", "decide"]
Level = Literal["info", "warning", "error"]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class Step:
    """Something that a person wants to know; with `total`, this stage is done with `done` of so many scans.

    Of a refresh `scanner_id` is the project's, and what is counted is told in `note`.
    """

    scanner_id: str
    stage: Stage | RefreshStage
    note: str
    level: Level = "info"
    done: int = 0
    total: int = 0


Listener = Callable[[Step], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear every step of the runs in this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(logger: logging.Logger | logging.LoggerAdapter[Any], step: Step) -> None:
    count = f" {step.done} of {step.total}" if step.total else ""
    logger.log(LEVELS[step.level], "%s%s: %s", step.stage, count, step.note)
    for listener in tuple(_listeners):
        listener(step)
