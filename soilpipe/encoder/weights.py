"""An encoder on disk: weights.safetensors and card.json in one folder, nothing that can run code.

The weights have the names that they have in a detector's network, so that the folder can be given to
`soilpipe train detector --backbone`. Weights and card together are the version, as for a detector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes

from soilpipe.atomic import write_atomically
from soilpipe.detect.ancestry import ancestors_of
from soilpipe.detect.base import evens_contrast
from soilpipe.detect.model_files import (
    CARD,
    WEIGHTS,
    card_bytes,
    fill,
    parse_card,
    parse_tensors,
    read_bytes,
    version_of,
)
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.second_stage.network import SecondStage
from soilpipe.detect.sizes import encoder_size_of
from soilpipe.encoder.close_look import CloseLook
from soilpipe.encoder.encoder import EMBEDDING, EMBEDDINGS, Encoder, dim_of
from soilpipe.encoder.trunk import OF_RESNET, trunk_like, trunk_of, trunk_shape, trunk_state
from soilpipe.errors import SoilpipeError
from soilpipe.roles import CLOSE

AN_ENCODER = "An encoder"
OF_CLOSE = "close."  # before the names of its weights
OF_DETECTOR = "detector:"
"""Before the version of a detector whose own encoder is used."""

NEEDED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "um_per_px": (int, float),
    "architecture": dict,
    "dim": int,
    "embedding": str,
}


class EncoderError(SoilpipeError):
    """An encoder that cannot be used, or something it cannot be used on."""


def save_encoder(
    folder: Path | str, network: CentrePointNetwork, card: Mapping[str, Any], close: CloseLook | None = None
) -> str:
    """Write the encoder of a network, or a trunk, into `folder` (made when absent), with its close look where it has
    one; returns the version.

    The card needs `name` and `um_per_px`; architecture, size and dim are filled in, and `embedding` where the card has
    none. `difference` False says that it never saw one. The card is written last: a folder without one is no encoder.
    Same network and card, same bytes. EncoderError when the card makes no sense.
    """
    folder = Path(folder)
    trunk = trunk_of(network)
    complete = {"embedding": EMBEDDING, **card, **_filled_in(trunk, close)}
    check_card(complete, folder / CARD)
    tensors = trunk_state(trunk)
    if close is not None:
        tensors |= {OF_CLOSE + name: value for name, value in close.state_dict().items()}
    weights = tensor_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    text = card_bytes(complete)
    (folder / CARD).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS, folder, iter([weights]))
    write_atomically(folder / CARD, folder, iter([text]))
    return version_of(weights, text)


def load_encoder(folder: Path | str, device: str | torch.device | None = None) -> Encoder:
    """The encoder in `folder`. EncoderError when a file is missing, broken, foreign, or does not fit its card."""
    folder = Path(folder)
    card, text = read_card(folder)
    weights = read_bytes(folder / WEIGHTS, EncoderError, AN_ENCODER)
    shape = dict(card["architecture"])
    try:
        close = CloseLook.like(shape.pop(CLOSE)) if CLOSE in shape else None
        trunk = trunk_like(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(
            f"{folder / CARD}: `architecture` = {card['architecture']!r} is none that this version knows"
        ) from error
    found = tuple(_filled_in(trunk, close)[key] for key in ("size", "dim"))
    told = (card.get("size"), card["dim"])
    if told != found:
        raise EncoderError(
            f"{folder / CARD}: `size` and `dim` are {told}, but its `architecture` is that of {found}. "
            "The card was changed by hand, or is of a later version"
        )
    tensors = parse_tensors(weights, folder / WEIGHTS, EncoderError)
    before = OF_RESNET if "encoder" in shape else ""
    of_close = {name.removeprefix(OF_CLOSE): value for name, value in tensors.items() if name.startswith(OF_CLOSE)}
    of_trunk = {
        before + name: value for name, value in tensors.items() if close is None or not name.startswith(OF_CLOSE)
    }
    fill(trunk, of_trunk, folder / WEIGHTS, EncoderError)
    if close is not None:
        fill(close, of_close, folder / WEIGHTS, EncoderError)
    return Encoder(trunk, card, version=version_of(weights, text), device=device, close=close)


def encoder_of_detector(folder: Path | str, device: str | torch.device | None = None) -> Encoder:
    """A detector's own encoder, for projects that have not trained one yet; its version is `detector:` and that one's.

    Where the detector has a second stage, that is its close look.
    EncoderError for torchvision's detectors, whose layers are others, and for those that see colours whose contrast is
    evened, which no crop has; WeightsError for what is no detector at all.
    """
    from soilpipe.detect.weights import load_detector

    detector = load_detector(folder, device="cpu")
    network = detector.network
    if not isinstance(network, CentrePointNetwork):
        raise EncoderError(
            f"{folder}: {detector.info.name} is one of torchvision's detectors ({detector.card['family']}), from which "
            "no encoder can be taken. Train one of small, medium, resnet18 or resnet50, or give another detector"
        )
    if evens_contrast(detector.card):
        raise EncoderError(
            f"{folder}: {detector.info.name} was trained on scans whose contrast is evened (--even-contrast), and "
            "encoders look at scans as they are. Give a detector that was trained without"
        )
    close = CloseLook(network.second) if isinstance(network.second, SecondStage) else None
    card = {
        "name": detector.info.name,
        "um_per_px": detector.info.um_per_px,
        "difference": detector.info.uses_difference,
        "validation": detector.info.validation,
        "ancestors": ancestors_of(detector.card, detector.info.version),
        "embedding": EMBEDDING,
        **_filled_in(network, close),
    }
    version = OF_DETECTOR + detector.info.version
    return Encoder(trunk_of(network).eval(), card, version=version, device=device, close=close)


def _filled_in(network: CentrePointNetwork, close: CloseLook | None) -> dict[str, Any]:
    """What a card says of the networks themselves."""
    return {
        "architecture": trunk_shape(network) | ({} if close is None else {CLOSE: close.architecture}),
        "size": encoder_size_of(network.architecture),
        "dim": dim_of(network) + (0 if close is None else close.dim),
    }


def read_card(folder: Path | str) -> tuple[dict[str, Any], bytes]:
    """The checked card of an encoder's folder, and its bytes."""
    path = Path(folder) / CARD
    text = read_bytes(path, EncoderError, AN_ENCODER)
    card = parse_card(text, path, EncoderError)
    check_card(card, path)
    return card, text


def check_card(card: Any, path: Path) -> None:
    """EncoderError naming every key of a card that is missing or makes no sense."""
    if not isinstance(card, dict):
        raise EncoderError(f"{path}: a card is a JSON object, not a {type(card).__name__}")
    problems = [
        f"`{key}` is missing" if key not in card else f"`{key}` = {card[key]!r}"
        for key, kind in NEEDED.items()
        if not isinstance(card.get(key), kind) or isinstance(card.get(key), bool)
    ]
    if not problems:
        if not (math.isfinite(card["um_per_px"]) and card["um_per_px"] > 0):
            problems.append(f"`um_per_px` = {card['um_per_px']!r} (expected more than 0)")
        if not isinstance(card.get("difference", True), bool):
            problems.append(f"`difference` = {card['difference']!r} (expected true or false)")
        if card["embedding"] not in EMBEDDINGS:
            ways = " or ".join(EMBEDDINGS)
            problems.append(f"`embedding` = {card['embedding']!r} (this version makes vectors by {ways})")
    if problems:
        raise EncoderError(f"{path}: not the card of an encoder: {'; '.join(problems)}")
