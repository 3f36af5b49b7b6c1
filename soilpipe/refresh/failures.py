"""When a step of a refresh fails: it is noted, so that what cannot be finished does not stand in the way for ever.

A refresh that was killed, or failed once, is taken up by the next one. One that failed in two runs at one step would
fail in a third, and one that is older than a week has been overtaken by what came since: both are dropped, with a
record that says why, and the next refresh begins anew. What failed on its scans is not given the same scans again; a
device that has no memory or a program with a fault does not cost a week of them. What the network or the disk did can
pass by itself, and is no failure of a step at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from soilpipe.refresh.new_scans import keep_read
from soilpipe.refresh.own import encoder_made, encoder_tuned, own_bundle, promotion_of
from soilpipe.refresh.records import DROPPED, DroppedRefresh
from soilpipe.refresh.state import PRETRAIN, RefreshState, read_state, write_state
from soilpipe.store import Store, StoreError

MOST_FAILURES = 2  # runs that failed at one step
MOST_AGE = timedelta(days=7, hours=12)
"""The weekly run after it may take a refresh up, at the same hour or, where the clocks were changed, one later."""
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
            except NoNewScansError:
                raise
            except Exception as error:
                state = None if _may_pass(error) else read_state(work)
                if state is not None:
                    told = f"{type(error).__name__}: {error}"[:LONGEST]
                    write_state(work, state.failed(name, told, of_scans=_of_scans(error)))
                raise

        return run

    return decorate


def _may_pass(error: BaseException) -> bool:
    """Whether it comes of the store, the network or the disk: `Store` tells each OSError as a StoreError."""
    return any(isinstance(one, OSError | StoreError) for one in _causes(error))


def _of_scans(error: BaseException) -> bool:
    """Whether the same scans would end in it again: one cannot be read, or what is learned from them is no number."""
    from soilpipe.pretrain.candidates_unreadable import UnreadableScanError
    from soilpipe.pretrain.learning_recipe import NoNumbersError

    return any(isinstance(one, UnreadableScanError | NoNumbersError) for one in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def why_dropped(store: Store, state: RefreshState, now: datetime) -> str | None:
    """In words, where a refresh is not to be taken up again; None where it is. One whose bundle is put to use lacks no
    more than its record, and is finished however old it is."""
    for step, errors in state.failures.items():
        if len(errors) >= MOST_FAILURES:
            return f"it failed {len(errors)} times at the step {step}, last with {errors[-1]}"
    if now - state.begun_at > MOST_AGE and not _was_put_to_use(store, state):
        return (
            f"it was begun on {state.begun_at:%Y-%m-%d %H:%M} UTC and never finished, and more than a week has passed"
        )
    return None


def drop(store: Store, work: Path, state: RefreshState, reason: str, now: datetime) -> DroppedRefresh:
    """Keep that a refresh was given up, and why. Its scans are read again, but for those that it failed on, and those
    of a bundle that it had put to use."""
    failed = [step for step, errors in state.failures.items() if len(errors) >= MOST_FAILURES]
    used = _was_put_to_use(store, state)
    if used:
        reason += f". Its bundle ({own_bundle(state)}) had been put to use before, and that stands"
    record = DroppedRefresh(
        run_id=state.run_id,
        begun_at=state.begun_at,
        dropped_at=now,
        step=failed[0] if failed else "after " + (", ".join(state.done) or "its beginning"),
        reason=reason,
        encoder=encoder_made(state) if PRETRAIN in state.done else None,
        pretrained=encoder_tuned(state),
        read_until=state.read_until if used or any(step in state.of_scans for step in failed) else {},
    )
    if record.read_until:
        keep_read(store, work, state.run_id)
    DROPPED.add(store, record.run_id, record)
    return record


def _was_put_to_use(store: Store, state: RefreshState) -> bool:
    own = own_bundle(state)
    return own is not None and promotion_of(store, own) is not None
