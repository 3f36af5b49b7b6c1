"""The gate of detectors: whether a candidate may take the champion's place by its figures.

Both must have been evaluated, as runs use them, on random tiles of the same hold-out of the project, which serves
nothing else; what shows, or neighbours in time, what one of them was trained on does not count. The candidate is
compared with the best of all that were ever champions and judged on these tiles, by
paired draws of scanner-days (`detect.gate`): the lower bound of the change in AP50 is at least -1 point; recall and
false alarms of no common taxon are clearly worse; recall of the smallest size class is not lower. With too few labels
nothing is decided: it stays a candidate, and the words say what is missing. What passes then runs over the scans of
the last seven days beside the champion: where counts of a common taxon would jump, or where there are too few scans to
tell, a person decides (`last_week`).
Forcing needs a reason. The decision keeps the figures.

Encoder and classifier are judged and promoted as one bundle: `bundles.promotion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from soilpipe.decisions import Verdict, known, permitted
from soilpipe.evaluations import EvaluationRecord, evaluations, summary
from soilpipe.models import (
    SHIPPED,
    Decision,
    ModelError,
    champion,
    check_loads,
    content_of,
    decide,
    decisions,
    model_path,
    resolve,
)
from soilpipe.roles import BUNDLE, CLASSIFIER, ENCODER
from soilpipe.store import Store
from soilpipe.taxonomy import SOIL, Taxonomy

if TYPE_CHECKING:
    from soilpipe.last_week import WeekCounts


def promote(
    store: Store,
    role: str,
    version: str,
    reason: str,
    force: bool,
    now: datetime,
    taxonomy: Taxonomy = SOIL,
    *,
    last_week: Callable[[str, str], WeekCounts] | None = None,
) -> Decision:
    """Make a version the champion, from the next scan on. Raises ModelError when the gate is shut and not forced.

    last_week: what version and champion, given in this order, find on the scans of the last days. It is asked where the
    figures allow the promotion; where the counts differ (`last_week.unlike`), or too few scans tell whether they do
    (`last_week.why_untold`), a person decides, by forcing it.
    """
    if role in BUNDLE:
        raise ModelError(
            f"an {ENCODER} and its {CLASSIFIER} are promoted as one, by `bundles.promotion.promote_bundle`"
        )
    version = resolve(store, role, version)
    check_loads(role, model_path(store, role, version))
    seen = known(store, role)
    present = champion(store, role)
    if version == present:
        raise ModelError(f"{version} is the champion of role {role} already; there is nothing to promote")
    verdict = judge(store, role, version, present, taxonomy)
    if verdict.passed and last_week is not None:
        verdict = with_last_week(verdict, last_week(version, present))
    figures = permitted(verdict, version, reason, force, asked=f"why it should replace {present}")
    return decide(store, role, "promote", version, present, now, not verdict.passed, reason, figures, seen=seen)


def with_last_week(verdict: Verdict, counts: WeekCounts) -> Verdict:
    """A verdict that passes, once both have run over the last days; shut where they would count differently, and where
    that cannot be told."""
    from soilpipe.last_week import FACTOR, unlike, why_untold

    figures = {**verdict.figures, "last_week": asdict(counts)}
    words = []
    if untold := why_untold(counts):
        words.append(untold)
    if differing := unlike(counts):
        words.append(
            f"on the {counts.scans} scans of the last 7 days the counts of common taxa differ by more than a factor of "
            f"{FACTOR:g} ({', '.join(differing)})"
        )
    if not words:
        return Verdict(True, verdict.words, figures)
    return Verdict(False, f"{verdict.words}; but {', and '.join(words)}, so a person decides", figures)


def judge(store: Store, role: str, version: str, present: str, taxonomy: Taxonomy = SOIL) -> Verdict:
    """The gate on what the store knows of a candidate, of the present champion and of those before it."""
    from soilpipe.detect.gate import compare, sample_of

    ours = evaluations(store, role, content_of(store, role, version))
    usable = _usable(ours)
    if not usable:
        return Verdict(False, _why_unusable(version, ours), {"candidate": _told(ours[-1] if ours else None)})
    theirs = evaluations(store, role, content_of(store, role, present))
    champions = _usable(theirs)
    pair = next(((new, old) for new in usable for old in champions if sample_of(new) == sample_of(old)), None)
    if theirs and not champions:
        words = f"the champion {present} cannot be compared with: {_why_unusable(present, theirs)}"
        return Verdict(False, words, {"candidate": _told(usable[0]), "champion": _told(theirs[-1])})
    if pair is None:
        return Verdict(
            False,
            f"the champion {present} was not evaluated on the same labels, so they cannot be compared; run "
            f"`soilpipe evaluate detector --version {present}` and the same for {version}",
            {"candidate": _told(usable[0]), "champion": _told(champions[0] if champions else None)},
        )
    candidate = pair[0]
    rival = _best(candidate, [pair[1], *_earlier(store, role, version, sample_of(candidate))])
    compared = compare(candidate, rival, taxonomy)
    figures = {"candidate": _told(candidate), "rival": _told(rival), "comparison": dict(compared.figures)}
    if compared.missing:
        return Verdict(
            False,
            f"it stays a candidate, because there are too few labels to judge by: {', '.join(compared.missing)}. Draw "
            "and label more tiles (`soilpipe label draw`), then evaluate both again",
            figures,
        )
    against = f"against {rival.name} ({rival.version}) on {compared.figures['tiles']} held-out tiles"
    if compared.worse:
        return Verdict(False, f"{against} it is worse in this: {'; '.join(compared.worse)}", figures)
    ap50 = compared.figures["ap50"]
    return Verdict(
        True, f"AP50 {ap50['rival']:.3f} -> {ap50['candidate']:.3f} {against}, no worse in the rest", figures
    )


def _usable(records: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """Those on the hold-out, as runs use the version; newest first."""
    return [record for record in reversed(records) if record.sample == "hold-out" and record.validation == "local"]


def _earlier(store: Store, role: str, version: str, sample: str) -> list[EvaluationRecord]:
    """The last evaluation on this sample of every version that ever was champion."""
    from soilpipe.detect.gate import sample_of

    found = []
    for name in dict.fromkeys((SHIPPED, *(d.version for d in decisions(store, role) if d.action == "promote"))):
        try:
            content = content_of(store, role, name)
        except ModelError:
            continue  # its files are gone: it cannot be what one would go back to
        if name != version:
            found += [r for r in _usable(evaluations(store, role, content)) if sample_of(r) == sample][:1]
    return found


def _best(candidate: EvaluationRecord, rivals: Sequence[EvaluationRecord]) -> EvaluationRecord:
    """Of the present champion, which comes first, and those before it the best, each on the tiles that it shares with
    the candidate. Where these are too few, an earlier one is passed over, and the champion is the measure."""
    from soilpipe.detect.gate import shared_ap50

    figures = [shared_ap50(rival, candidate) for rival in rivals]
    if figures[0] is None:
        return rivals[0]
    return max(zip(rivals, figures, strict=True), key=lambda one: -1.0 if one[1] is None else one[1])[0]


def _why_unusable(version: str, records: Sequence[EvaluationRecord]) -> str:
    run = f"`soilpipe evaluate detector --version {version}`"
    if not records:
        return f"it has no evaluation on labels of this project; run {run}"
    last = records[-1]
    if last.sample == "file":
        return (
            "it was evaluated only on a label file that was given, which it may have been trained on; the gate needs "
            f"the project's own hold-out: run {run} without --labels"
        )
    if last.sampled is None:
        return f"its evaluation is of an earlier release, which did not look for neighbours in time; run {run}"
    if not last.as_used:
        return f"it was not evaluated as runs use it, on all tiles and with its own threshold and difference; run {run}"
    if last.sampled.missing_in_words():
        return f"{last.sampled.missing_in_words()}. Label more (`soilpipe label draw`), then run {run}"
    return f"its evaluation is of an earlier release; run {run}"


def _told(record: EvaluationRecord | None) -> dict[str, Any]:
    """A record's figures for the decision, without its matches."""
    short = summary(record)
    if record is None or short is None:
        return {}
    return {
        **asdict(short),
        "evaluated_at": short.evaluated_at.isoformat(),
        "version": record.version,
        "labels_sha256": record.labels_sha256,
    }
