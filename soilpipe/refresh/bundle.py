"""The last steps of a refresh: the classifier on the new encoder, and the decision on both.

Only the decision changes what is in use, and it is one record. The memory and the record of the refresh follow; killed
in between, the next refresh finishes them.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from soilpipe.bundles.promotion import bundle_in_use, ever_promoted, promote_bundle
from soilpipe.config import Project
from soilpipe.decisions import Verdict, in_use, known
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.models import card_of, register
from soilpipe.refresh.failures import noted
from soilpipe.refresh.new_scans import keep_read
from soilpipe.refresh.own import encoder_made, encoder_tuned, own_bundle, promotion_of
from soilpipe.refresh.records import Outcome, RefreshRecord, keep_record
from soilpipe.refresh.state import CORPUS, DECIDE, FIT, JUDGE, PRETRAIN, RefreshState
from soilpipe.refresh.steps import Progress, corpus_budget, done_with, state_of
from soilpipe.refresh.upkeep import tidied
from soilpipe.refresh.verdict import BASELINE, judge_bundle
from soilpipe.roles import CLASSIFIER, ENCODER
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder

TUNED = "tuned"
"""The folder of the encoder that tuning on the labelled crops made of the pretrained one."""

__all__ = ["decide_on_bundle", "fit_classifier", "fit_into", "judge_bundle"]


@noted(FIT)
def fit_classifier(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Fit the classifier on the new encoder, and register it. Without labels to fit it on, the state says what is
    missing and the encoder stays a candidate."""
    state = state_of(work)
    if FIT in state.done:
        return state
    encoder = encoder_at(store, str(state.done[PRETRAIN]["encoder"]), device)
    shutil.rmtree(work / TUNED, ignore_errors=True)  # of a run that was killed
    words = fit_into(project, store, encoder, work / CLASSIFIER, tell, tuned=work / TUNED)
    # First: no classifier is to stand on an encoder that is not there.
    tuned = register(store, ENCODER, work / TUNED) if words is None and (work / TUNED).is_dir() else None
    version = None if words else register(store, CLASSIFIER, work / CLASSIFIER)
    if words is None and not ever_promoted(store):
        fit_into(
            project, store, encoder_at(store, trunk_in_use(store, project.detector), device), work / BASELINE, tell
        )
    return done_with(work, state, FIT, {"classifier": version, "encoder": tuned, "missing": words})


def fit_into(
    project: Project, store: Store, encoder: Encoder, out: Path, tell: Progress, *, tuned: Path | None = None
) -> str | None:
    """Fit a classifier into `out`, on the labels outside the hold-out; in words what is missing where it cannot be.

    `tuned`: where there are labels enough for it (`tuning.WORTH_IT`), the encoder is tuned on them first, and the tuned
    one written there.

    Its alpha, the scanners that calibrate it and what is enough for a class of its own are those of the classifier in
    use: what a person chose there, no refresh takes back.
    """
    from soilpipe.classify.chosen import Chosen, chosen_of
    from soilpipe.classify.examples import ClassifierError
    from soilpipe.classify.false_alarms import false_alarms
    from soilpipe.classify.training import train_classifier
    from soilpipe.classify.tuning import WORTH_IT, Tuning
    from soilpipe.detect.labelled import LabelError
    from soilpipe.training_labels import own_labels

    present = in_use(store, CLASSIFIER)
    chosen = Chosen() if present is None else chosen_of(card_of(store, CLASSIFIER, present))
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
                calibrate=chosen.calibrate,
                alpha=chosen.alpha,
                least_examples=chosen.least_examples,
                false_alarms=partial(false_alarms, store),
                tuning=None if tuned is None else Tuning(),
                tuned=tuned,
                tune_from=WORTH_IT,
                progress=lambda stage, done, of, _: tell(FIT, stage, done, of),
            )
        except (LabelError, ClassifierError) as error:
            kept = (
                f" (calibrated on {', '.join(chosen.calibrate)} alone, as the one in use)" if chosen.calibrate else ""
            )
            return f"{error}{kept}"
    return None


@noted(DECIDE)
def decide_on_bundle(
    project: Project, store: Store, work: Path, *, device: str | None, now: datetime, tell: Progress
) -> RefreshRecord:
    """Put the bundle to use where the verdict says so; keep the memory, unless it was worse, and the record.

    Where labels or bundles have changed since the verdict, it is judged again first. A bundle that was put to use and
    taken back by a person stays taken back.
    """
    from soilpipe.pretrain.corpus import open_corpus
    from soilpipe.pretrain.memory import remember

    seen = known(store, CLASSIFIER)
    state = judge_bundle(project, store, work, device=device, now=now, tell=tell)
    verdict, own, notes = state.done[JUDGE], own_bundle(state), state.notes
    outcome: Outcome = "promoted" if verdict["passed"] else "candidate" if verdict["undecided"] else "refused"
    if outcome == "promoted" and own is not None and own != bundle_in_use(store):
        before = promotion_of(store, own)
        if before is None:
            told = Verdict(True, verdict["words"], verdict["figures"])
            promote_bundle(store, own, told, now, reason="by the weekly refresh", seen=seen)
        else:
            notes = (*notes, f"It was put to use on {before.decided_at:%Y-%m-%d %H:%M} UTC and has been replaced since")
    corpus = open_corpus(work / CORPUS)
    if outcome != "refused":  # what came of a week of garbage is not learned from again
        tell(DECIDE, "keeping the replay memory", 0, 1)
        remember(store, corpus, corpus_budget(state.plan).most_memory)
    record = RefreshRecord(
        run_id=state.run_id,
        begun_at=state.begun_at,
        ended_at=now,
        since=state.since,
        until=state.until,
        begun_from=state.begun_from,
        encoder=encoder_made(state),
        pretrained=encoder_tuned(state),
        classifier=None if own is None else own.classifier,
        outcome=outcome,
        words=verdict["words"],
        figures=verdict["figures"],
        corpus=state.done[CORPUS],
        training=state.done[PRETRAIN]["training"],
        read_until=state.read_until,
        notes=notes,
    )
    keep_read(store, work, state.run_id)
    keep_record(store, record)
    tell(DECIDE, outcome + tidied(store), 1, 1)
    return record
