"""The roles that a model can have, and what each asks of the folder that holds it.

The detector has a version that comes with the package. Encoder and classifier have none: a project's own scans make the
first ones, and until one is promoted there is no champion. These two are used as one bundle, since a classifier stands
on the embeddings of one encoder and means nothing on another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from soilpipe.errors import SoilpipeError

Role = Literal["detector", "encoder", "classifier"]
DETECTOR, ENCODER, CLASSIFIER = "detector", "encoder", "classifier"
CLOSE = "close"
"""In the architecture of an encoder's card: what its close look is built by, where it has one."""
ROLES = (DETECTOR, ENCODER, CLASSIFIER)
BUNDLE = (ENCODER, CLASSIFIER)
"""What is promoted and rolled back together."""
HOW_MADE = {
    DETECTOR: "`soilpipe train detector`",
    ENCODER: "`soilpipe refresh`",
    CLASSIFIER: "`soilpipe refresh` or `soilpipe train classifier`",
}


class ModelError(SoilpipeError):
    """A model that is not there, is damaged, or may not take the place it is meant for."""


def check_role(role: str) -> None:
    """ModelError for what is no role of this release."""
    if role not in ROLES:
        raise ModelError(f"{role!r} is no role of this release; there are {', '.join(ROLES)}")


def check_loads(role: str, folder: Path) -> None:
    """Refuse what this release cannot build; the loader says what is wrong with it."""
    check_role(role)
    if role == DETECTOR:
        from soilpipe.detect.weights import load_detector

        load_detector(folder)
    elif role == ENCODER:
        from soilpipe.encoder.weights import load_encoder

        load_encoder(folder)
    else:
        from soilpipe.classify.weights import load_classifier

        load_classifier(folder)


def shipped_folder(role: str) -> Path | None:
    """The model of this role that comes with the package; None for roles without one."""
    check_role(role)
    if role != DETECTOR:
        return None
    from soilpipe.detect.weights import SHIPPED

    return SHIPPED


def encoder_of(card: Mapping[str, Any], version: str) -> str:
    """The version of the encoder that a classifier stands on. ModelError when its card does not say."""
    told = card.get("encoder")
    encoder = told.get("version") if isinstance(told, Mapping) else told
    if not isinstance(encoder, str) or not encoder:
        raise ModelError(
            f"the card of the classifier {version} does not name its encoder, so nothing is classified with it: "
            "embeddings of different encoders must not be mixed. Train it again with `soilpipe train classifier`"
        )
    return encoder
