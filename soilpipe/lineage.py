"""What an encoder was pretrained on: its own corpus, and those of the encoders that it began from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator

from soilpipe import layout
from soilpipe.models import card_of
from soilpipe.roles import ENCODER, ModelError
from soilpipe.store import MissingKeyError, Store


def line_of(store: Store, encoder: str) -> Iterator[tuple[str, str]]:
    """(version, manifest hash) of an encoder and of those it began from, back to a detector's trunk."""
    met: set[str] = set()
    while encoder and encoder not in met:
        met.add(encoder)
        try:
            card = card_of(store, ENCODER, encoder)
        except ModelError:
            return  # a detector's trunk, or one whose card is gone
        yield encoder, str(card.get("manifest_hash") or "")
        encoder = str(card.get("begun_from") or "")


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
