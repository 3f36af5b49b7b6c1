"""The gate of encoder and classifier: whether a bundle may be put to use, and the record of it.

The candidate is compared with the bundle in use and with the best of those that were ever promoted, or with its own
starting point where none was, on the same labelled crops of the hold-out (`gate`): it must be no worse than either, and
promise no less than the one in use (its alpha).
With too few labels nothing is decided: it stays a candidate, and the words say what is missing. One record promotes
both, and one roll-back takes both back, so a classifier is never used on embeddings of another encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from soilpipe.bundles.enough import counted
from soilpipe.bundles.gate import Comparison, compare, lead, macro_f1
from soilpipe.bundles.records import BundleRecord
from soilpipe.decisions import NONE, Decision, Verdict, decide, decisions, in_use, permitted
from soilpipe.models import card_of, check_loads, list_models, model_path
from soilpipe.roles import CLASSIFIER, DETECTOR, ENCODER, ModelError, encoder_of
from soilpipe.store import Store
from soilpipe.taxonomy import SOIL, Taxonomy

OF_DETECTOR = "detector:"
"""Before the version of a detector whose own trunk serves as the encoder."""


@dataclass(frozen=True)
class Bundle:
    """Versions of an encoder and of the classifier on it. The encoder may be `detector:<version>`, a detector's own
    trunk, which no registry holds as an encoder; a classifier on it is promoted alone."""

    encoder: str
    classifier: str

    def __str__(self) -> str:
        return f"encoder {self.encoder} with classifier {self.classifier}"


def bundle_of(store: Store, classifier: str) -> Bundle:
    """The bundle that a registered classifier belongs to, by its card."""
    return Bundle(encoder_of(card_of(store, CLASSIFIER, classifier), classifier), classifier)


def bundle_in_use(store: Store) -> Bundle | None:
    """What crops are classified with now; None where no classifier is in use."""
    classifier = in_use(store, CLASSIFIER)
    return None if classifier is None else bundle_of(store, classifier)


def ever_promoted(store: Store) -> list[Bundle]:
    """Every bundle that ever was in use and can still be loaded, the first one first."""
    found: dict[Bundle, None] = {}
    for decision in decisions(store, CLASSIFIER):
        classifier = decision.version_of(CLASSIFIER) if decision.action == "promote" else None
        if classifier is None:
            continue
        try:
            bundle = bundle_of(store, classifier)
            model_path(store, CLASSIFIER, classifier)
            if not bundle.encoder.startswith(OF_DETECTOR):
                model_path(store, ENCODER, bundle.encoder)
        except ModelError:
            continue  # its files are gone: it cannot be what one would go back to
        found[bundle] = None
    return list(found)


def classifiers_on(store: Store, encoder: str) -> list[str]:
    """The registered classifiers that stand on an encoder."""
    return [
        model.version for model in list_models(store, CLASSIFIER) if encoder_of(model.card, model.version) == encoder
    ]


def verdict_on(
    candidate: BundleRecord, rivals: Sequence[BundleRecord], taxonomy: Taxonomy = SOIL, *, present: Bundle | None = None
) -> Verdict:
    """By the gate, against the bundle in use and the best of the rivals; all judged on the same hold-out.

    present: the bundle in use; the last of the rivals if left out. The best is the one that leads by most in macro-F1,
    on the crops that it shares with the candidate and by the classes of both: figures of other crops or classes say
    nothing. Rivals that share too few crops with the candidate are left aside, but for the one in use.
    """
    ours = told(candidate, taxonomy)
    if not rivals:
        missing = compare(candidate, candidate, taxonomy).missing
        words = "nothing that it could be compared with was judged on the hold-out"
        return Verdict(False, f"{words}; {_too_few(missing)}" if missing else words, {"candidate": ours}, True)
    against = [
        (rival, compare(candidate, rival, taxonomy)) for rival in _that_count(candidate, rivals, taxonomy, present)
    ]
    # What shuts the gate is shown first, else what is too little to judge by, else the best of them.
    rival, compared = min(against, key=lambda one: (not one[1].worse, not one[1].missing))
    figures = {"candidate": ours, "rival": told(rival, taxonomy), "comparison": dict(compared.figures)}
    if len(against) > 1:
        other, beside = next(one for one in against if one[0] is not rival)
        figures["beside"] = {"rival": told(other, taxonomy), "comparison": dict(beside.figures)}
    if compared.missing and not compared.worse:
        return Verdict(False, _too_few(compared.missing), figures, True)
    worse = [f"{_against(one, by)}, it is worse in this: {'; '.join(by.worse)}" for one, by in against if by.worse]
    worse += _promises_less(candidate, rivals, present)
    if worse:
        return Verdict(False, ". ".join(worse), figures)
    macro = compared.figures["macro_f1"]
    words = (
        f"macro-F1 {macro['rival']:.3f} -> {macro['candidate']:.3f} {_against(rival, compared)}, no worse in the rest"
    )
    if len(against) > 1:
        words += f", nor against encoder {other.encoder} with classifier {other.classifier}"
    return Verdict(True, words, figures)


def _that_count(
    candidate: BundleRecord, rivals: Sequence[BundleRecord], taxonomy: Taxonomy, present: Bundle | None
) -> list[BundleRecord]:
    """The best first, then the one in use; one alone where it is both, or where nothing else can be compared."""
    in_use_ = next((one for one in rivals if Bundle(one.encoder, one.classifier) == present), rivals[-1])
    leads = [(lead(rival, candidate, taxonomy), at) for at, rival in enumerate(rivals)]
    told_apart = [(by, at) for by, at in leads if by is not None]
    best = rivals[max(told_apart)[1]] if told_apart else in_use_  # of equals the one that was in use last
    return [best] if best is in_use_ else [best, in_use_]


def _promises_less(candidate: BundleRecord, rivals: Sequence[BundleRecord], present: Bundle | None) -> list[str]:
    """In words, where more errors are allowed than a person allowed when the one in use was put to use."""
    in_use_ = next((one for one in rivals if Bundle(one.encoder, one.classifier) == present), None)
    if in_use_ is None or candidate.alpha <= in_use_.alpha:
        return []
    return [
        f"its answers and sets may be wrong more often than those of classifier {in_use_.classifier} in use: its alpha "
        f"is {candidate.alpha:g}, not {in_use_.alpha:g}. Train one with --alpha {in_use_.alpha:g}"
    ]


def _against(rival: BundleRecord, compared: Comparison) -> str:
    animals, windows, days = (compared.figures[name] for name in ("animals", "windows", "days"))
    return (
        f"against encoder {rival.encoder} with classifier {rival.classifier}, on {counted(animals, 'animal')} and "
        f"{counted(windows, 'window')} without one, of {days} scanner-days of the hold-out"
    )


def _too_few(missing: Sequence[str]) -> str:
    return (
        f"it stays a candidate, because the hold-out has too few labels to judge by: {', '.join(missing)}. Draw and "
        "label more tiles (`soilpipe label draw`)"
    )


def told(record: BundleRecord, taxonomy: Taxonomy = SOIL) -> dict[str, Any]:
    """A judgement's figures for a decision, without its crops."""
    macro = macro_f1(record, taxonomy)
    return {
        "encoder": record.encoder,
        "classifier": record.classifier,
        "judged_at": record.judged_at.isoformat(),
        "labels_sha256": record.labels_sha256,
        "crops": len(record.crops),
        "macro_f1": None if macro != macro else macro,
        "effective_rank": record.effective_rank,
        "alpha": record.alpha,
        **dict(record.figures),
    }


