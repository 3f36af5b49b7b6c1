"""The worker process: what happens in it stays in it."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from soilpipe.ingest.arrivals import Arrival
from soilpipe.store import Entry
from tasks.ingest import _read_or_refuse, ingest_here, quarantine_here, scan_timeout_s
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


def test_a_file_has_the_time_that_its_size_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = [scan_timeout_s(size, 1.2e9) / 60 for size in (0, 10_000, 50_000_000, 1_670_000_000)]
    assert [round(one) for one in minutes] == [1, 1, 13, 67]
    assert scan_timeout_s(50_000_000, 1e6) < scan_timeout_s(50_000_000, 1.2e9), "a project of small scans waits less"
    given: list[float] = []
    monkeypatch.setattr(Isolated, "call", lambda self, *_: given.append(self._timeout_s) or "read")
    monkeypatch.setattr("tasks.ingest.opened", lambda _: SimpleNamespace(project=SimpleNamespace(max_pixels=1.2e9)))
    worker = Isolated(timeout_s=20)
    for size in (10_000, 50_000_000):
        arrival = Arrival(Entry("a.jp2", size, 0.0), "a.jp2", None, None)
        assert _read_or_refuse(worker, ingest_here, quarantine_here, "p", "A", arrival, datetime.now(UTC)) == "read"
    assert [round(one / 60) for one in given] == [1, 13]


def test_closing_ends_the_process(worker: Isolated) -> None:
    pid = worker.call(os.getpid)
    worker.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
