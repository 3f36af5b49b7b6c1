"""When a step of a refresh fails: it is noted, so that what cannot be finished does not stand in the way for ever.

A refresh that was killed, or failed once, is taken up by the next one. One that failed twice at one step would fail a
third time, and one that is older than a week has been overtaken by what came since: both are dropped, with a record
that says why, and the next refresh begins anew. What failed on its scans is not given the same scans again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from soilpipe.refresh.records import DROPPED, DroppedRefresh
from soilpipe.refresh.state import RefreshState, read_state, write_state
from soilpipe.store import Store

MOST_FAILURES = 2  # at one step
MOST_AGE = timedelta(days=7, hours=12)
"""The weekly run after it may take a refresh up, at the same hour or, where the clocks were changed, one later."""
OF_SCANS = ("corpus", "pretrain")
"""The steps whose failure lies in what was read."""
LONGEST = 600  # characters of an error that are kept

P = ParamSpec("P")
T = TypeVar("T")
Step = Callable[Concatenate[Any, Store, Path, P], T]


def noted(name: str) -> Callable[[Step[P, T]], Step[P, T]]:
    """For a step of this name, called with project, store and work folder: a failure is noted in the folder's state and
    raised. Having nothing to do is no failure, nor is what can pass by itself (the network, the disk)."""

    def decorate(step: Step[P, T]) -> Step[P, T]:
        @functools.wraps(step)
        def run(project: Any, store: Store, work: Path, *args: P.args, **more: P.kwargs) -> T:
            from soilpipe.pretrain.corpus import NoNewScansError

            try:
                return step(project, store, work, *args, **more)
            except (NoNewScansError, OSError):
                raise
            except Exception as error:
                state = read_state(work)
                if state is not None:
                    write_state(work, state.failed(name, f"{type(error).__name__}: {error}"[:LONGEST]))
                raise

        return run

    return decorate


def why_dropped(state: RefreshState, now: datetime) -> str | None:
    """In words, where a refresh is not to be taken up again; None where it is."""
    for step, errors in state.failures.items():
        if len(errors) >= MOST_FAILURES:
            return f"it failed {len(errors)} times at the step {step}, last with {errors[-1]}"
    if now - state.begun_at > MOST_AGE:
        return (
            f"it was begun on {state.begun_at:%Y-%m-%d %H:%M} UTC and never finished, and more than a week has passed"
        )
    return None


def drop(store: Store, state: RefreshState, reason: str, now: datetime) -> DroppedRefresh:
    """Keep that a refresh was given up, and why."""
    failed = [step for step, errors in state.failures.items() if len(errors) >= MOST_FAILURES]
    record = DroppedRefresh(
        run_id=state.run_id,
        begun_at=state.begun_at,
        dropped_at=now,
        step=failed[0] if failed else "after " + (", ".join(state.done) or "its beginning"),
        reason=reason,
        encoder=state.done.get("pretrain", {}).get("encoder"),
        read_until=state.read_until if any(step in OF_SCANS for step in failed) else {},
    )
    DROPPED.add(store, record.run_id, record)
    return record
