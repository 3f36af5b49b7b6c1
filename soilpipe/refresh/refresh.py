"""A refresh: what one week of unlabelled scans teaches, judged before it is used.

In steps, each kept on disk when it is done, so that a refresh that was killed goes on where it was:

corpus      choose crops from the scans since the last refresh, and the replay memory
pretrain    go on training the encoder on them, and register it
classifier  fit the classifier on it again, on the labels outside the hold-out, and register it
judge       both on the hold-out, beside the bundle in use and the best that ever were: the verdict
decide      promote the bundle or leave it a candidate; the memory and the record follow

Nothing before the last step changes what is in use, so a refresh that fails leaves the champion as it was. One that
fails twice at a step, or is not taken up for more than a week, is given up, and the next begins anew (`failures`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from soilpipe.config import Project, RefreshPlan
from soilpipe.refresh.begin import begin
from soilpipe.refresh.bundle import decide_on_bundle, fit_classifier, judge_bundle
from soilpipe.refresh.records import RefreshRecord
from soilpipe.refresh.state import CORPUS, AtWorkError, alone_at_work, forget, refresh_folder
from soilpipe.refresh.steps import Progress, choose_corpus, pretrain_encoder
from soilpipe.store import Store


@dataclass(frozen=True)
class RefreshResult:
    """What came of a refresh, in words for people; `record` where there was something to decide."""

    outcome: Literal["promoted", "candidate", "refused", "nothing new", "at work"]
    words: str
    record: RefreshRecord | None = None


def refresh(
    project: Project,
    store: Store,
    *,
    plan: RefreshPlan,
    now: datetime,
    seed: int = 0,
    device: str | None = None,
    work: Path | None = None,
    progress: Progress | None = None,
) -> RefreshResult:
    """Do a whole refresh, or what is left of one that was killed.

    plan: how much it may use at most. work: where it keeps what it does; the user's cache if left out. device: cpu or
    cuda; a GPU if there is one. On `cpu` the same store, plan and seed give the same weights and verdict, killed or
    not, where the steps end the training; where its minutes do, how far it comes depends on the machine.
    """
    from soilpipe.pretrain.corpus import NoNewScansError

    work, tell = work or refresh_folder(store.root), progress or (lambda step, note, done, of: None)
    try:
        with alone_at_work(work):
            for note in begin(project, store, work, plan=plan, now=now, seed=seed).notes:
                tell(CORPUS, note, 0, 1)
            try:
                choose_corpus(project, store, work, device=device, tell=tell)
            except NoNewScansError as error:
                forget(work)
                return RefreshResult("nothing new", str(error))
            pretrain_encoder(project, store, work, device=device, tell=tell)
            fit_classifier(project, store, work, device=device, tell=tell)
            judge_bundle(project, store, work, device=device, now=now, tell=tell)
            record = decide_on_bundle(project, store, work, device=device, now=now, tell=tell)
            forget(work)
            return RefreshResult(record.outcome, record.words, record)
    except AtWorkError as error:
        return RefreshResult("at work", str(error))
