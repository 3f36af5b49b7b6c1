"""The weekly flow of a project: what its unlabelled scans teach, judged before it is used."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from flows.refresh_progress import RefreshProgress
from tasks.pretrain import (
    begin_refresh,
    choose_corpus,
    decide_on_bundle,
    fit_classifier,
    judge_bundle,
    leave_decision,
    pretrain_encoder,
    the_only_refresh,
)


def run_name() -> str:
    """`refresh 2024-03-10 03:00`: when the run was due, UTC."""
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"refresh {due:%Y-%m-%d %H:%M}"


@flow(name="refresh-pretraining", flow_run_name=run_name, persist_result=False)
def refresh_pretraining(project_file: str, steps: int | None = None, minutes: float | None = None) -> str:
    """Go on training the encoder on what came since the last refresh, fit the classifier on it again, and put both to
    use if they are no worse than what was ever in use. Returns what came of it, in words.

    `steps` and `minutes` bound the training, in place of what the project file says. A run that was killed is taken up
    by the next one. Where another refresh is at work, or nothing has come, there is nothing to do, and that is no
    failure.
    """
    with the_only_refresh(project_file) as busy:
        if busy:
            return busy
        project_id = begin_refresh(project_file, steps, minutes, datetime.now(UTC))
        progress = RefreshProgress(project_id)
        with progress.with_warnings():
            nothing_new = choose_corpus(project_file, progress)
            if nothing_new:
                return nothing_new
            pretrain_encoder(project_file, progress)
            fit_classifier(project_file, progress)
            judge_bundle(project_file, datetime.now(UTC), progress)
            told = decide_on_bundle(project_file, datetime.now(UTC), progress)
            leave_decision(project_file)
            progress.finish()
            return told
