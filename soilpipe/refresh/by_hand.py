"""Putting a bundle to use by hand: judged as a refresh judges its own."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from soilpipe.bundles.judging import hold_out_labels
from soilpipe.bundles.last_week import with_week
from soilpipe.bundles.promotion import Bundle, bundle_of, check_bundle, check_usable, classifiers_on, promote_bundle
from soilpipe.config import Project
from soilpipe.decisions import Decision, Verdict, known
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.models import card_of, resolve
from soilpipe.refresh.bundle import fit_into
from soilpipe.refresh.verdict import BASELINE, NO_HOLD_OUT, judged_baseline, judged_with_rivals, verdict_of
from soilpipe.roles import CLASSIFIER, ModelError
from soilpipe.store import Store


def promote_by_hand(
    project: Project,
    store: Store,
    role: str,
    version: str,
    now: datetime,
    *,
    classifier: str | None = None,
    reason: str = "",
    force: bool = False,
    device: str | None = None,
) -> Decision:
    """Judge a registered bundle as a refresh does, and put it to use where it may be; ModelError with what is missing.

    role encoder: with the classifier on it, which `classifier` names where there are several. role classifier: on the
    encoder in use; one on another encoder is refused.
    """
    seen = known(store, role)
    version = resolve(store, role, version)
    if role == CLASSIFIER:
        check_usable(store, card_of(store, CLASSIFIER, version), version)
        bundle = bundle_of(store, version)
    else:
        bundle = Bundle(version, _classifier_on(store, version, classifier))
    check_bundle(store, bundle)
    with tempfile.TemporaryDirectory(prefix="soilpipe-") as folder:
        on = hold_out_labels(project, store, Path(folder))
        if on is None or not on.tiles:
            nothing = Verdict(False, NO_HOLD_OUT, {}, True)
            return promote_bundle(store, bundle, nothing, now, reason=reason, force=force, seen=seen)
        records = judged_with_rivals(project, store, bundle, on, now, device=device, tell=_silent)
        out = Path(folder) / BASELINE
        trunk = trunk_in_use(store, project.detector)
        if len(records) == 1 and fit_into(project, store, encoder_at(store, trunk, device), out, _silent) is None:
            records.append(judged_baseline(project, store, out, on, now, device))
    verdict = verdict_of(project, store, bundle, records)
    verdict = with_week(project, store, verdict, bundle, now=now, device=device)
    return promote_bundle(store, bundle, verdict, now, reason=reason, force=force, seen=seen)


def _classifier_on(store: Store, encoder: str, named: str | None) -> str:
    if named is not None:
        return resolve(store, CLASSIFIER, named)
    there = classifiers_on(store, encoder)
    if len(there) == 1:
        return there[0]
    if there:
        raise ModelError(f"{len(there)} classifiers stand on encoder {encoder}: {', '.join(there)}. Say --with which")
    raise ModelError(
        f"no classifier stands on encoder {encoder}, and the one in use cannot read its embeddings. Fit one with "
        f"`soilpipe train classifier --encoder {encoder}`"
    )


def _silent(step: str, note: str, done: int, of: int) -> None:
    """A `Progress` that nobody listens to."""
