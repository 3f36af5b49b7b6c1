"""One run of one scanner: what it was asked to do, how far it is, and what it met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect.logging import get_run_logger

from flows.problems import Problems
from flows.progress import Level, Stage, Step, tell
from tasks.ingest import SCAN_TIMEOUT_S
from tasks.isolated import Isolated

if TYPE_CHECKING:
    from soilpipe.ingest.arrivals import Arrival


@dataclass
class Run:
    """`ready` and `growing` are what the inbox had when it was looked at; of `ready`, `tried` have had their turn.

    `whole_inbox`: look at all of it, where on S3 a part would do.
    """

    project_file: str
    scanner_id: str
    since: datetime | None
    until: datetime | None
    now: datetime
    whole_inbox: bool = True
    problems: Problems = field(default_factory=Problems)
    worker: Isolated = field(default_factory=lambda: Isolated(SCAN_TIMEOUT_S))
    inbox_known: bool = False
    ready: Sequence[Arrival] = ()
    growing: Sequence[Arrival] = ()
    tried: int = 0

    def close(self) -> None:
        self.worker.close()

    def covers(self, captured_at: datetime | None) -> bool:
        """Whether a scan of that time is within `since` and `until`; one of unknown time always is."""
        if captured_at is None:
            return True
        return (self.since is None or captured_at >= self.since) and (self.until is None or captured_at < self.until)

    def earliest_waiting(self) -> datetime | None:
        """The time of the earliest file whose turn is still to come.

        A file that was tried and failed for a reason of its own does not hold up the others for ever, and neither do
        those that `since` and `until` leave out, or that have been growing for so long that their slot is given up.
        """
        waiting = (*self.ready[self.tried :], *self.growing)
        return min((file.captured_at for file in waiting if file.captured_at is not None), default=None)

    def attempt(self, subject: str, task: Callable[..., Any], *args: Any) -> Any:
        """Run a task and return its result; None when it failed, which is then noted."""
        state = task(*args, return_state=True)
        if state.is_completed():
            return state.result()
        self.problems.add(subject, state.result(raise_on_failure=False))
        return None

    def tell(self, stage: Stage, note: str, level: Level = "info", done: int = 0, total: int = 0) -> None:
        tell(get_run_logger(), Step(self.scanner_id, stage, note, level, done, total))
