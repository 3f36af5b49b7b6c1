"""What goes wrong in a refresh, and how the training goes, reaches the person who looks."""

from __future__ import annotations

import logging
import threading

import pytest
from rich.progress import Progress

from deployments.running import _Bars
from flows import refresh_progress
from flows.progress import Step, listening
from flows.refresh_progress import RefreshProgress


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> RefreshProgress:
    monkeypatch.setattr(refresh_progress, "get_run_logger", lambda: logging.getLogger("of the flow"))
    monkeypatch.setattr(RefreshProgress, "_show", lambda *_: None)
    return RefreshProgress("casca")


def test_what_the_library_warns_of_is_told_as_a_warning_and_nothing_after_the_refresh(
    progress: RefreshProgress,
) -> None:
    heard: list[Step] = []
    library = logging.getLogger("soilpipe.pretrain.learning_memory")
    with listening(heard.append):
        with progress.with_warnings():
            progress("pretrain", "pretraining: loss 3", 1, 10)
            threads = threading.Thread(target=lambda: library.warning("no memory for %d crops", 64))
            threads.start()
            threads.join()
            library.info("not for a person")
        library.warning("later")
    warnings = [step for step in heard if step.level == "warning"]
    assert warnings == [Step("casca", "pretrain", "no memory for 64 crops", "warning")]


def test_the_bar_of_a_training_shows_loss_and_rank() -> None:
    with Progress(disable=True) as shown:
        bars = _Bars(shown)
        note = "pretraining: loss 3.21, effective rank 14.2, standard deviation 0.7, alignment 0.2, uniformity -2"
        bars(Step("casca", "pretrain", note, "info", 10, 100))
        bars(Step("A20", "detect", "2 animals", "info", 1, 4))
        told = [task.description for task in shown.tasks]
    assert told == ["casca training the encoder (loss 3.21, effective rank 14.2)", "A20 detecting"]
