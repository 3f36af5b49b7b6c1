"""The detector that a project file asks for, and the one that an analysis was made with."""

from __future__ import annotations

from soilpipe import models
from soilpipe.analyses import Analysis, analysis_of
from soilpipe.config import Project
from soilpipe.detect.base import Detector
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store

CHANGE = "change"


class DetectorChoiceError(SoilpipeError):
    """The detector that is asked for cannot be had."""


def load_project_detector(project: Project, store: Store) -> Detector:
    """The detector of the project file: `champion`, `change`, a version, or a name in the registry."""
    return load_named_detector(project.detector, store)


def load_named_detector(wanted: str, store: Store) -> Detector:
    """The same for one word. Raises ModelError when the registry does not have it."""
    if wanted == CHANGE:
        from soilpipe.detect.change import ChangeDetector

        return ChangeDetector()
    from soilpipe.detect.weights import load_detector

    version = models.champion(store, "detector") if wanted == "champion" else wanted
    return load_detector(models.model_path(store, "detector", version))


def load_analysis_detector(analysis: Analysis, store: Store) -> Detector:
    """The detector that makes this very analysis: for a scan that comes late and belongs to an older publication.

    Raises DetectorChoiceError when it can no longer be made: another release of the package has another shipped model
    or another algorithm.
    """
    registered = {model.version for model in models.list_models(store, "detector")}
    candidates = [analysis.detector] if analysis.detector in registered else [models.SHIPPED, CHANGE]
    for wanted in candidates:
        try:
            detector = load_named_detector(wanted, store)
        except SoilpipeError:
            continue
        if analysis_of(detector.info).id == analysis.id:
            return detector
    raise DetectorChoiceError(
        f"analysis {analysis.id} ({analysis.detector_name}, version {analysis.detector}) can't be made by this "
        "release: its model or algorithm has changed. Older counts stay as they are; scans that came late for that "
        "time stay without counts, unless the release that made it is installed"
    )
