"""The last steps of a refresh: the classifier on the new encoder, the judgement of both, and the decision.

Only the decision changes what is in use, and it is one record. The memory and the record of the refresh follow; killed
in between, the next refresh finishes them.
"""

from __future__ import annotations

import gzip
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from soilpipe import layout
from soilpipe.bundles.gate import LEAST_RANK
from soilpipe.bundles.judging import HoldOutLabels, hold_out_labels, judge
from soilpipe.bundles.last_week import with_week
from soilpipe.bundles.promotion import (
    Bundle,
    bundle_in_use,
    bundle_of,
    check_bundle,
    check_usable,
    classifiers_on,
    ever_promoted,
    promote_bundle,
    verdict_on,
)
from soilpipe.bundles.records import BundleRecord
from soilpipe.bundles.rivals import rivals_of
from soilpipe.config import Project
from soilpipe.decisions import Decision, Verdict
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.lineage import detectors_before, seen_scans
from soilpipe.model_cache import CARD
from soilpipe.models import card_of, content_version, model_path, register, resolve
from soilpipe.refresh.state import Outcome, RefreshRecord, RefreshState, keep_record
from soilpipe.refresh.steps import (
    CORPUS,
    DECIDE,
    FIT,
    JUDGE,
    PRETRAIN,
    Progress,
    corpus_budget,
    done_with,
    state_of,
)
from soilpipe.refresh.upkeep import tidied
from soilpipe.roles import CLASSIFIER, ModelError
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder

BASELINE = "baseline"
"""The folder of a classifier on the trunk of the detector in use: it is compared with while no bundle was ever in use,
and never registered."""
LEAST_TO_TELL = 64
"""Crops from which their effective rank says something of the encoder, and not of the crops."""
LAST_WEEK = "naming the detections of the last 7 days"
NO_HOLD_OUT = (
    "it stays a candidate, because the hold-out (one scanner whole, and every scanner's last fifth in time) has no "
    "labelled tile yet. Draw and label some (`soilpipe label draw`)"
)


