"""What an encoder has learned from: its own corpus, those of the encoders that it began from, and before them the
labelled images of the detector whose trunk the first of them was."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator
from typing import Any

from soilpipe import layout
from soilpipe.bundles.promotion import OF_DETECTOR, detector_folder
from soilpipe.detect.ancestry import begun
from soilpipe.models import card_of
from soilpipe.refresh.state import refreshes
from soilpipe.roles import ENCODER, ModelError
from soilpipe.store import MissingKeyError, Store


def line_of(store: Store, encoder: str) -> Iterator[tuple[str, str]]:
    """(version, manifest hash) of an encoder and of those it began from, back to a detector's trunk."""
    met: set[str] = set()
    while encoder and encoder not in met:
        met.add(encoder)
        told = _told(store, encoder)
        if told is None:
            return  # a detector's trunk, or one of which nothing is known
        yield encoder, str(told.get("manifest_hash") or "")
        encoder = str(told.get("begun_from") or "")


def detectors_before(store: Store, encoder: str) -> list[dict[str, Any]]:
    """What the detectors were trained on that an encoder comes from, the nearest first, as `detect.ancestry` tells it;
    `encoder` may be `detector:<version>`. For the card of what is begun from it.

    An encoder of an earlier release does not say: then what it began from is asked. Where that is gone, nothing but its
    version is known of it.
    """
    met: set[str] = set()
    while encoder and encoder not in met:
        met.add(encoder)
        try:
            if encoder.startswith(OF_DETECTOR):
                return begun(detector_folder(store, encoder))[1]
        except ModelError:
            card = None
        else:
            card = _told(store, encoder)
        if card is None:
            return [{"name": encoder, "version": encoder.removeprefix(OF_DETECTOR), "trained_on": None}]
        if "ancestors" in card:
            return list(card["ancestors"] or ())
        encoder = str(card.get("begun_from") or "")
    return []


def _told(store: Store, encoder: str) -> dict[str, Any] | None:
    """What is known of an encoder: its card; of one that upkeep has removed, what the record of its refresh says."""
    try:
        return card_of(store, ENCODER, encoder)
    except ModelError:
        for record in refreshes(store):
            if record.encoder == encoder:
                return {"begun_from": record.begun_from, "manifest_hash": record.corpus.get("manifest")}
    return None


def seen_scans(store: Store, encoder: str, among: Collection[str]) -> frozenset[str]:
    """Which of these scans gave a crop to the corpus of an encoder, or of one that it began from.

    The hold-out serves no pretraining; but a scan that was learned from may be labelled later, and fall into it.
    """
    seen: set[str] = set()
    for _, manifest_hash in line_of(store, encoder):
        if manifest_hash and among:
            seen |= _scans(store, manifest_hash).intersection(among)
    return frozenset(seen)


def _scans(store: Store, manifest_hash: str) -> frozenset[str]:
    try:
        data = store.read_bytes(layout.corpus_manifest(manifest_hash))
    except MissingKeyError:
        return frozenset()  # of a refresh that is not finished; its corpus left the hold-out of now aside
    return frozenset(str(crop["scan_id"]) for crop in json.loads(gzip.decompress(data))["crops"])
