"""The judgement of a refresh: the new bundle and its rivals on the hold-out, and what the verdict is bound to.

A verdict holds for what it was told from: the bundle in use, the rivals and the labels. A refresh that was killed after
it may be taken up when these have changed; then it is judged again before anything is put to use.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from soilpipe.bundles.gate import LEAST_RANK
from soilpipe.bundles.judging import HoldOutLabels, hold_out_labels, judge
from soilpipe.bundles.last_week import with_week
from soilpipe.bundles.promotion import Bundle, bundle_in_use, ever_promoted, verdict_on
from soilpipe.bundles.records import BundleRecord
from soilpipe.bundles.rivals import rivals_of
from soilpipe.bundles.where_to_draw import where_to_draw
from soilpipe.classify.examples import ClassifierError
from soilpipe.config import Project
from soilpipe.decisions import Verdict, in_use
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.errors import SoilpipeError
from soilpipe.held_out import held_out
from soilpipe.labels.taken import newest_by_place
from soilpipe.lineage import detectors_before
from soilpipe.lineage_crops import learned_crops
from soilpipe.model_cache import CARD
from soilpipe.models import content_version, model_path
from soilpipe.refresh.failures import noted
from soilpipe.refresh.own import own_bundle, promotion_of
from soilpipe.refresh.state import FIT, JUDGE, PRETRAIN, RefreshState
from soilpipe.refresh.steps import Progress, done_with, state_of
from soilpipe.roles import CLASSIFIER, ENCODER, ModelError
from soilpipe.store import Store, StoreError, canonical_json

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


@noted(JUDGE)
def judge_bundle(
    project: Project, store: Store, work: Path, *, device: str | None, now: datetime, tell: Progress
) -> RefreshState:
    """Judge the new bundle and its rivals (`bundles.rivals`) on the hold-out; the verdict.

    One that there is already stays while what it is bound to is the same, and once it was acted upon.
    """
    state = state_of(work)
    own = own_bundle(state)
    against = _bound_to(project, store, own)
    if JUDGE in state.done:
        before = state.done[JUDGE].get("against")
        if before in (None, against) or (own is not None and promotion_of(store, own) is not None):
            return state
        tell(JUDGE, "judging again, since labels or bundles have changed", 0, 1)
    verdict = _verdict(project, store, state, work, device, now, tell)
    gave = {
        "against": against,
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
    own = own_bundle(state)
    if own is None:
        missing = state.done[FIT]["missing"]
        return Verdict(False, f"it stays a candidate, because no classifier can be fitted on it: {missing}", {}, True)
    try:
        return _by_the_gate(project, store, own, work, device, now, tell)
    except StoreError:
        raise  # it may pass by itself
    except SoilpipeError as error:  # of the labels, or of what the store holds: no fault of the bundle
        return Verdict(False, f"it stays a candidate, because it cannot be judged: {error}", {}, True)


def _by_the_gate(
    project: Project, store: Store, own: Bundle, work: Path, device: str | None, now: datetime, tell: Progress
) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        on = hold_out_labels(project, store, Path(folder))
        if on is None or not on.tiles:
            return Verdict(False, f"{NO_HOLD_OUT}. {where_to_draw(project, store, own.encoder)}", {}, True)
        records = judged_with_rivals(project, store, own, on, now, device=device, tell=tell)
        if len(records) == 1 and (work / BASELINE / CARD).is_file():
            records.append(judged_baseline(project, store, work / BASELINE, on, now, device))
        verdict = verdict_of(project, store, own, records)
    verdict = with_week(project, store, verdict, own, now=now, device=device, progress=partial(tell, JUDGE, LAST_WEEK))
    return Verdict(verdict.passed, verdict.words, {**verdict.figures, "on": on.told}, verdict.undecided)


def judged_with_rivals(
    project: Project,
    store: Store,
    own: Bundle,
    on: HoldOutLabels,
    now: datetime,
    *,
    device: str | None,
    tell: Progress,
) -> list[BundleRecord]:
    """A bundle, first, and its rivals. A rival of old that cannot be loaded any more is left aside; an error
    where it is the one in use."""
    from soilpipe.encoder.weights import EncoderError

    bundles, present = [own, *rivals_of(store, own, project.taxonomy)], bundle_in_use(store)
    records = []
    for number, bundle in enumerate(bundles):
        tell(JUDGE, f"judging {bundle}", number, len(bundles))
        try:
            records.append(judged(project, store, bundle, on, now, device=device))
        except (ModelError, ClassifierError, EncoderError) as error:
            if bundle in (own, present):
                raise
            tell(JUDGE, f"{bundle} is left aside: {error}", number, len(bundles))
    return records


def verdict_of(project: Project, store: Store, own: Bundle, records: Sequence[BundleRecord]) -> Verdict:
    """The verdict on the first of the records; where labels are wanting, with the scans from which they would count."""
    verdict = verdict_on(records[0], records[1:], project.taxonomy, present=bundle_in_use(store))
    if not verdict.undecided:
        return verdict
    return replace(verdict, words=f"{verdict.words}. {where_to_draw(project, store, own.encoder)}")


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


def judged_baseline(
    project: Project, store: Store, folder: Path, on: HoldOutLabels, now: datetime, device: str | None
) -> BundleRecord:
    bundle = Bundle(trunk_in_use(store, project.detector), content_version(folder))
    return judged(project, store, bundle, on, now, device=device, folder=folder)


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
        learned=partial(learned_crops, store, bundle.encoder, on.scanners),
        ancestors=detectors_before(store, bundle.encoder),
        now=now,
    )


def _bound_to(project: Project, store: Store, own: Bundle | None) -> dict[str, Any]:
    """What a verdict is told from, JSON-able. The labels by their records, which costs no pixel."""
    if own is None:
        return {}
    labels = [[tile.tile_id, tile.how, label.model_dump(mode="json")] for tile, label in newest_by_place(store)]
    content = [labels, sorted(held_out(project, store).scans), list(project.taxonomy.names)]
    return {
        "in_use": [in_use(store, ENCODER), in_use(store, CLASSIFIER)],
        "promoted": [str(one) for one in ever_promoted(store)],
        "labels": hashlib.sha256(canonical_json(content)).hexdigest(),
    }
