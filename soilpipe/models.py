"""The model registry: versions named by their content, for each role.

A version is a folder with weights.safetensors and card.json, never changed once written. Promotions and roll-backs are
records (`decisions`); the champion of a role is what they add up to. What a promotion changes is what runs use from the
next scan on; nothing older is made again. Whether a version may be promoted is for `promotion` to say.

What a version is worth on this project's scans is learned after its card is written, and stands in `evaluations`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soilpipe import layout
from soilpipe.decisions import SHIPPED, Decision, champion, decide, decisions, in_use, rollback
from soilpipe.detect.base import Validation
from soilpipe.evaluations import LastEvaluation, evaluations, newest_local, summary, validation_now
from soilpipe.model_cache import CARD, WEIGHTS, cached
from soilpipe.roles import HOW_MADE, ROLES, ModelError, check_loads, check_role, shipped_folder
from soilpipe.store import MissingKeyError, Store

__all__ = [
    "ROLES",
    "SHIPPED",
    "Decision",
    "Model",
    "ModelError",
    "card_of",
    "champion",
    "check_loads",
    "content_of",
    "content_version",
    "decide",
    "decisions",
    "in_use",
    "list_models",
    "model_path",
    "register",
    "resolve",
    "rollback",
    "show",
    "validation_of",
    "versions_by_age",
    "versions_named",
]
SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class Model:
    """One version: its card, whether it is the champion of its role, and what it was found to be worth.

    validation: what stands behind the detections that it makes from now on: the card's word, or `local` once it was
    judged on a random sample of this project's scans. What it detected before stays as it was.
    """

    role: str
    version: str
    name: str
    validation: Validation
    taxa: tuple[str, ...]
    champion: bool
    card: Mapping[str, Any]
    evaluation: LastEvaluation | None


def register(store: Store, role: str, folder: Path) -> str:
    """Copy a model's folder into the store; the version, 12 hex digits over weights and card.

    Raises ModelError when it is not a model that this release can load. Registering twice changes nothing.
    """
    check_role(role)
    check_loads(role, folder)
    version = content_version(folder)
    target = layout.model_folder(role, version)
    for name in (WEIGHTS, CARD):  # the card last: a version without a card is not there
        store.write_if_changed(f"{target}/{name}", (folder / name).read_bytes())
    return version


def content_version(folder: Path) -> str:
    """The version of the model in a local folder. Raises ModelError when a file is missing."""
    try:
        weights, card = ((folder / name).read_bytes() for name in (WEIGHTS, CARD))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a model: it must hold {WEIGHTS} and {CARD}") from error
    return hashlib.sha256(weights + card).hexdigest()[:12]


def list_models(store: Store, role: str = "detector") -> list[Model]:
    """The shipped version, then the registered ones in the order of their names and versions."""
    check_role(role)
    suffix = f"/{CARD}"
    keys = [e.key for e in store.list(layout.models_prefix(role), suffix)]
    found = [show(store, role, key.removesuffix(suffix).rsplit("/", 1)[1]) for key in keys]
    package = shipped_folder(role)
    shipped = [show(store, role, SHIPPED)] if package is not None and (package / CARD).is_file() else []
    return [*shipped, *sorted(found, key=lambda m: (m.name, m.version))]


def show(store: Store, role: str, version: str) -> Model:
    """One version. ``version`` may be a name, when only one version has it. Raises ModelError with what there is."""
    version = resolve(store, role, version)
    card = card_of(store, role, version)
    records = evaluations(store, role, content_of(store, role, version))
    local = newest_local(records, float(card.get("threshold", -1)))
    return Model(
        role=role,
        version=version,
        name=str(card.get("name", version)),
        validation="local" if local else card.get("validation", "none"),
        taxa=tuple(card.get("taxa", ())),
        champion=in_use(store, role) == version,
        card=card,
        evaluation=summary(local or (records[-1] if records else None)),
    )


def content_of(store: Store, role: str, version: str) -> str:
    """The version by its content: itself, but for the one that comes with the package, which changes with releases."""
    version = resolve(store, role, version)
    return content_version(_shipped(role)) if version == SHIPPED else version


def validation_of(store: Store, role: str, version: str) -> Validation:
    """What stands behind a version's detections from now on: see `evaluations`."""
    card = card_of(store, role, resolve(store, role, version))
    content = content_of(store, role, version)
    return validation_now(store, role, content, float(card.get("threshold", -1)), card.get("validation", "none"))


