"""Encoders by their version: a registered one, or `detector:<version>`, a detector's own trunk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from soilpipe.bundles.promotion import OF_DETECTOR, detector_folder
from soilpipe.decisions import in_use
from soilpipe.detect.base import evens_contrast
from soilpipe.detect.select import CHAMPION, CHANGE, TORCHVISION, version_meant
from soilpipe.model_cache import CARD
from soilpipe.models import SHIPPED, card_of, content_of, model_path
from soilpipe.roles import CLOSE, DETECTOR, ENCODER
from soilpipe.store import Store

if TYPE_CHECKING:
    from soilpipe.encoder.encoder import Encoder


def encoder_at(store: Store, version: str, device: str | None = None) -> Encoder:
    """The encoder of this version. ModelError when it is not there, EncoderError when it cannot be loaded."""
    from soilpipe.encoder.weights import encoder_of_detector, load_encoder

    if version.startswith(OF_DETECTOR):
        return encoder_of_detector(detector_folder(store, version), device)
    return load_encoder(model_path(store, ENCODER, version), device)


def trunk_in_use(store: Store, wanted: str = CHAMPION) -> str:
    """`detector:<version>` of the detector that a project works with; `wanted`: what its file says of it.

    Where that is one from which no encoder can be taken (torchvision's, and those that see colours whose contrast is
    evened, which no crop has), it is the one that comes with the package;
    where it is `change`, which has no weights, the one that would be in use. ModelError for one that is not there.
    """
    detector = _detector_in_use(store, wanted)
    card = card_of(store, DETECTOR, detector)
    if card.get("family") or evens_contrast(card):
        detector = SHIPPED
    return OF_DETECTOR + content_of(store, DETECTOR, detector)


def encoder_to_begin_from(store: Store, undecided: str | None, detector: str = CHAMPION) -> str:
    """The version whose weights a refresh goes on with; `detector`: what the project file says.

    The encoder in use; where none is, the last one that nothing spoke against (`undecided`), so that a project without
    labels does not begin anew every week; where there is none either, or it is of another size than the detector in
    use and its trunk (`trunk_in_use`), neither of which could take it, that trunk.
    """
    trunk = trunk_in_use(store, detector)
    wanted = in_use(store, ENCODER) or undecided
    if wanted is None:
        return trunk
    shape = {**card_of(store, ENCODER, wanted)["architecture"]}
    shape.pop(CLOSE, None)  # which no training goes on with
    takers = (
        json.loads((detector_folder(store, trunk) / CARD).read_bytes())["architecture"],
        card_of(store, DETECTOR, _detector_in_use(store, detector))["architecture"],
    )
    fits = any(all(taker.get(key) == value for key, value in shape.items()) for taker in takers)
    return wanted if fits else trunk


def _detector_in_use(store: Store, wanted: str) -> str:
    """The version of the detector; where nothing of it can be begun from, of the one in its place."""
    if wanted.startswith(TORCHVISION):
        return SHIPPED
    return version_meant(CHAMPION if wanted == CHANGE else wanted, store)
