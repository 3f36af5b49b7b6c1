"""How far a refresh is: in its log, to who listens in this process, and as a progress artifact in Prefect's UI."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.progress import RefreshStage, Step, tell

EVERY_S = 5.0
"""Between two messages to the server; a step of training takes a fraction of a second."""
SHARES: dict[RefreshStage, tuple[float, float]] = {
    "corpus": (0, 25),
    "pretrain": (25, 85),
    "classifier": (85, 93),
    "judge": (93, 99),
    "decide": (99, 100),
}
"""Per cent of a refresh at which each stage begins and ends, about."""


class RefreshProgress:
    """What the steps of a refresh are handed to say how far they are: the step, what is done in words, how much of it,
    and of how much. The artifact is a service: a server that does not answer stops no training."""

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id
        self._logger = get_run_logger()  # of the flow: a thread that draws batches has no run of its own
        self._artifact: UUID | None = None
        self._told_at = float("-inf")
        self._told: tuple[str, str] = ("", "")

    def __call__(self, step: str, note: str, done: int, of: int) -> None:
        stage = cast(RefreshStage, step)
        finished = of > 0 and done >= of
        now = time.monotonic()
        # What is being done is told when it begins and when it ends, and in between as often as a person would look.
        if (stage, note.partition(":")[0]) == self._told and not finished and now - self._told_at < EVERY_S:
            return
        self._told, self._told_at = (stage, note.partition(":")[0]), now
        tell(get_run_logger(), Step(self._project_id, stage, note, "info", done, of))
        low, high = SHARES[stage]
        self._show(low + (high - low) * (done / of if of else 0.0), f"{stage}: {note}")

    @contextmanager
    def with_warnings(self) -> Iterator[None]:
        """What the library warns of in this block (a batch that was halved, a training that begins anew) is told too,
        as a warning of the step that was last told."""
        handler = _Warnings(self._warn)
        library = logging.getLogger("soilpipe")
        library.addHandler(handler)
        try:
            yield
        finally:
            library.removeHandler(handler)

    def _warn(self, words: str) -> None:
        stage = cast(RefreshStage, self._told[0] or "corpus")
        tell(self._logger, Step(self._project_id, stage, words, "warning"))

    def finish(self) -> None:
        """All that was to do is done."""
        self._show(100.0, "done")

    def _show(self, per_cent: float, words: str) -> None:
        try:
            if self._artifact is None:
                made = create_progress_artifact(progress=per_cent, key="refresh-progress", description=words)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(artifact_id=self._artifact, progress=per_cent, description=words)
        except Exception as error:
            get_run_logger().debug("progress artifact: %s: %s", type(error).__name__, error)


class _Warnings(logging.Handler):
    """Hands on the words of warnings and worse."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hand_on = told

    def emit(self, record: logging.LogRecord) -> None:
        """A message that cannot be told stops no training."""
        try:
            self._hand_on(record.getMessage())
        except Exception:
            self.handleError(record)
