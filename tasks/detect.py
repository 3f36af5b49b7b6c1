"""Tasks of the second stage: which scans are to be detected, and detecting one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from prefect import task

from tasks.opened import opened
from tasks.pretrain import gpu_if_used
from tasks.retries import IO_TASK, may_pass

if TYPE_CHECKING:
    from soilpipe.counts.undetected import Undetected
    from soilpipe.detect.base import Detector
    from soilpipe.detect.run import DetectedScan


@dataclass(frozen=True)
class ToDetect:
    """``scans``: to be detected, oldest first. ``cannot``: what can't be, by a scan of each, and the command for it."""

    scans: tuple[Undetected, ...]
    cannot: tuple[tuple[str, str], ...] = ()


@task(name="find-undetected", task_run_name="which scans of {scanner_id} to detect", tags=["detect"], **IO_TASK)
def find_undetected(
    project_file: str, scanner_id: str, since: datetime | None, until: datetime | None, before: datetime | None
) -> ToDetect:
    """The scans to detect, earlier than `before`: a file of that time still waits in the inbox."""
    from soilpipe.analyses import analysis_of, read_analysis
    from soilpipe.counts.redetect import cannot_be_made
    from soilpipe.counts.undetected import publish_and_list_undetected
    from soilpipe.errors import SoilpipeError

    project, store = opened(project_file)
    analysis = analysis_of(current_detector(project_file).info)
    scanner = project.scanner(scanner_id)
    found = publish_and_list_undetected(store, scanner, analysis, before=before, since=since, until=until)
    cannot: list[tuple[str, str]] = []
    gone: set[str] = set()
    for analysis_id in dict.fromkeys(scan.analysis_id for scan in found if scan.analysis_id != analysis.id):
        try:
            detector_of(project_file, analysis_id)
        except SoilpipeError as error:
            if may_pass(error):
                raise
            waiting = [scan for scan in found if scan.analysis_id == analysis_id]
            cannot += cannot_be_made(scanner, read_analysis(store, analysis_id), waiting)
            gone.add(analysis_id)
    return ToDetect(tuple(scan for scan in found if scan.analysis_id not in gone), tuple(cannot))


@task(name="detect-scan", task_run_name="detect {scan.scan_id}", tags=["detect"], **IO_TASK)
def detect_scan(project_file: str, scan: Undetected) -> DetectedScan:
    """Find the animals of one scan, measure them, and write its detection file; on a GPU, when it is free (`gpu`)."""
    from soilpipe.analyses import read_analysis
    from soilpipe.detect.run import detect_scan as detect
    from soilpipe.ingest.receipts import read_receipt

    project, store = opened(project_file)
    analysis = read_analysis(store, scan.analysis_id)
    with gpu_if_used():
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
