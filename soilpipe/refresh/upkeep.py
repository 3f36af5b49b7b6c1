"""What old refreshes leave: an encoder and a classifier every week, of which few are ever used.

Of the models that refreshes made, those stay that

- are in use, or ever were: a roll-back leads to them, and the gate compares with the best of them;
- an analysis names: detections that are published, or could be again, are explained and re-made with them;
- are of the last CANDIDATES refreshes: a person may still put them to use;
- are of the last refresh that nothing spoke against, from which the next one may begin;
- a classifier that stays stands on.

The others are removed. What a person trained or registered is never touched, and no record is: what was decided, with
which figures, from which scans (`lineage`), is known for good.
"""

from __future__ import annotations

from collections.abc import Iterable

from soilpipe import layout
from soilpipe.analyses import read_analysis
from soilpipe.bundles.promotion import bundle_of
from soilpipe.classify.identifying import CLASSIFIER as NAMED_BY
from soilpipe.decisions import decisions
from soilpipe.errors import SoilpipeError
from soilpipe.model_cache import CARD
from soilpipe.refresh.records import RefreshRecord, dropped, refreshes
from soilpipe.roles import BUNDLE, CLASSIFIER, ENCODER, ModelError
from soilpipe.store import Store

CANDIDATES = 8
"""Refreshes whose models stay whatever became of them: two months of weekly ones."""

Version = tuple[str, str]
"""Role and version."""


def remove_old_candidates(store: Store, *, candidates: int = CANDIDATES) -> list[Version]:
    """Remove the models of old refreshes that nothing needs; what was removed. Doing it twice, or being killed in
    between, changes nothing: a model without its card is not there, and the rest of it goes the next time.

    AnalysisError where an analysis cannot be read, which may name any model: then nothing is removed.
    """
    records = refreshes(store)
    old = _of(records[: max(0, len(records) - candidates)])
    old += [(ENCODER, one) for gone in dropped(store) for one in (gone.encoder, gone.pretrained) if one is not None]
    there = [one for one in old if store.keys(layout.model_folder(*one))]
    if not there:
        return []
    last = [one for one in records if one.outcome == "candidate"][-1:]
    kept = needed(store, [*records[-candidates:], *last])
    removed = [one for one in there if one not in kept]
    for one in removed:
        keys = store.keys(layout.model_folder(*one))
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{CARD}")):  # the card first
            store.delete(key)
    return removed


def tidied(store: Store) -> str:
    """The same, in words to go behind others; none where nothing was removed. What a refresh has decided stands, so a
    store that cannot be tidied is told and is no failure."""
    try:
        removed = remove_old_candidates(store)
    except SoilpipeError as error:
        return f"; old candidates stay, for {error}"
    return f"; {len(removed)} models of old refreshes that nothing needs removed" if removed else ""


def needed(store: Store, last: Iterable[RefreshRecord] = ()) -> set[Version]:
    """The encoders and classifiers that must stay; `last`: the refreshes whose models stay whatever became of them."""
    kept = set(_of(last))
    for decision in decisions(store, ENCODER):
        kept |= {(role, version) for role in BUNDLE if (version := decision.version_of(role))}
        if decision.role in BUNDLE:
            kept.add((decision.role, decision.previous))
    for key in store.keys(layout.analysis("any").rpartition("/")[0], ".json"):
        named = read_analysis(store, key.rpartition("/")[2].removesuffix(".json")).settings.get(NAMED_BY) or {}
        kept |= {(CLASSIFIER, str(named.get("version"))), (ENCODER, str(named.get("encoder")))}
    for role, version in tuple(kept):
        if role == CLASSIFIER:
            kept |= _stands_on(store, version)
    # A person's own classifier may stand on an encoder of a refresh.
    made = {version for role, version in _of(refreshes(store)) if role == CLASSIFIER}
    for version in store.folders(layout.models_prefix(CLASSIFIER)):
        if version not in made:
            kept |= _stands_on(store, version)
    return kept


def _stands_on(store: Store, classifier: str) -> set[Version]:
    try:
        return {(ENCODER, bundle_of(store, classifier).encoder)}
    except ModelError:
        return set()  # none, or its files are gone


def _of(records: Iterable[RefreshRecord]) -> list[Version]:
    """The models of some refreshes, each once."""
    found: dict[Version, None] = {}
    for record in records:
        found[ENCODER, record.encoder] = None
        if record.pretrained is not None:
            found[ENCODER, record.pretrained] = None
        if record.classifier is not None:
            found[CLASSIFIER, record.classifier] = None
    return list(found)
