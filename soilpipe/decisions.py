"""Who is in use: every promotion and roll-back is a record, and the champion is what the records add up to.

A detector stands alone. Encoder and classifier are one bundle: one record promotes both, and one takes both back, so
that no kill between two writes can leave a classifier on embeddings that it was not made for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from soilpipe.config import FrozenModel
from soilpipe.records import Records
from soilpipe.roles import BUNDLE, HOW_MADE, ModelError, check_role, shipped_folder
from soilpipe.store import Store

SHIPPED = "shipped"
NONE = "none"
"""In a record, where no version was, or is, in use. No version can be called so: they are hex digits."""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may replace the champion by its figures, in words, and the figures (JSON-able).

    undecided: nothing speaks against it either; there is too little to judge by, or it is for a person to decide.
    """

    passed: bool
    words: str
    figures: Mapping[str, Any]
    undecided: bool = False


class Decision(FrozenModel):
    """One promotion or roll-back. ``version`` is in use from then on, ``previous`` was before; `none` where none is.

    together: what else of the bundle is in use from then on, {role: version}; empty for a detector.
    """

    role: str
    action: Literal["promote", "rollback"]
    version: str
    previous: str
    sequence: int
    decided_at: AwareDatetime
    forced: bool
    reason: str
    figures: dict[str, Any]
    together: dict[str, str] = Field(default_factory=dict)

    def version_of(self, role: str) -> str | None:
        """What of a role is in use from this decision on; None where nothing is."""
        version = self.version if role == self.role else self.together.get(role, NONE)
        return None if version == NONE else version


PROMOTIONS = Records("promotions", Decision, "a promotion record", ModelError)


def decisions(store: Store, role: str) -> list[Decision]:
    """Every promotion and roll-back that concerns a role, in order; those of a bundle concern both of its roles."""
    check_role(role)
    concerned = BUNDLE if role in BUNDLE else (role,)
    found = [decision for decision in PROMOTIONS.all(store) if decision.role in concerned]
    return sorted(found, key=lambda d: (d.sequence, d.decided_at, d.version))


def known(store: Store, role: str) -> int:
    """How many decisions concern a role: what one judges by now holds while there are no more."""
    return len(decisions(store, role))


def in_use(store: Store, role: str) -> str | None:
    """The version in use: the one last promoted and not rolled back, else the one that comes with the package, else
    None."""
    return _reigns(store, role)[-1].get(role)


def reigned(store: Store, role: str) -> list[str]:
    """The versions of a role that were in use through time, as roll-backs lead through it; the present one last."""
    return [line[role] for line in _reigns(store, role) if role in line]


def champion(store: Store, role: str = "detector") -> str:
    """The same; ModelError where none is in use."""
    version = in_use(store, role)
    if version is None:
        raise ModelError(
            f"no {role} is in use in this project: none was promoted yet. {HOW_MADE[role]} makes candidates, and "
            f"`soilpipe models list --role {role}` shows those there are"
        )
    return version


def rollback(store: Store, role: str, reason: str, now: datetime) -> Decision:
    """Bring back what was in use before the present version of a role; of a bundle, both that were then."""
    seen, line = known(store, role), _reigns(store, role)
    if len(line) == 1:
        raise ModelError(
            f"the {role} in use is the one that comes with the package; there is none before it"
            if role in line[0]
            else f"no {role} is in use, so there is nothing to take back"
        )
    present, before = line[-1], _before(line, role)[-1]
    return decide(
        store,
        role,
        "rollback",
        before.get(role, NONE),
        present.get(role, NONE),
        now,
        False,
        reason,
        {},
        together={other: version for other, version in before.items() if other != role},
        seen=seen,
    )


def permitted(verdict: Verdict, what: str, reason: str, force: bool, *, asked: str) -> dict[str, Any]:
    """The figures of a promotion as its record will give them back. `what` is promoted; `asked`: what a reason is to
    say. ModelError when the gate is shut and not forced, and when it is forced without a reason."""
    if not verdict.passed and not force:
        raise ModelError(
            f"{what} is not promoted: {verdict.words}. To promote it all the same, use --force with a --reason"
        )
    if force and not reason.strip():
        raise ModelError(f"forcing {what} needs a reason: say in a sentence {asked}")
    figures: dict[str, Any] = json.loads(json.dumps({**verdict.figures, "verdict": verdict.words}))
    return figures


def decide(
    store: Store,
    role: str,
    action: Literal["promote", "rollback"],
    version: str,
    previous: str,
    now: datetime,
    forced: bool,
    reason: str,
    figures: Mapping[str, Any],
    *,
    together: Mapping[str, str] | None = None,
    seen: int | None = None,
) -> Decision:
    """Write the record of a promotion or roll-back; from then on ``version`` is the champion.

    together: of a bundle, the version of the other role; a role that is not named has none in use from then on. seen:
    how many decisions were `known` when this one was judged; None: those there are now. ModelError where another one
    was made since, here or on another machine: a verdict on what is no longer in use decides nothing.
    """
    before = known(store, role)
    sequence = before if seen is None else seen
    decision = Decision(
        role=role,
        action=action,
        version=version,
        previous=previous,
        sequence=sequence,
        decided_at=now.astimezone(UTC),
        forced=forced,
        reason=reason.strip(),
        figures=dict(figures),
        together=dict(together or {}),
    )
    # The name is that of the place in the line, which only one decision can take.
    name = f"{'bundle' if role in BUNDLE else role}-{sequence:06d}"
    if sequence != before or not PROMOTIONS.add_new(store, name, decision):
        raise ModelError(
            f"meanwhile another decision on the {role} in use was made, so this {action} of {version} was not: it was "
            f"judged against what is no longer in use. See `soilpipe models list --role {role}`, and run it again if "
            "it is still wanted"
        )
    return decision


def _reigns(store: Store, role: str) -> list[dict[str, str]]:
    """What was in use through time, {role: version}, as roll-backs would lead through it; the present one last."""
    found = decisions(store, role)
    line: list[dict[str, str]] = [{role: SHIPPED} if shipped_folder(role) else {}]
    for decision in found:
        if decision.action == "promote":
            both = {decision.role: decision.version, **decision.together}
            line.append({one: version for one, version in both.items() if version != NONE})
        else:
            line = _before(line, decision.role)
    return line


def _before(line: list[dict[str, str]], role: str) -> list[dict[str, str]]:
    """The line without its last reign, and without those before it that had the same version of the role."""
    present = line[-1].get(role)
    kept = line[:-1] or line
    while len(kept) > 1 and kept[-1].get(role) == present:
        kept = kept[:-1]
    return kept
