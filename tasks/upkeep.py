"""The task of upkeep: what nothing needs goes."""

from __future__ import annotations

from datetime import datetime

from prefect import task

from tasks.opened import opened
from tasks.retries import IO_TASK


@task(name="remove-leftovers", task_run_name="remove leftovers", tags=["upkeep"], **IO_TASK)
def remove_leftovers(project_file: str, now: datetime) -> str:
    """Remove unfinished writes and scans without a receipt that are old; in words what was freed."""
    from soilpipe.leftovers import find_leftovers, remove_leftover

    store = opened(project_file).store
    left = find_leftovers(store, now)
    freed = sum(remove_leftover(store, one, now) for one in left.found)
    lost = f"; {len(left.lost)} scans have lost their receipt, see `soilpipe verify`" if left.lost else ""
    return f"{len(left.found)} leftovers removed, {freed / 1e6:.1f} MB freed{lost}"
