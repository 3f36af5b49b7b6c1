"""The first steps of a refresh: what to learn from, and learning from it.

Each step takes up what the ones before it left in the work folder, and leaves its own.

A step that was done is not done again. What is written to the store before the last step is named by its content, so
doing it twice, or being killed in between, changes nothing.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soilpipe import layout
from soilpipe.config import Project, RefreshPlan
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.lineage import detectors_before
from soilpipe.models import register
from soilpipe.refresh.failures import noted
from soilpipe.refresh.new_scans import noted_new
from soilpipe.refresh.pictures import PICTURE, picture_key
from soilpipe.refresh.state import CORPUS, PRETRAIN, RefreshError, RefreshState, read_state, write_state
from soilpipe.roles import ENCODER
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.encoder.close_look import CloseLook
    from soilpipe.encoder.encoder import Encoder
    from soilpipe.pretrain.corpus import Corpus, CorpusBudget

log = logging.getLogger(__name__)

TOLD = ("steps", "ended_by", "batch", "halved", "recompute", "loss", "spread", "seconds", "crops_per_second", "device")
"""Of an encoder's card, what the record of the refresh says of its training."""
SCANS_A_MINUTE = 6  # read on two cores at 1200 dpi, with their references: choosing takes no longer than training
LEAST_PLACES = 2
"""Two crops of one place are alike whatever the encoder does: with one place there is nothing to tell apart."""
LEAST_SCANS, MOST_SCANS = 8, 512
CROPS_SHARE = 4  # of the memory, one part for crops on their way to the disk
Progress = Callable[[str, str, int, int], None]
"""Told: the step, what is being done in words, how much of it is done, and of how much."""


@noted(CORPUS)
def choose_corpus(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Choose what to learn from. NoNewScansError where nothing has come."""
    from soilpipe.pretrain.corpus import NoNewScansError, build_corpus

    state = state_of(work)
    if CORPUS in state.done and _is_whole(work / CORPUS, state.done[CORPUS]["manifest"]):
        return state
    corpus = build_corpus(
        store,
        project,
        since=state.read_from,
        until=state.read_until,
        new=noted_new(work),
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
    """Half of the crops new, half remembered and replayed; a quarter of the memory for crops on their way, the rest for
    what reads them: the windows of some scans with their references, the encoder and its batch."""
    from soilpipe.pretrain.corpus import CorpusBudget

    scans = max(LEAST_SCANS, min(MOST_SCANS, round(plan.minutes * SCANS_A_MINUTE)))
    half = plan.crops // 2
    return CorpusBudget(crops=plan.crops - half, memory=half, in_memory=plan.memory // CROPS_SHARE, scans=scans)


@noted(PRETRAIN)
def pretrain_encoder(project: Project, store: Store, work: Path, *, device: str | None, tell: Progress) -> RefreshState:
    """Go on training the encoder on the corpus, and register what comes of it, with the close look of the detector in
    use where that has one. A checkpoint that cannot be read costs the training so far, and no more."""
    from soilpipe.pretrain.corpus import open_corpus
    from soilpipe.pretrain.learning import PretrainCheckpointError
    from soilpipe.pretrain.learning_recipe import PretrainError

    state = state_of(work)
    if PRETRAIN in state.done:
        return state
    corpus, start = open_corpus(work / CORPUS), encoder_at(store, state.begun_from, device)
    detector = trunk_in_use(store, project.detector)
    own = start if detector == state.begun_from else encoder_at(store, detector, device)
    close, before = own.close or start.close, detectors_before(store, state.begun_from)
    if own.close is not None:  # what its detector has seen, it has
        before += [one for one in detectors_before(store, detector) if one not in before]
    begin = partial(_pretrain, project, state, corpus, start, close, before, work, device, tell)
    try:
        card = begin(resume=True)
    except PretrainCheckpointError as error:
        tell(PRETRAIN, f"the training begins anew, for {error}", 0, state.plan.steps)
        log.warning("the training begins anew, for %s", error)
        shutil.rmtree(work / "training")
        card = begin(resume=False)
    except PretrainError:  # what was kept of it may be no better: it begins from its start when it is taken up
        shutil.rmtree(work / "training", ignore_errors=True)
        raise
    # Before the encoder: what it has learned from is asked of every encoder that is there.
    manifest = gzip.compress(corpus.manifest.encoded(), mtime=0)
    store.write_if_changed(layout.corpus_manifest(corpus.manifest_hash), manifest)
    version = register(store, ENCODER, work / ENCODER)
    _keep_picture(store, work, version)
    return done_with(work, state, PRETRAIN, {"encoder": version, "training": {key: card.get(key) for key in TOLD}})


def _pretrain(
    project: Project,
    state: RefreshState,
    corpus: Corpus,
    start: Encoder,
    close: CloseLook | None,
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
        close=close,
        recipe=PretrainRecipe(
            steps=state.plan.steps,
            minutes=state.plan.minutes,
            batch=state.plan.batch,
            recompute=state.plan.recompute,
            seed=state.seed,
        ),
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
