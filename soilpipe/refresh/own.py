"""The bundle that a refresh has made, and what became of it."""

from __future__ import annotations

from soilpipe.bundles.promotion import Bundle
from soilpipe.decisions import Decision, decisions
from soilpipe.refresh.state import FIT, PRETRAIN, RefreshState
from soilpipe.roles import CLASSIFIER, ENCODER
from soilpipe.store import Store


def own_bundle(state: RefreshState) -> Bundle | None:
    """What this refresh has made; None where it is not as far, and where no classifier could be fitted."""
    classifier = state.done.get(FIT, {}).get("classifier")
    return None if classifier is None else Bundle(encoder_made(state), str(classifier))


def encoder_made(state: RefreshState) -> str:
    """The encoder that this refresh has made: the pretrained one, or what tuning on the labelled crops made of it."""
    return str(state.done.get(FIT, {}).get("encoder") or state.done[PRETRAIN]["encoder"])


def encoder_tuned(state: RefreshState) -> str | None:
    """The pretrained encoder, where tuning has made another of it."""
    return str(state.done[PRETRAIN]["encoder"]) if state.done.get(FIT, {}).get("encoder") else None


def promotion_of(store: Store, bundle: Bundle) -> Decision | None:
    """The last promotion of a bundle, whether it is still in use or was taken back."""
    for decision in reversed(decisions(store, CLASSIFIER)):
        both = (decision.version_of(ENCODER), decision.version_of(CLASSIFIER))
        if decision.action == "promote" and both == (bundle.encoder, bundle.classifier):
            return decision
    return None
