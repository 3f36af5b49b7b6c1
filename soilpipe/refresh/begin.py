"""The beginning of a refresh: a new one, or one that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from soilpipe import layout
from soilpipe.config import Project, RefreshPlan
from soilpipe.encoders import encoder_to_begin_from
from soilpipe.model_cache import CARD
from soilpipe.refresh.failures import drop, why_dropped
from soilpipe.refresh.new_scans import FILE, had_before, look, note_new
from soilpipe.refresh.own import encoder_made
from soilpipe.refresh.records import RefreshRecord, dropped, refreshes
from soilpipe.refresh.state import CORPUS, PRETRAIN, RefreshState, forget, new_run_id, read_state, write_state
from soilpipe.refresh.steps import corpus_budget
from soilpipe.roles import ENCODER
from soilpipe.store import Store


def begin(
    project: Project, store: Store, work: Path, *, plan: RefreshPlan, now: datetime, seed: int = 0
) -> RefreshState:
    """The refresh to do: one that was begun in this folder and is not done, else a new one.

    One that was begun with another budget, or from another encoder than would be begun from now, is dropped; so is one
    that cannot be finished (`failures`). A record of it stays and the new one says so. Where the budget differs in what
    the training may use alone, the new one has the crops that were chosen.
    """
    done = refreshes(store)
    begun_from = encoder_to_begin_from(store, _last_candidate(store, done), project.detector)
    before = read_state(work)
    notes: tuple[str, ...] = ()
    chosen: RefreshState | None = None
    if before is not None:
        failed = why_dropped(store, before, now)
        reason = failed or _outdated(before, plan, begun_from)
        if reason is None:
            write_state(work, before := before.again())
            return before
        told = f"The refresh before, {before.run_id}, was given up: {drop(store, work, before, reason, now).reason}"
        if failed is None and _same_crops(before, plan, begun_from):
            chosen = before
            told += ". Its crops are taken up"
        notes = (told,)
    forget(work, but=() if chosen is None else (CORPUS, FILE))
    if chosen is None:
        state = _new(project, store, work, done, begun_from, plan, now, seed)
    else:
        named = {"run_id": new_run_id(now, begun_from, plan), "begun_at": now, "plan": plan}
        failed_in_nothing: dict[str, Any] = {"failures": {}, "failed_now": (), "of_scans": ()}
        state = chosen.model_copy(update={**named, **failed_in_nothing, "done": {CORPUS: chosen.done[CORPUS]}})
    state = state.model_copy(update={"notes": (*state.notes, *notes)})
    write_state(work, state)
    return state


def _new(
    project: Project,
    store: Store,
    work: Path,
    done: Sequence[RefreshRecord],
    begun_from: str,
    plan: RefreshPlan,
    now: datetime,
    seed: int,
) -> RefreshState:
    had = had_before(project, store, done, dropped(store))
    found, read_from = look(project, store, had, now), had.read_until
    note_new(work, found.new)
    since = [min(read_from[one], at) for one, at in found.earliest.items() if one in read_from]
    return RefreshState(
        run_id=new_run_id(now, begun_from, plan),
        begun_at=now,
        since=min(since, default=None) if len(since) == len(found.new) else None,
        until=max(found.newest.values(), default=None),
        begun_from=begun_from,
        plan=plan,
        seed=seed,
        read_from=read_from,
        read_until=found.newest,
    )


def _last_candidate(store: Store, done: Sequence[RefreshRecord]) -> str | None:
    """The encoder of the last refresh that nothing spoke against and that is still there."""
    for record in reversed(done):
        if record.outcome == "candidate" and store.exists(f"{layout.model_folder(ENCODER, record.encoder)}/{CARD}"):
            return record.encoder
    return None


def _outdated(state: RefreshState, plan: RefreshPlan, begun_from: str) -> str | None:
    """In words, why a refresh is not the one that is asked for now; None where it is.

    What was put to use meanwhile may be its own bundle.
    """
    if begun_from not in (state.begun_from, encoder_made(state) if PRETRAIN in state.done else None):
        return f"it was begun from {state.begun_from}, and as others are in use now, one begins from {begun_from}"
    before, now = _budget(state.plan), _budget(plan)
    other = [name for name in now if now[name] != before[name]]
    if not other:
        return None
    return f"it was begun with {_listed(before, other)}, and this one is to have {_listed(now, other)}"


def _same_crops(state: RefreshState, plan: RefreshPlan, begun_from: str) -> bool:
    """Whether the crops that a refresh has chosen are as many, of as many scans, as would be chosen by another plan."""
    same = state.begun_from == begun_from and corpus_budget(state.plan) == corpus_budget(plan)
    return same and CORPUS in state.done


def _budget(plan: RefreshPlan) -> dict[str, Any]:
    return plan.model_dump(exclude={"day", "hour"})


def _listed(budget: Mapping[str, Any], names: Sequence[str]) -> str:
    values = {name: f"{budget[name]:g}" if isinstance(budget[name], float) else str(budget[name]) for name in names}
    return ", ".join(f"{name} {value}" for name, value in values.items())
