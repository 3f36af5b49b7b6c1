"""Runners that work together are stopped together, whenever the signal comes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.project_runner import ProjectRunner
from deployments.serve import _stopped_by_signals

PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]


class Waiting(ProjectRunner):
    """Stands in for a runner that polls a server: `astop` alone ends it."""

    def __init__(self, starts_after_s: float) -> None:
        super().__init__(pause_on_shutdown=False)
        self.starts_after_s = starts_after_s
        self.stopped = 0

    async def start(self, run_once: bool = False, webserver: bool | None = None) -> None:
        signal.signal(signal.SIGTERM, self.handle_sigterm)  # as Prefect's does
        self.ended = asyncio.Event()
        await asyncio.sleep(self.starts_after_s)
        self.started = True
        await self.ended.wait()

    async def astop(self) -> None:
        self.stopped += 1
        self.ended.set()


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.4], ids=["at once", "one has started", "both have started"])
def test_a_signal_to_whichever_took_it_last_stops_all(after_s: float) -> None:
    runner, beside = Waiting(0.02), Waiting(0.2)
    runner.beside = (beside,)
    signal.signal(signal.SIGTERM, runner.handle_sigterm)

    async def work() -> None:
        asyncio.get_running_loop().call_later(after_s, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(runner.start_all(), PATIENCE_S)

    asyncio.run(work())

    assert (runner.stopped, beside.stopped) == (1, 1)


def test_a_signal_before_anything_works_is_not_lost() -> None:
    runner, beside = Waiting(0.02), Waiting(0.02)
    runner.beside = (beside,)

    runner.handle_sigterm()
    asyncio.run(asyncio.wait_for(runner.start_all(), PATIENCE_S))

    assert (runner.stopped, beside.stopped) == (1, 1)


def test_impatience_after_the_end_does_nothing() -> None:
    runner = Waiting(0.0)
    runner.handle_sigterm()
    asyncio.run(asyncio.wait_for(runner.start_all(), PATIENCE_S))

    runner.handle_sigterm()

    assert runner.stopped == 1


def test_a_signal_in_the_middle_of_a_text_that_is_executed_ends_a_module_cleanly(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            from {_stopped_by_signals.__module__} import _stopped_by_signals
            with _stopped_by_signals():
                exec("os.kill(os.getpid(), signal.SIGINT)\\nfor _ in range(1000): pass")
                raise AssertionError("the signal was not told")
            sys.exit(0)
            """
        )
    )
    places = os.pathsep.join((str(tmp_path), str(ROOT)))
    ended = subprocess.run([sys.executable, "-m", "interrupted"], env={**os.environ, "PYTHONPATH": places}, check=False)
    assert ended.returncode == 0
