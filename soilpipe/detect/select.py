"""The detector that a project file asks for, and the one that an analysis was made with.

A detector's `validation` is what is known of it when it is loaded: the word of its card, or `local` once it was judged
on a random sample of the project's scans (`evaluations`). It is part of the analysis, so an evaluation begins a new one
from the next scan on, and what was detected before keeps what was known then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from soilpipe import models
from soilpipe.analyses import Analysis, analysis_of
from soilpipe.config import Project
from soilpipe.decisions import reigned
from soilpipe.detect.base import Detector
from soilpipe.detect.known import known_to_be
from soilpipe.errors import SoilpipeError
from soilpipe.evaluations import validation_now
from soilpipe.store import Store

CHAMPION = "champion"
CHANGE = "change"
TORCHVISION = "torchvision:"


class DetectorChoiceError(SoilpipeError):
    """The detector that is asked for cannot be had."""


def load_project_detector(project: Project, store: Store) -> Detector:
    """The detector of the project file: `champion`, `change`, a version or a name in the registry, or `torchvision:`
    and a family, for the trained detector of that family."""
    return load_named_detector(detector_in_use(project, store), store)


def detector_in_use(project: Project, store: Store) -> str:
    """The version that runs of this project detect with, or `change`: the champion only where the project file says so.

    Raises ModelError or DetectorChoiceError when the store does not have what the file asks for.
    """
    return version_meant(project.detector, store)


def version_meant(wanted: str, store: Store) -> str:
    """The same for what a project file may say."""
    if wanted == CHANGE:
        return CHANGE
    if wanted == CHAMPION:
        return models.champion(store, "detector")
    if wanted.startswith(TORCHVISION):
        return version_of_family(wanted.removeprefix(TORCHVISION), store)
    named = models.versions_named(store, "detector", wanted)
    return _steady(store, named) if named else models.resolve(store, "detector", wanted)


def _steady(store: Store, versions: Sequence[str]) -> str:
    """Of versions that one word of a project file stands for, oldest first: the one that was in use as champion last;
    where none ever was, the oldest. So a candidate never comes into use, and no count ever changes, by a training."""
    champions = [version for version in reigned(store, "detector") if version in versions]
    return champions[-1] if champions else versions[0]


def load_named_detector(wanted: str, store: Store) -> Detector:
    """The same for one word. Raises ModelError or DetectorChoiceError when the registry does not have it."""
    if wanted == CHANGE:
        from soilpipe.detect.change import ChangeDetector

        change = ChangeDetector()
        known = validation_now(store, "detector", change.info.version, change.info.threshold, change.info.validation)
        return known_to_be(change, known)
    from soilpipe.detect.weights import load_detector

    version = version_meant(wanted, store)
    detector = load_detector(models.model_path(store, "detector", version))
    return known_to_be(detector, models.validation_of(store, "detector", version))


def version_of_family(family: str, store: Store) -> str:
    """The trained detector of one of torchvision's families: the one that was champion last, else the oldest.

    Raises DetectorChoiceError when there is none.
    """
    versions = models.versions_by_age(store, "detector")
    there = [version for version in versions if models.card_of(store, "detector", version).get("family") == family]
    if not there:
        raise DetectorChoiceError(
            f"no {family} is registered in this store. torchvision's detectors come without weights here: train one "
            f"(`soilpipe train detector --family {family}`) and register it, or write champion as `detector`"
        )
    return _steady(store, there)


def load_analysis_detector(
    analysis: Analysis, store: Store, as_used: Callable[[Detector], Detector] = lambda detector: detector
) -> Detector:
    """The detector that makes this very analysis: for a scan that comes late and belongs to an older publication.

    `as_used`: what a run makes of a detector before it detects with it (it adds a classifier, say).
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
        # An evaluation since then changes nothing of its scans.
        as_then = as_used(known_to_be(detector, analysis.validation))
        if analysis_of(as_then.info).id == analysis.id:
            return as_then
    raise DetectorChoiceError(
        f"analysis {analysis.id} ({analysis.detector_name}, version {analysis.detector}) can't be made by this "
        "release: its model or algorithm has changed. Older counts stay as they are; scans that came late for that "
        "time stay without counts, unless the release that made it is installed"
    )
