"""The worker process: what happens in it stays in it."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator

import pytest

from tasks.isolated import Isolated, WorkerCrashedError, WorkerTimeoutError


@pytest.fixture
def worker() -> Iterator[Isolated]:
    made = Isolated(timeout_s=20)
    yield made
    made.close()


def test_calls_run_in_one_other_process(worker: Isolated) -> None:
    first, second = worker.call(os.getpid), worker.call(os.getpid)

    assert first == second != os.getpid()


def test_errors_arrive_as_they_are(worker: Isolated) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        worker.call(os.listdir, "/nowhere")


def test_a_crash_fails_one_call_and_the_next_has_a_new_worker(worker: Isolated) -> None:
    with pytest.raises(WorkerCrashedError, match="SIGABRT"):
        worker.call(os.abort)

    assert worker.call(operator.add, 1, 2) == 3


def test_a_call_that_hangs_is_given_up() -> None:
    worker = Isolated(timeout_s=0.5)

    with pytest.raises(WorkerTimeoutError):
        worker.call(time.sleep, 30)
    worker.close()


def test_closing_ends_the_process(worker: Isolated) -> None:
    pid = worker.call(os.getpid)
    worker.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
