"""Tasks of the weekly refresh: one library call each. What they hand on lies in the refresh's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import get_run_logger, task

from tasks.opened import opened
from tasks.retries import IO_TASK

if TYPE_CHECKING:
    from pathlib import Path

    from soilpipe.config import RefreshPlan
    from soilpipe.refresh.steps import Progress

T = TypeVar("T")

GPU = "gpu"
"""The global concurrency limit that work on a GPU takes."""


@contextmanager
def the_only_refresh(project_file: str) -> Iterator[str | None]:
    """Hold the project's refreshes in this block; what is given says, in words, that another one is at work."""
    from soilpipe.refresh.state import AtWorkError, alone_at_work

    try:
        with alone_at_work(_work(project_file)):
            yield None
    except AtWorkError as error:
        get_run_logger().info("%s", error)
        yield str(error)


@task(name="begin-refresh", task_run_name="begin or take up a refresh", tags=["refresh"], **IO_TASK)
def begin_refresh(project_file: str, steps: int | None, minutes: float | None, now: datetime) -> str:
    """What a killed one has left, else a new one; the project's id."""
    from soilpipe.refresh.begin import begin

    project, store = opened(project_file)
    plan = plan_of(project.refresh, steps, minutes)
    state = begin(project, store, _work(project_file), plan=plan, now=now)
    for note in state.notes:
        get_run_logger().warning("%s", note)
    if state.done:
        get_run_logger().info("takes up the refresh begun at %s, after: %s", state.begun_at, ", ".join(state.done))
    return project.project


def plan_of(plan: RefreshPlan | None, steps: int | None, minutes: float | None) -> RefreshPlan:
    """The project's plan, or the defaults where it says never, with what was asked for instead."""
    from soilpipe.config import RefreshPlan

    asked = {name: value for name, value in (("steps", steps), ("minutes", minutes)) if value is not None}
    return (plan or RefreshPlan()).model_copy(update=asked)


@task(name="choose-corpus", task_run_name="choose what to learn from", tags=["refresh"], **IO_TASK)
def choose_corpus(project_file: str, tell: Progress) -> str | None:
    """Choose the crops; in words why there is nothing to do, where nothing has come since the last refresh."""
    from soilpipe.pretrain.corpus import NoNewScansError
    from soilpipe.refresh.state import forget
    from soilpipe.refresh.steps import choose_corpus as choose

    try:
        state = _step(project_file, choose, tell=tell)
    except NoNewScansError as error:
        forget(_work(project_file))
        get_run_logger().info("%s", error)
        return str(error)
    get_run_logger().info("%s", state.done["corpus"]["words"])
    return None


@task(name="pretrain-encoder", task_run_name="train the encoder", tags=["refresh"], **IO_TASK)
def pretrain_encoder(project_file: str, tell: Progress) -> str:
    """Train it, or go on where a killed run was; its version."""
    from soilpipe.refresh.steps import pretrain_encoder as pretrain

    return str(_step(project_file, pretrain, tell=tell).done["pretrain"]["encoder"])


@task(name="fit-classifier", task_run_name="fit the classifier", tags=["refresh"], **IO_TASK)
def fit_classifier(project_file: str, tell: Progress) -> str | None:
    """Fit it on the new encoder; its version, None where labels are missing."""
    from soilpipe.refresh.bundle import fit_classifier as fit

    version = _step(project_file, fit, tell=tell).done["classifier"]["classifier"]
    return None if version is None else str(version)


@task(name="judge-bundle", task_run_name="judge both", tags=["refresh"], **IO_TASK)
def judge_bundle(project_file: str, now: datetime, tell: Progress) -> str:
    """Judge both on the hold-out, against what was ever in use; the verdict in words."""
    from soilpipe.refresh.bundle import judge_bundle as judge

    return str(_step(project_file, judge, now=now, tell=tell).done["judge"]["words"])


@task(name="decide-on-bundle", task_run_name="decide", tags=["refresh"], **IO_TASK)
def decide_on_bundle(project_file: str, now: datetime, tell: Progress) -> str:
    """Put both to use, or leave them candidates; what came of it in words."""
    from soilpipe.refresh.bundle import decide_on_bundle as decide
    from soilpipe.refresh.state import forget
    from soilpipe.refresh.words import in_words

    record = _step(project_file, decide, now=now, tell=tell)  # it judges again where labels have changed
    forget(_work(project_file))
    get_run_logger().info("%s", in_words(record))
    return in_words(record)


@task(name="leave-decision", task_run_name="artifact of the decision", tags=["refresh"], **IO_TASK)
def leave_decision(project_file: str) -> None:
    """The decision with its figures and the curves, for a person. It stands without this."""
    from tasks.refresh_artifact import leave_decision as leave

    try:
        leave(*opened(project_file))
    except Exception as error:
        get_run_logger().warning("decision artifact: %s: %s", type(error).__name__, error)


def _step(project_file: str, step: Callable[..., T], **more: Any) -> T:
    """Do one step of the refresh, in its turn on the GPU."""
    project, store = opened(project_file)
    with gpu_if_used():
        return step(project, store, _work(project_file), device=None, **more)


def _work(project_file: str) -> Path:
    from soilpipe.refresh.state import refresh_folder

    return refresh_folder(opened(project_file).store.root)


def gpu_if_used() -> Any:
    """The limit `gpu` where there is a GPU to compute on; else nothing is waited for."""
    import torch
    from prefect.concurrency.sync import concurrency

    if not torch.cuda.is_available():
        return nullcontext()
    # A lease that is lost for a while (the server was restarted) must not end hours of training.
    return concurrency(GPU, occupy=1, raise_on_lease_renewal_failure=False)
