"""Where the picture of how a version was trained lies."""

from __future__ import annotations

from soilpipe import layout
from soilpipe.models import card_of
from soilpipe.roles import DETECTOR, ENCODER, ModelError
from soilpipe.store import Store

PICTURE = "pretraining.png"


def curves_of(store: Store, role: str, version: str) -> str | None:
    """Path or address of the picture of how a version was trained; None where there is none."""
    if role == DETECTOR:
        from soilpipe.detect.curves import curves_of as curves_of_detector  # torch comes with it

        return curves_of_detector(store, version)
    if role != ENCODER:
        return None
    key = picture_key(pretrained(store, version))
    return f"{store.root}/{key}" if store.exists(key) else None


def pretrained(store: Store, encoder: str) -> str:
    """The encoder that a tuned one was made of; any other is itself."""
    try:
        card = card_of(store, ENCODER, encoder)
    except ModelError:
        return encoder
    return str(card["begun_from"]) if "tuned" in card else encoder


def picture_key(encoder: str) -> str:
    """Of the curves of a pretraining: beside the version in the registry, and no part of it."""
    return f"{layout.model_folder(ENCODER, encoder)}/{PICTURE}"
