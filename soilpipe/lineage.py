"""What an encoder has learned from: its own corpus, those of the encoders that it began from, and before them the
labelled images of the detector whose trunk the first of them was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from soilpipe.bundles.promotion import OF_DETECTOR, detector_folder
from soilpipe.detect.ancestry import begun
from soilpipe.models import card_of
from soilpipe.refresh.records import refreshes
from soilpipe.roles import ENCODER, ModelError
from soilpipe.store import Store


def line_of(store: Store, encoder: str) -> Iterator[tuple[str, str]]:
    """(version, manifest hash) of an encoder and of those it began from, back to a detector's trunk."""
    met: set[str] = set()
    while encoder and encoder not in met:
        met.add(encoder)
        told = _told(store, encoder)
        if told is None:
            return  # a detector's trunk, or one of which nothing is known
        if "tuned" not in told:  # that learned from labelled crops alone
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
            if encoder in (record.encoder, record.pretrained):
                return {"begun_from": record.begun_from, "manifest_hash": record.corpus.get("manifest")}
    return None
