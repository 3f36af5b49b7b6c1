"""Prefect's runner, ending as it should on SIGTERM."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.runner import Runner


class ProjectRunner(Runner):
    """Starts a process for each flow run that is due, and ends them all when it is told to stop.

    Prefect 3.8's own handler of SIGTERM calls `stop()` in the thread of its event loop, which makes a coroutine and
    never awaits it: the runs at work are left behind.

    `beside`: runners that work at the same time, each with its own limit, and stop when this one does.
    """

    beside: tuple[ProjectRunner, ...] = ()
    _asked_to_stop: bool = False
    _stopping: asyncio.Task[None] | None = None
    _leader: ProjectRunner | None = None

    async def start_all(self) -> None:
        """Work until told to stop, this runner and those beside it; told before this, they stop once they started."""
        for one in (self, *self.beside):
            one._loop = asyncio.get_running_loop()
            one._leader = self  # each that starts takes SIGTERM for itself, which is meant for all
            if self._asked_to_stop:
                one._begin_to_stop()
        await asyncio.gather(*(one.start() for one in (self, *self.beside)))

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Stop all that work together. It raises nothing: a signal can come in the middle of anything."""
        leader = self._leader or self
        leader._asked_to_stop = True
        for one in (leader, *leader.beside):
            if one._loop is not None and not one._loop.is_closed():
                one._loop.call_soon_threadsafe(one._begin_to_stop)

    def _begin_to_stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop_when_started())

    async def _stop_when_started(self) -> None:
        while not self.started:
            await asyncio.sleep(0.05)
        await self.astop()
