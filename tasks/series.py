"""Tasks of the third stage: the published tables of a scanner, and its pages."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from prefect import task

from tasks.opened import opened
from tasks.retries import IO_TASK

if TYPE_CHECKING:
    from soilpipe.counts.series import SeriesSummary


@task(name="build-series", task_run_name="series of {scanner_id}", tags=["series"], **IO_TASK)
def build_series(project_file: str, scanner_id: str, now: datetime) -> SeriesSummary:
    """Make a scanner's published tables equal to what its receipts and detections give."""
    from soilpipe.counts.series import build_series as build

    project, store = opened(project_file)
    return build(project, store, scanner_id, now)


@task(name="write-report", task_run_name="pages of {scanner_id}", tags=["series"], **IO_TASK)
def write_report(project_file: str, scanner_id: str) -> list[str]:
    """Write the scanner's page and the index; the keys that changed."""
    from soilpipe.report.page import write_report as write

    project, store = opened(project_file)
    return write(project, store, [scanner_id], known=True)
