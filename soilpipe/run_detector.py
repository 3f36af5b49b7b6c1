"""What a run detects with: the project's detector, with the classifier in use where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soilpipe.analyses import Analysis
from soilpipe.config import Project
from soilpipe.decisions import decisions, in_use
from soilpipe.detect.base import Detector, Validation
from soilpipe.detect.select import load_analysis_detector, load_project_detector
from soilpipe.roles import CLASSIFIER
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.classify.identifying import IdentifyingDetector


def load_run_detector(project: Project, store: Store) -> Detector:
    """The detector of the project file; where a classifier was promoted, that names what it finds.

    Raises what `load_project_detector` raises, ModelError where classifier or encoder is gone, and ClassifierError.
    """
    detector = load_project_detector(project, store)
    version = in_use(store, CLASSIFIER)
    return detector if version is None else _with_classifier(detector, store, version, judged_as(store, version))


def judged_as(store: Store, classifier: str) -> Validation:
    """What stands behind a classifier: `local` once it passed the gate on the project's own hold-out, unforced."""
    passed = [d for d in decisions(store, CLASSIFIER) if d.action == "promote" and not d.forced]
    return "local" if any(d.version_of(CLASSIFIER) == classifier for d in passed) else "none"


def load_run_analysis_detector(analysis: Analysis, store: Store) -> Detector:
    """The detector, and the classifier if there was one, that make this very analysis. As `load_analysis_detector`."""
    named: dict[str, Any] | None = analysis.settings.get(CLASSIFIER)
    if named is None:
        return load_analysis_detector(analysis, store)
    return load_analysis_detector(
        # What was known of both when the analysis was made: a judgement since then changes nothing of its scans.
        analysis,
        store,
        lambda detector: _with_classifier(detector, store, str(named["version"]), analysis.validation),
    )


def _with_classifier(detector: Detector, store: Store, version: str, judged: Validation) -> IdentifyingDetector:
    from soilpipe.classify.identifying import IdentifyingDetector
    from soilpipe.classify.weights import load_classifier
    from soilpipe.encoders import encoder_at
    from soilpipe.models import model_path

    classifier = load_classifier(model_path(store, CLASSIFIER, version))
    return IdentifyingDetector(detector, classifier, encoder_at(store, classifier.encoder), judged)