def promote_bundle(
    store: Store,
    bundle: Bundle,
    verdict: Verdict,
    now: datetime,
    *,
    reason: str = "",
    force: bool = False,
    seen: int | None = None,
) -> Decision:
    """Put a bundle to use, from the next scan on. ModelError when the gate is shut and not forced, where the encoder
    of the classifier is neither registered nor the trunk of the detector in use, and where another decision was made
    since `seen` (`decisions.decide`)."""
    check_bundle(store, bundle)
    if bundle == bundle_in_use(store):
        raise ModelError(f"{bundle} is in use already; there is nothing to promote")
    figures = permitted(verdict, str(bundle), reason, force, asked="why it should be used")
    forced = not verdict.passed
    if bundle.encoder.startswith(OF_DETECTOR):
        previous = in_use(store, CLASSIFIER) or NONE
        return decide(
            store, CLASSIFIER, "promote", bundle.classifier, previous, now, forced, reason, figures, seen=seen
        )
    previous = in_use(store, ENCODER) or NONE
    return decide(
        store,
        ENCODER,
        "promote",
        bundle.encoder,
        previous,
        now,
        forced,
        reason,
        figures,
        together={CLASSIFIER: bundle.classifier},
        seen=seen,
    )


def check_bundle(store: Store, bundle: Bundle) -> None:
    """ModelError where the two do not belong together, or one of them cannot be used."""
    stands_on = bundle_of(store, bundle.classifier).encoder
    if stands_on != bundle.encoder:
        raise ModelError(
            f"the classifier {bundle.classifier} was fitted on the embeddings of encoder {stands_on}, not of "
            f"{bundle.encoder}: what two encoders make of a crop cannot be compared. Fit one on {bundle.encoder} with "
            "`soilpipe train classifier`"
        )
    check_loads(CLASSIFIER, model_path(store, CLASSIFIER, bundle.classifier))
    if not bundle.encoder.startswith(OF_DETECTOR):
        check_loads(ENCODER, model_path(store, ENCODER, bundle.encoder))
    else:
        detector_folder(store, bundle.encoder)


def check_usable(store: Store, classifier_card: Mapping[str, Any], version: str) -> None:
    """ModelError when a classifier stands on another encoder than the one in use."""
    present, stands_on = in_use(store, ENCODER), encoder_of(classifier_card, version)
    if stands_on != present and not (present is None and stands_on.startswith(OF_DETECTOR)):
        raise ModelError(
            f"the classifier {version} stands on encoder {stands_on}, and in use is {present or 'none'}. Fit one on "
            "the encoder in use with `soilpipe train classifier`, or put both to use with "
            f"`soilpipe models promote {stands_on} --role encoder`"
        )


def detector_folder(store: Store, encoder: str) -> Path:
    """The folder of the detector whose trunk `detector:<version>` names. ModelError when none has that content."""
    from soilpipe.models import content_of

    wanted = encoder.removeprefix(OF_DETECTOR)
    for model in list_models(store, DETECTOR):
        if content_of(store, DETECTOR, model.version) == wanted:
            return model_path(store, DETECTOR, model.version)
    raise ModelError(
        f"no detector of this store has version {wanted}, on whose trunk the classifier stands; another release of the "
        "package brings another detector. Fit the classifier again with `soilpipe train classifier`"
    )
