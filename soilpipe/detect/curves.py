"""The picture of a training's losses, beside the version that came of it in the registry."""

from __future__ import annotations

from pathlib import Path

from soilpipe import layout
from soilpipe.store import Store

LOSSES = "losses.png"


def keep_curves(store: Store, version: str, folder: Path) -> str | None:
    """Copy the picture that a training left in `folder` to its registered version; where it is then, if there is one.

    It is no part of the version: weights and card are.
    """
    if not (folder / LOSSES).is_file():
        return None
    store.write_if_changed(_key(version), (folder / LOSSES).read_bytes())
    return curves_of(store, version)


def curves_of(store: Store, version: str) -> str | None:
    """Path or address of the picture of a version's losses; None where there is none."""
    return f"{store.root}/{_key(version)}" if store.exists(_key(version)) else None


def _key(version: str) -> str:
    return f"{layout.model_folder('detector', version)}/{LOSSES}"
