"""The first steps of a refresh: what to learn from, and learning from it.

Each step takes up what the ones before it left in the work folder, and leaves its own.

A step that was done is not done again. What is written to the store before the last step is named by its content, so
doing it twice, or being killed in between, changes nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soilpipe.config import Project, RefreshPlan
from soilpipe.encoders import encoder_at, encoder_to_begin_from
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.lineage import detectors_before
from soilpipe.models import register
from soilpipe.refresh.state import (
    PICTURE,
    RefreshError,
    RefreshState,
    forget,
    new_run_id,
    picture_key,
    read_state,
    refreshes,
    write_state,
)
from soilpipe.roles import ENCODER
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder
    from soilpipe.pretrain.corpus import Corpus, CorpusBudget

CORPUS, PRETRAIN, FIT, JUDGE, DECIDE = STEPS = ("corpus", "pretrain", "classifier", "judge", "decide")
TOLD = ("steps", "ended_by", "batch", "halved", "loss", "spread", "seconds", "crops_per_second", "device")
"""Of an encoder's card, what the record of the refresh says of its training."""
SCANS_A_MINUTE = 6  # read on two cores at 1200 dpi, with their references: choosing takes no longer than training
LEAST_PLACES = 2
"""Two crops of one place are alike whatever the encoder does: with one place there is nothing to tell apart."""
LEAST_SCANS, MOST_SCANS = 8, 512
Progress = Callable[[str, str, int, int], None]
"""Told: the step, what is being done in words, how much of it is done, and of how much."""


def begin(
    project: Project, store: Store, work: Path, *, plan: RefreshPlan, now: datetime, seed: int = 0
) -> RefreshState:
    """The refresh to do: one that was begun in this folder and is not done, else a new one.

    One that was begun with another budget, or from another encoder than would be begun from now, is dropped.
    """
    done = refreshes(store)
    undecided = done[-1].encoder if done and done[-1].outcome == "candidate" else None
    begun_from = encoder_to_begin_from(store, undecided)
    state = read_state(work)
    if state is not None and _budget(state.plan) == _budget(plan) and _still_fits(store, state, begun_from):
        return state
    forget(work)
    since = max((one.until for one in done if one.until is not None), default=None)
    state = RefreshState(
        run_id=new_run_id(now, begun_from, plan),
        begun_at=now,
        since=since,
        until=newest_scan(project, store, now),
        begun_from=begun_from,
        plan=plan,
        seed=seed,
    )
    write_state(work, state)
    return state


def _still_fits(store: Store, state: RefreshState, begun_from: str) -> bool:
    """Whether a refresh can be taken up: nothing else was put to use meanwhile, but for its own bundle."""
    own = state.done.get(PRETRAIN, {}).get("encoder")
    return begun_from in (state.begun_from, own)


def _budget(plan: RefreshPlan) -> dict[str, Any]:
    return plan.model_dump(exclude={"day", "hour"})


def newest_scan(project: Project, store: Store, now: datetime) -> datetime | None:
    """When the newest accepted scan of the project was taken, UTC; None where there is none.

    A scan from the future (of a clock that is wrong) says nothing of what is new: all later ones would be old for good.
    """
    newest = []
    for scanner in project.scanners:
        scans = list_scan_ids(store, scanner.id)
        newest += [at for at in scan_times(store, scanner, scans).values() if at <= now]
    return max(newest, default=None)


