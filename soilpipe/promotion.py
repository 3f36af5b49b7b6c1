"""The gate: whether a candidate may take the champion's place by its figures.

In this release a candidate replaces the champion when both cards hold an evaluation on the same labels of this project
(the same hash), and the candidate's AP50 is higher. No hold-out is kept yet, so most promotions must be forced, which
needs a reason; the record says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from soilpipe.models import Decision, ModelError, card_of, champion, check_loads, decide, model_path, resolve
from soilpipe.store import Store


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may replace the champion by its figures, in words, and the figures."""

    passed: bool
    words: str
    figures: Mapping[str, Any]


def promote(store: Store, role: str, version: str, reason: str, force: bool, now: datetime) -> Decision:
    """Make a version the champion, from the next scan on. Raises ModelError when the gate is shut and not forced."""
    version = resolve(store, role, version)
    check_loads(role, model_path(store, role, version))
    present = champion(store, role)
    if version == present:
        raise ModelError(f"{version} is the champion of role {role} already; there is nothing to promote")
    verdict = judge(card_of(store, role, version), card_of(store, role, present))
    if not verdict.passed and not force:
        raise ModelError(
            f"{version} is not promoted: {verdict.words}. To promote it all the same, use --force with a --reason"
        )
    if force and not reason.strip():
        raise ModelError(f"forcing {version} needs a reason: say in a sentence why it should replace {present}")
    figures = {**verdict.figures, "verdict": verdict.words}
    return decide(store, role, "promote", version, present, now, not verdict.passed, reason, figures)


def judge(candidate: Mapping[str, Any], present: Mapping[str, Any]) -> Verdict:
    """The gate of this release, on the cards' `evaluation`: {validation: local, labels_sha256, ap50}."""
    new, old = (card.get("evaluation") or {} for card in (candidate, present))
    figures = {"candidate": dict(new), "champion": dict(old)}
    if new.get("validation") != "local":
        return Verdict(False, "its card has no evaluation on labels of this project", figures)
    if old.get("validation") != "local" or old.get("labels_sha256") != new.get("labels_sha256"):
        return Verdict(False, "the champion was not evaluated on the same labels, so they cannot be compared", figures)
    if not float(new["ap50"]) > float(old["ap50"]):
        return Verdict(
            False,
            f"its AP50 of {new['ap50']:.3f} is not above the champion's {old['ap50']:.3f} on the same labels",
            figures,
        )
    return Verdict(True, f"AP50 {old['ap50']:.3f} -> {new['ap50']:.3f} on the same labels", figures)