def resolve(store: Store, role: str, wanted: str) -> str:
    """The version that a version, its first digits (4 or more) or a name stands for.

    Raises ModelError when there is none, or when there are several.
    """
    named = versions_named(store, role, wanted)
    versions = [] if named else versions_by_age(store, role)
    if not named and len(wanted) >= SHORTEST_PREFIX:
        named = [version for version in versions if version.startswith(wanted)]
    if len(named) == 1:
        return named[0]
    if named:
        raise ModelError(
            f"{wanted!r} stands for several versions of the {role}, the newest last: {', '.join(named)}. Give one of "
            f"them in its place, such as {named[-1]}"
        )
    there = ", ".join([*([SHIPPED] if shipped_folder(role) is not None else []), *versions])
    if not there:
        raise ModelError(f"there is no {role} in this store yet; {HOW_MADE[role]} makes one")
    more = "" if role == "detector" else f" --role {role}"
    raise ModelError(f"there is no {role} {wanted!r} in this store; there are: {there} (`soilpipe models list{more}`)")


def versions_named(store: Store, role: str, wanted: str) -> list[str]:
    """The versions of this name, the one registered first at first; of a version that there is, itself alone."""
    check_role(role)
    if (wanted == SHIPPED and shipped_folder(role) is not None) or _exists(store, role, wanted):
        return [wanted]
    return [v for v in versions_by_age(store, role) if card_of(store, role, v).get("name") == wanted]


def versions_by_age(store: Store, role: str) -> list[str]:
    """The registered versions, by when the store got their cards; the first at first."""
    suffix = f"/{CARD}"
    cards = sorted(store.list(layout.models_prefix(role), suffix), key=lambda card: (card.modified, card.key))
    return [card.key.removesuffix(suffix).rsplit("/", 1)[1] for card in cards]


def model_path(store: Store, role: str, version: str) -> Path:
    """A local folder with the model. From S3 it is copied once into the user's cache, and checked by its hash.

    Raises ModelError when it is not there or is not what its version says.
    """
    version = resolve(store, role, version)
    if version == SHIPPED:
        return _shipped(role)
    key = layout.model_folder(role, version)
    if not store.root.startswith("s3://"):
        folder = Path(store.root) / key
    else:
        folder = cached(store, key, role, version, lambda held: content_version(held) == version)
    if (found := content_version(folder)) != version:
        raise ModelError(
            f"the {role} {version} is damaged (its content hashes to {found}); register it again, or promote another"
        )
    return folder


def _exists(store: Store, role: str, version: str) -> bool:
    return (
        "/" not in version
        and version not in ("", ".", "..")
        and store.exists(f"{layout.model_folder(role, version)}/{CARD}")
    )


def card_of(store: Store, role: str, version: str) -> dict[str, Any]:
    """The card of a version. Raises ModelError when it is absent or damaged."""
    try:
        if version == SHIPPED:
            text = (_shipped(role) / CARD).read_bytes()
        else:
            text = store.read_bytes(f"{layout.model_folder(role, version)}/{CARD}")
        card = json.loads(text)
    except (FileNotFoundError, MissingKeyError) as error:
        raise ModelError(f"the {role} {version} has no card; is the package installed whole?") from error
    except ValueError as error:
        raise ModelError(f"the card of the {role} {version} is not valid JSON; register the model again") from error
    if not isinstance(card, dict):
        raise ModelError(f"the card of the {role} {version} is not a JSON object; register the model again")
    return card


def _shipped(role: str) -> Path:
    folder = shipped_folder(role)
    if folder is None:
        raise ModelError(f"no {role} comes with the package; {HOW_MADE[role]} makes one of this project's own")
    return folder
