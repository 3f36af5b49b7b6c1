"""Check the small files that are written once: they carry a seal, or are called after the hash of what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from soilpipe import layout
from soilpipe.counts.problem import Problem
from soilpipe.model_cache import CARD, WEIGHTS
from soilpipe.seals import is_damaged_json
from soilpipe.store import Store

_EDITED = "is not as it was written: it was edited or damaged; restore it from a backup"


def record_problems(store: Store) -> Iterator[Problem]:
    """Reasons of refusals and records with a broken seal, and snapshots of the project file and labels that are not
    those of their names. Records and draws of tiles without a seal only have to be JSON."""
    for kind, prefix in (("quarantine", layout.QUARANTINE), ("record", layout.RECORDS), ("labels", layout.LABELS)):
        named = {"record": layout.records_prefix("config"), "labels": layout.label_files_prefix()}.get(kind)
        for key in store.keys(prefix, ".json"):
            data = store.read_bytes(key)
            hashed = named is not None and key.startswith(f"{named}/")
            name = key.rpartition("/")[2].removesuffix(".json")
            other = hashed and hashlib.sha256(data).hexdigest()[:16] != name.rpartition("-")[2]
            if other or is_damaged_json(data):
                yield Problem(kind, key, _EDITED)


def model_problems(store: Store) -> Iterator[Problem]:
    """Models that are not those of their versions. One without a card is not there yet, or being removed."""
    for role in store.folders("models"):
        for version in store.folders(layout.models_prefix(role)):
            weights, card = (f"{layout.model_folder(role, version)}/{name}" for name in (WEIGHTS, CARD))
            if not store.exists(card):
                continue
            digest = hashlib.sha256()
            try:
                with store.open_local(weights) as path, path.open("rb") as file:
                    hashlib.file_digest(file, lambda digest=digest: digest)  # type: ignore[misc]
            except FileNotFoundError:
                yield Problem("model", weights, "is not there; restore it from a backup, or remove its folder")
                continue
            digest.update(store.read_bytes(card))
            if digest.hexdigest()[:12] != version:
                yield Problem("model", layout.model_folder(role, version), _EDITED)