def fit_classifier(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Fit the classifier on the new encoder, and register it. Without labels to fit it on, the state says what is
    missing and the encoder stays a candidate."""
    state = state_of(work)
    if FIT in state.done:
        return state
    encoder = encoder_at(store, encoder_version(state), device)
    words = _fit(project, store, encoder, work / CLASSIFIER, tell)
    version = None if words else register(store, CLASSIFIER, work / CLASSIFIER)
    if words is None and not ever_promoted(store):
        _fit(project, store, encoder_at(store, trunk_in_use(store), device), work / BASELINE, tell)
    return done_with(work, state, FIT, {"classifier": version, "missing": words})


def _fit(project: Project, store: Store, encoder: Encoder, out: Path, tell: Progress) -> str | None:
    """Fit a classifier into `out`, on the labels outside the hold-out; in words what is missing where it cannot be."""
    from soilpipe.classify.examples import ClassifierError
    from soilpipe.classify.false_alarms import false_alarms
    from soilpipe.classify.training import train_classifier
    from soilpipe.detect.labelled import LabelError
    from soilpipe.training_labels import own_labels

    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        try:
            on = own_labels(project, store, Path(folder))
            train_classifier(
                on.labels,
                on.images,
                out,
                encoder=encoder,
                taxonomy=project.taxonomy,
                name=project.project,
                where=on.where,
                where_told=on.told,
                false_alarms=partial(false_alarms, store),
                progress=lambda stage, done, of, _: tell(FIT, stage, done, of),
            )
        except (LabelError, ClassifierError) as error:
            return str(error)
    return None


def judge_bundle(
    project: Project, store: Store, work: Path, *, device: str | None, now: datetime, tell: Progress
) -> RefreshState:
    """Judge the new bundle and its rivals (`bundles.rivals`) on the hold-out; the verdict."""
    state = state_of(work)
    if JUDGE in state.done:
        return state
    verdict = _verdict(project, store, state, work, device, now, tell)
    gave = {
        "passed": verdict.passed,
        "undecided": verdict.undecided,
        "words": verdict.words,
        "figures": dict(verdict.figures),
    }
    return done_with(work, state, JUDGE, gave)


def _verdict(
    project: Project, store: Store, state: RefreshState, work: Path, device: str | None, now: datetime, tell: Progress
) -> Verdict:
    collapsed = _collapsed(state)
    if collapsed:
        return Verdict(False, collapsed, {})
    missing = state.done[FIT]["missing"]
    if missing:
        return Verdict(False, f"it stays a candidate, because no classifier can be fitted on it: {missing}", {}, True)
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        on = hold_out_labels(project, store, Path(folder))
        if on is None or not on.tiles:
            return Verdict(False, NO_HOLD_OUT, {}, True)
        own = Bundle(encoder_version(state), str(state.done[FIT]["classifier"]))
        bundles = [own, *rivals_of(store, own, project.taxonomy)]
        records = []
        for number, bundle in enumerate(bundles):
            tell(JUDGE, f"judging {bundle}", number, len(bundles))
            records.append(judged(project, store, bundle, on, now, device=device))
        if len(bundles) == 1 and (work / BASELINE / CARD).is_file():
            records.append(_judged_baseline(project, store, work / BASELINE, on, now, device))
        verdict = verdict_on(records[0], records[1:], project.taxonomy, present=bundle_in_use(store))
    verdict = with_week(project, store, verdict, own, device=device, progress=partial(tell, JUDGE, LAST_WEEK))
    return Verdict(verdict.passed, verdict.words, {**verdict.figures, "on": on.told}, verdict.undecided)


def _collapsed(state: RefreshState) -> str | None:
    """In words, where the vectors use clearly fewer directions than before the training, which needs no labels."""
    spread = state.done[PRETRAIN]["training"].get("spread") or {}
    before, after = (spread.get(when, {}).get("effective_rank") for when in ("before", "after"))
    enough = spread.get("crops", 0) >= LEAST_TO_TELL
    if before is None or after is None or not enough or after >= LEAST_RANK * before:
        return None
    return (
        f"effective rank of the embeddings of {spread['crops']} of its own crops {before:.1f} -> {after:.1f}, below "
        f"{LEAST_RANK:g} of it: they use fewer directions, which is how a pretraining collapses"
    )


def _judged_baseline(
    project: Project, store: Store, folder: Path, on: HoldOutLabels, now: datetime, device: str | None
) -> BundleRecord:
    bundle = Bundle(trunk_in_use(store), content_version(folder))
    return judged(project, store, bundle, on, now, device=device, folder=folder)


def _silent(step: str, note: str, done: int, of: int) -> None:
    """A `Progress` that nobody listens to."""


def judged(
    project: Project,
    store: Store,
    bundle: Bundle,
    on: HoldOutLabels,
    now: datetime,
    *,
    device: str | None = None,
    folder: Path | None = None,
) -> BundleRecord:
    """What a bundle is worth on the hold-out, from the store where that is known. `folder`: of its classifier, where
    that is not registered."""
    from soilpipe.classify.weights import load_classifier

    return judge(
        store,
        encoder_at(store, bundle.encoder, device),
        load_classifier(folder or model_path(store, CLASSIFIER, bundle.classifier)),
        bundle.classifier,
        on,
        taxonomy=project.taxonomy,
        seen_scans=seen_scans(store, bundle.encoder, on.scans),
        ancestors=detectors_before(store, bundle.encoder),
        now=now,
    )


def decide_on_bundle(project: Project, store: Store, work: Path, *, now: datetime, tell: Progress) -> RefreshRecord:
    """Put the bundle to use where the verdict says so; keep the memory, unless it was worse, and the record."""
    from soilpipe.pretrain.corpus import open_corpus
    from soilpipe.pretrain.memory import remember

    state = state_of(work)
    verdict = state.done[JUDGE]
    outcome: Outcome = "promoted" if verdict["passed"] else "candidate" if verdict["undecided"] else "refused"
    classifier = state.done[FIT]["classifier"]
    if outcome == "promoted":
        bundle = Bundle(encoder_version(state), str(classifier))
        if bundle != bundle_in_use(store):  # else this was done, and what follows was not
            told = Verdict(True, verdict["words"], verdict["figures"])
            promote_bundle(store, bundle, told, now, reason="by the weekly refresh")
    corpus = open_corpus(work / CORPUS)
    manifest = gzip.compress(corpus.manifest.encoded(), mtime=0)
    store.write_if_changed(layout.corpus_manifest(corpus.manifest_hash), manifest)
    if outcome != "refused":  # what came of a week of garbage is not learned from again
        tell(DECIDE, "keeping the replay memory", 0, 1)
        remember(store, corpus, corpus_budget(state.plan).memory)
    record = RefreshRecord(
        run_id=state.run_id,
        begun_at=state.begun_at,
        ended_at=now,
        since=state.since,
        until=state.until,
        begun_from=state.begun_from,
        encoder=encoder_version(state),
        classifier=classifier,
        outcome=outcome,
        words=verdict["words"],
        figures=verdict["figures"],
        corpus=state.done[CORPUS],
        training=state.done[PRETRAIN]["training"],
    )
    keep_record(store, record)
    tell(DECIDE, outcome + tidied(store), 1, 1)
    return record


def encoder_version(state: RefreshState) -> str:
    """The encoder that this refresh has trained."""
    return str(state.done[PRETRAIN]["encoder"])


def promote_by_hand(
    project: Project,
    store: Store,
    role: str,
    version: str,
    now: datetime,
    *,
    classifier: str | None = None,
    reason: str = "",
    force: bool = False,
    device: str | None = None,
) -> Decision:
    """Judge a registered bundle as a refresh does, and put it to use where it may be; ModelError with what is missing.

    role encoder: with the classifier on it, which `classifier` names where there are several. role classifier: on the
    encoder in use; one on another encoder is refused.
    """
    version = resolve(store, role, version)
    if role == CLASSIFIER:
        check_usable(store, card_of(store, CLASSIFIER, version), version)
        bundle = bundle_of(store, version)
    else:
        bundle = Bundle(version, _classifier_on(store, version, classifier))
    check_bundle(store, bundle)
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        on = hold_out_labels(project, store, Path(folder))
        if on is None or not on.tiles:
            return promote_bundle(store, bundle, Verdict(False, NO_HOLD_OUT, {}, True), now, reason=reason, force=force)
        rivals = rivals_of(store, bundle, project.taxonomy)
        records = [judged(project, store, one, on, now, device=device) for one in [bundle, *rivals]]
        out = Path(folder) / BASELINE
        if not rivals and _fit(project, store, encoder_at(store, trunk_in_use(store), device), out, _silent) is None:
            records.append(_judged_baseline(project, store, out, on, now, device))
    verdict = verdict_on(records[0], records[1:], project.taxonomy, present=bundle_in_use(store))
    verdict = with_week(project, store, verdict, bundle, device=device)
    return promote_bundle(store, bundle, verdict, now, reason=reason, force=force)


def _classifier_on(store: Store, encoder: str, named: str | None) -> str:
    if named is not None:
        return resolve(store, CLASSIFIER, named)
    there = classifiers_on(store, encoder)
    if len(there) == 1:
        return there[0]
    if there:
        raise ModelError(f"{len(there)} classifiers stand on encoder {encoder}: {', '.join(there)}. Say --with which")
    raise ModelError(
        f"no classifier stands on encoder {encoder}, and the one in use cannot read its embeddings. Fit one with "
        f"`soilpipe train classifier --encoder {encoder}`"
    )
