"""Prefect's runner, ending as it should on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from prefect.runner import Runner


class ProjectRunner(Runner):
    """Starts a process for each flow run that is due, and ends them all when it is told to stop.

    Prefect 3.8's own handler of SIGTERM calls `stop()` in the thread of its event loop, which makes a coroutine and
    never awaits it: the runs at work are left behind.

    `beside`: runners that work at the same time, each with its own limit, and stop when this one does.
    """

    beside: tuple[ProjectRunner, ...] = ()
    _stopping: asyncio.Task[None] | None = None

    async def start_all(self) -> None:
        """Work until told to stop, this runner and those beside it."""
        others = [asyncio.ensure_future(one.start()) for one in self.beside]
        own = asyncio.ensure_future(self.start())
        while not all(one.started for one in (self, *self.beside)) and not own.done():
            await asyncio.sleep(0.05)
        signal.signal(signal.SIGTERM, self.handle_sigterm)  # each that starts takes the signal for itself
        await asyncio.gather(own, *others)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        if self._loop is None:
            raise KeyboardInterrupt  # nothing is at work yet
        for one in (self, *self.beside):
            if one._stopping is None:
                self._loop.call_soon_threadsafe(one._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._stopping = asyncio.ensure_future(self._stop_when_started())

    async def _stop_when_started(self) -> None:
        while not self.started:
            await asyncio.sleep(0.05)
        await self.astop()