def choose_corpus(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Choose what to learn from. NoNewScansError where nothing has come."""
    from soilpipe.pretrain.corpus import NoNewScansError, build_corpus

    state = state_of(work)
    if CORPUS in state.done and _is_whole(work / CORPUS, state.done[CORPUS]["manifest"]):
        return state
    corpus = build_corpus(
        store,
        project,
        since=state.since,
        encoder=encoder_at(store, state.begun_from, device),
        budget=corpus_budget(state.plan),
        seed=state.seed,
        folder=work / CORPUS,
        progress=lambda stage, done, of: tell(CORPUS, stage, done, of),
    )
    if len(set(corpus.place.tolist())) < LEAST_PLACES:
        raise NoNewScansError(
            f"what came teaches nothing: of {len(corpus)} crops none is of another place than the others "
            f"({corpus.summary()})"
        )
    gave = {"manifest": corpus.manifest_hash, "crops": len(corpus), "words": corpus.summary()}
    return done_with(work, state, CORPUS, gave)


def _is_whole(folder: Path, manifest_hash: str) -> bool:
    """Whether the corpus that was chosen still lies there: one that is damaged is chosen again."""
    from soilpipe.pretrain.corpus import CorpusError, open_corpus

    try:
        return open_corpus(folder).manifest_hash == manifest_hash
    except CorpusError:
        return False


def corpus_budget(plan: RefreshPlan) -> CorpusBudget:
    """Half of the crops new, half replayed."""
    from soilpipe.pretrain.corpus import CorpusBudget

    scans = max(LEAST_SCANS, min(MOST_SCANS, round(plan.minutes * SCANS_A_MINUTE)))
    return CorpusBudget(crops=plan.crops - plan.crops // 2, memory=plan.crops // 2, bytes=plan.memory, scans=scans)


def pretrain_encoder(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Go on training the encoder on the corpus, and register what comes of it. A checkpoint that cannot be read costs
    the training so far, and no more."""
    from soilpipe.pretrain.corpus import open_corpus
    from soilpipe.pretrain.learning import PretrainCheckpointError

    state = state_of(work)
    if PRETRAIN in state.done:
        return state
    corpus, start = open_corpus(work / CORPUS), encoder_at(store, state.begun_from, device)
    before = detectors_before(store, state.begun_from)
    try:
        card = _pretrain(project, state, corpus, start, before, work, device, tell, resume=True)
    except PretrainCheckpointError as error:
        tell(PRETRAIN, f"the training begins anew, for {error}", 0, state.plan.steps)
        shutil.rmtree(work / "training")
        card = _pretrain(project, state, corpus, start, before, work, device, tell, resume=False)
    version = register(store, ENCODER, work / ENCODER)
    _keep_picture(store, work, version)
    return done_with(work, state, PRETRAIN, {"encoder": version, "training": {key: card.get(key) for key in TOLD}})


def _pretrain(
    project: Project,
    state: RefreshState,
    corpus: Corpus,
    start: Encoder,
    ancestors: list[dict[str, Any]],
    work: Path,
    device: str | None,
    tell: Progress,
    *,
    resume: bool,
) -> Mapping[str, Any]:
    from soilpipe.pretrain.learning import pretrain
    from soilpipe.pretrain.learning_recipe import PretrainRecipe

    return pretrain(
        corpus,
        work / ENCODER,
        name=project.project,
        start=start,
        recipe=PretrainRecipe(steps=state.plan.steps, minutes=state.plan.minutes, seed=state.seed),
        told={
            "manifest_hash": corpus.manifest_hash,
            "begun_from": state.begun_from,
            "corpus": corpus.summary(),
            "ancestors": ancestors,
        },
        device=device,
        work=work / "training",
        resume=resume,
        progress=lambda stage, done, of, figures: tell(PRETRAIN, _with_figures(stage, figures), done, of),
    )


def _with_figures(stage: str, figures: Mapping[str, float]) -> str:
    told = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
    return f"{stage}: {told}" if told else stage


def state_of(work: Path) -> RefreshState:
    """The refresh that this folder holds. RefreshError where none was begun."""
    state = read_state(work)
    if state is None:
        raise RefreshError(f"no refresh was begun in {work}; `soilpipe refresh` begins one")
    return state


def done_with(work: Path, state: RefreshState, step: str, gave: Mapping[str, Any]) -> RefreshState:
    """Keep that a step is done, and what it gave."""
    after = state.after(step, json.loads(json.dumps(gave)))
    write_state(work, after)
    return after


def _keep_picture(store: Store, work: Path, version: str) -> None:
    picture = work / ENCODER / PICTURE
    if picture.is_file():
        store.write_if_changed(picture_key(version), picture.read_bytes())
