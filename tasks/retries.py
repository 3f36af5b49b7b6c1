"""When a task is worth trying again: only for what can pass by itself."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}
"""Errors of the system that no waiting mends: a full or read-only disk."""
RETRIES = 3

IO_TASK: dict[str, Any] = {
    "cache_policy": NO_CACHE,  # the store is the truth, not Prefect's cache
    "persist_result": False,
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": lambda task, task_run, state: may_pass(state.result(raise_on_failure=False)),
}
"""What every task here is declared with."""


def may_pass(error: object) -> bool:
    """Whether this error, or one that it was raised from, is a time-out or an I/O error that can pass by itself."""
    return any(_passes(one) for one in _chain(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(
        error, FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError | NotADirectoryError
    ):
        return False
    # Image libraries raise bare OSErrors without a number for what they cannot read: that is the file, not the disk.
    return isinstance(error, OSError) and error.errno is not None and error.errno not in LASTING


def _chain(error: object) -> Iterator[BaseException]:
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
