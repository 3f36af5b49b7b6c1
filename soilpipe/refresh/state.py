"""How far a refresh is, on this machine's disk.

A refresh keeps its work in a folder of the user's cache: what a killed one had finished, the next one takes up. One
process at a time holds the folder's lock, which the system lets go of however that process ends. The folder and its
lock are of one user on one machine. Two machines that refresh one project at once do the work twice: neither breaks
what the other registers, since versions are named by their content, but both decide, each beside what is in use when
it does, and the replay memory is that of the later one. Let one machine serve a project.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from soilpipe.atomic import write_atomically
from soilpipe.config import FrozenModel, RefreshPlan
from soilpipe.config.frozen import UtcTime
from soilpipe.errors import SoilpipeError
from soilpipe.locks import HeldError, only_one
from soilpipe.store import canonical_json
from soilpipe.user_cache import cache_folder

STATE = "refresh.json"
LOCK = "lock"
CORPUS, PRETRAIN, FIT, JUDGE, DECIDE = STEPS = ("corpus", "pretrain", "classifier", "judge", "decide")


class RefreshError(SoilpipeError):
    """A refresh cannot be made or taken up."""


class AtWorkError(RefreshError):
    """Another refresh of this project is at work on this machine."""


class RefreshState(FrozenModel):
    """One refresh: what it was begun with, and what its finished steps gave.

    read_from, read_until: by scanner when the newest scan was captured that a refresh before had before it, and that
    this one has (UTC). It learns from what came in between, and from earlier scans that came late (`new_scans`). A
    scanner without the one is read from its first scan on, one without the other not at all. since, until: the
    earliest and the latest of these, for people. begun_from: the encoder whose weights it goes on with. done: {step:
    what it gave}, JSON. failures: {step: errors}, in words, one a run, of steps that have not been done since.
    failed_now: steps that have failed in the present run. of_scans: steps whose failures all lay in what was read.
    notes: what else a person should know.
    """

    run_id: str
    begun_at: UtcTime
    since: UtcTime | None
    until: UtcTime | None
    begun_from: str
    plan: RefreshPlan
    seed: int
    read_from: Mapping[str, UtcTime] = {}
    read_until: Mapping[str, UtcTime] = {}
    done: Mapping[str, Mapping[str, Any]] = {}
    failures: Mapping[str, tuple[str, ...]] = {}
    failed_now: tuple[str, ...] = ()
    of_scans: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def after(self, step: str, gave: Mapping[str, Any]) -> RefreshState:
        """The same with one more step done: what it failed of before is over."""
        failures = {one: errors for one, errors in self.failures.items() if one != step}
        return self.model_copy(update={"done": {**self.done, step: dict(gave)}, "failures": failures})

    def again(self) -> RefreshState:
        """The same when another run takes it up."""
        return self.model_copy(update={"failed_now": ()})

    def failed(self, step: str, error: str, *, of_scans: bool = False) -> RefreshState:
        """The same once a step has ended with an error, in words; of_scans: which lies in what was read. A step that is
        tried again in one run has failed once."""
        before = self.failures.get(step, ())
        errors = (*(before[:-1] if step in self.failed_now else before), error)
        others = tuple(one for one in self.of_scans if one != step)
        lies = of_scans and (not before or step in self.of_scans)
        return self.model_copy(
            update={
                "failures": {**self.failures, step: errors},
                "failed_now": (*(one for one in self.failed_now if one != step), step),
                "of_scans": (*others, step) if lies else others,
            }
        )


def refresh_folder(root: str) -> Path:
    """Where the refreshes of the store at `root` work: a folder of the user's cache."""
    return cache_folder("refresh") / hashlib.sha256(root.encode()).hexdigest()[:12]


@contextmanager
def alone_at_work(work: Path) -> Iterator[None]:
    """Hold the folder's lock. AtWorkError where another process does."""
    with ExitStack() as held:
        try:
            held.enter_context(only_one(work / LOCK))
        except HeldError as error:
            raise AtWorkError(
                f"another refresh of this project is at work (process {error.process}); it takes everything there is, "
                "so there is nothing to do here"
            ) from None
        yield


def read_state(work: Path) -> RefreshState | None:
    """The refresh that was begun in this folder and is not done; None where there is none, or none that can be read."""
    try:
        return RefreshState.model_validate_json((work / STATE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(work: Path, state: RefreshState) -> None:
    """Keep how far a refresh is; whole or not at all."""
    write_atomically(work / STATE, work, iter((canonical_json(state.model_dump(mode="json")),)))


def forget(work: Path, but: Collection[str] = ()) -> None:
    """Remove what refreshes left in the folder: everything but the lock, and what is named."""
    (work / STATE).unlink(missing_ok=True)  # first: without it nothing else counts
    for path in work.iterdir() if work.is_dir() else ():
        if path.name in (LOCK, *but):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def new_run_id(now: datetime, begun_from: str, plan: RefreshPlan) -> str:
    """Named by its beginning and what it was begun with."""
    content = canonical_json({"from": begun_from, "plan": plan.model_dump(mode="json")})
    return f"{now:%Y%m%dT%H%M%S%fZ}-{hashlib.sha256(content).hexdigest()[:8]}"
