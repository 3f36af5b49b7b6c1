"""Tasks of the second stage: which scans are to be detected, and detecting one."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from prefect import task

from tasks.opened import opened
from tasks.retries import IO_TASK

if TYPE_CHECKING:
    from soilpipe.counts.undetected import Undetected
    from soilpipe.detect.base import Detector
    from soilpipe.detect.run import DetectedScan


@task(name="find-undetected", task_run_name="which scans of {scanner_id} to detect", tags=["detect"], **IO_TASK)
def find_undetected(
    project_file: str, scanner_id: str, since: datetime | None, until: datetime | None, before: datetime | None
) -> tuple[Undetected, ...]:
    """The scans to detect, oldest first, earlier than `before`: a file of that time still waits in the inbox."""
    from soilpipe.analyses import analysis_of
    from soilpipe.counts.undetected import publish_and_list_undetected

    project, store = opened(project_file)
    analysis = analysis_of(current_detector(project_file).info)
    return publish_and_list_undetected(
        store, project.scanner(scanner_id), analysis, before=before, since=since, until=until
    )


@task(name="detect-scan", task_run_name="detect {scan.scan_id}", tags=["detect"], **IO_TASK)
def detect_scan(project_file: str, scan: Undetected) -> DetectedScan:
    """Find the animals of one scan, measure them, and write its detection file."""
    from soilpipe.analyses import read_analysis
    from soilpipe.detect.run import detect_scan as detect
    from soilpipe.ingest.receipts import read_receipt

    project, store = opened(project_file)
    analysis = read_analysis(store, scan.analysis_id)
    detector = detector_of(project_file, scan.analysis_id)
    return detect(project, store, read_receipt(store, scan.scan_id), detector, analysis)


def current_detector(project_file: str) -> Detector:
    """The detector that the project uses now."""
    from soilpipe.run_detector import load_run_detector

    project, store = opened(project_file)
    return load_run_detector(project, store)


@lru_cache(maxsize=2)
def detector_of(project_file: str, analysis_id: str) -> Detector:
    """The detector that makes an analysis: mostly the project's own of now, else the one of then."""
    from soilpipe.analyses import analysis_of, read_analysis
    from soilpipe.run_detector import load_run_analysis_detector

    _, store = opened(project_file)
    detector = current_detector(project_file)
    if analysis_of(detector.info).id == analysis_id:
        return detector
    return load_run_analysis_detector(read_analysis(store, analysis_id), store)
