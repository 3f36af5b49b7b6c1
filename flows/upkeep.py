"""The weekly flow that tidies a project's store."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from tasks.upkeep import remove_leftovers


def run_name() -> str:
    """`upkeep 2024-03-11 04:00`: when the run was due, UTC."""
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"upkeep {due:%Y-%m-%d %H:%M}"


@flow(name="upkeep", flow_run_name=run_name, persist_result=False)
def tidy_store(project_file: str) -> str:
    """Remove what killed runs and refused files left in the store. It may run beside all others: what they write is
    new, and only what is old goes. Returns in words what was freed."""
    return remove_leftovers(project_file, datetime.now(UTC))
