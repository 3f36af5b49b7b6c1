"""The project and its store, opened once per process and per state of the project file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from soilpipe.config import Project
    from soilpipe.store import Store


class Opened(NamedTuple):
    project: Project
    store: Store


def opened(project_file: str) -> Opened:
    """Load the project file, again only if it was changed since."""
    try:
        changed = Path(project_file).stat().st_mtime_ns
    except OSError:
        changed = 0  # load_project says what is wrong
    return _opened(project_file, changed)


@lru_cache(maxsize=4)
def _opened(project_file: str, changed: int) -> Opened:
    from soilpipe.config import load_project
    from soilpipe.store import Store

    project = load_project(project_file)
    return Opened(project, Store(project.store, project.storage_options))
