"""A detector on disk: weights.safetensors and card.json in one folder, nothing that can run code.

The card says what the detector finds, at which scale, from which score on, what it was trained on and what it is not
good for. Weights and card together are the version: the first 12 hex digits of the SHA-256 over both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes

from soilpipe.detect.base import CONTRAST, LOCAL
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
from soilpipe.detect.network import HEADS, CentrePointNetwork
from soilpipe.detect.passes import pass_problems
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.second_stage.looking import second_problems
from soilpipe.detect.sizes import MEDIUM, network_of, size_of
from soilpipe.detect.thresholds import threshold_problems
from soilpipe.detect.torchvision_detector import TorchvisionDetector
from soilpipe.detect.torchvision_family import FAMILIES, TorchvisionNetwork, make_family
from soilpipe.errors import SoilpipeError

A_DETECTOR = "A detector"
SHIPPED = Path(__file__).resolve().parent / "shipped"
"""The detector that comes with the package."""

NEEDED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "taxa": list,
    "um_per_px": (int, float),
    "threshold": (int, float),
    "validation": str,
    "heads": list,
    "architecture": dict,
}
NEEDED_BY_TWO_PASSES: dict[str, type | tuple[type, ...]] = {"border_mm": (int, float), "border_tolerance": (int, float)}
"""By the centre-point detector, which looks twice."""

Network = CentrePointNetwork | TorchvisionNetwork
LoadedDetector = CentrePointDetector | TorchvisionDetector


class WeightsError(SoilpipeError):
    """A detector's folder that cannot be used, or not written."""


def save_detector(folder: Path | str, network: Network, card: Mapping[str, Any]) -> str:
    """Write weights.safetensors and card.json into `folder` (made when absent); returns the version.

    The architecture is taken from the network, and so are its family (of torchvision's) or its size, which `medium` and
    sizes without a name leave out. Same network and card, same bytes.
    """
    folder = Path(folder)
    complete = {key: value for key, value in card.items() if key not in ("size", "family")}
    complete["architecture"] = network.architecture
    if isinstance(network, TorchvisionNetwork):
        complete["family"] = network.family
    elif (size := size_of(network)) not in (None, MEDIUM):
        complete["size"] = size
    check_card(complete, folder / CARD)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = tensor_bytes(state)
    text = card_bytes(complete)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_bytes(text)
    return version_of(weights, text)


def load_detector(folder: Path | str, *, device: str | torch.device | None = None) -> LoadedDetector:
    """The detector in `folder`. WeightsError when a file is missing, broken, foreign, or does not fit its card."""
    folder = Path(folder)
    card, text = read_card(folder)
    weights = read_bytes(folder / WEIGHTS, WeightsError, A_DETECTOR)
    network = _network(card, folder / CARD)
    fill(network, parse_tensors(weights, folder / WEIGHTS, WeightsError), folder / WEIGHTS, WeightsError)
    return detector_of(network, card, version=version_of(weights, text), device=device)


def detector_of(
    network: Network,
    card: Mapping[str, Any],
    *,
    version: str = "unsaved",
    device: str | torch.device | None = None,
) -> LoadedDetector:
    """The detector that a network is with its card, whatever its family."""
    if isinstance(network, TorchvisionNetwork):
        return TorchvisionDetector(network, card, version=version, device=device)
    return CentrePointDetector(network, card, version=version, device=device)


def read_card(folder: Path | str) -> tuple[dict[str, Any], bytes]:
    """The checked card of a detector's folder, and its bytes."""
    path = Path(folder) / CARD
    text = read_bytes(path, WeightsError, A_DETECTOR)
    card = parse_card(text, path, WeightsError)
    check_card(card, path)
    return card, text


def check_card(card: Any, path: Path) -> None:
    """WeightsError naming every key of a card that is missing or makes no sense."""
    if not isinstance(card, dict):
        raise WeightsError(f"{path}: a card is a JSON object, not a {type(card).__name__}")
    family = card.get("family")
    if family is not None and family not in FAMILIES:
        raise WeightsError(
            f"{path}: `family` = {family!r} is none that this version knows ({', '.join(FAMILIES)}; absent for the "
            "centre-point detector)"
        )
    needed = NEEDED if family else NEEDED | NEEDED_BY_TWO_PASSES
    problems = [
        f"`{key}` is missing" if key not in card else f"`{key}` = {card[key]!r}"
        for key, kind in needed.items()
        if not isinstance(card.get(key), kind) or isinstance(card.get(key), bool)
    ]
    if not problems:
        taxa, heads = card["taxa"], card["heads"]
        if not taxa or not all(isinstance(taxon, str) for taxon in taxa) or len(set(taxa)) < len(taxa):
            problems.append(f"`taxa` = {taxa!r} (expected different names, one or more)")
        if card.get("precision", "float32") not in (("float32",) if family else ("float32", "bf16")):
            problems.append(f"`precision` = {card['precision']!r} (expected float32{'' if family else ' or bf16'})")
        if card.get(CONTRAST, LOCAL) != LOCAL:
            problems.append(f"`{CONTRAST}` = {card[CONTRAST]!r} (expected {LOCAL}, or nothing for scans as they are)")
        if not isinstance(card.get("difference", True), bool):
            problems.append(f"`difference` = {card['difference']!r} (expected true or false)")
        if heads not in (["fine"],) if family else heads not in (["fine"], list(HEADS)):
            problems.append(f"`heads` = {heads!r} (expected ['fine']{'' if family else f' or {list(HEADS)!r}'})")
        if not 0 <= card["threshold"] <= 1:
            problems.append(f"`threshold` = {card['threshold']!r} (expected 0 to 1)")
        problems += threshold_problems(card)
        for key, least in (("um_per_px", 0), ("border_mm", 0), ("border_tolerance", 1)):
            if key in needed and not (math.isfinite(card[key]) and card[key] > least):
                problems.append(f"`{key}` = {card[key]!r} (expected more than {least})")
        problems += pass_problems(card) + second_problems(card)
        if card["validation"] not in ("none", "simulated", "local"):
            problems.append(f"`validation` = {card['validation']!r} (expected none, simulated or local)")
        if card["architecture"].get("taxa") != len(taxa):
            problems.append(
                f"`architecture` is for {card['architecture'].get('taxa')} taxa, the card names {len(taxa)}"
            )
    if problems:
        raise WeightsError(f"{path}: not the card of a detector: {'; '.join(problems)}")


def _network(card: Mapping[str, Any], path: Path) -> Network:
    architecture = card["architecture"]
    if "family" in card:
        network = make_family(card["family"], int(architecture["taxa"]))
        if network.architecture != architecture:
            raise WeightsError(
                f"{path}: `architecture` = {architecture!r} is not that of {card['family']} in this version "
                f"({network.architecture!r})"
            )
        return network
    return _centre_point_network(card, path)


def _centre_point_network(card: Mapping[str, Any], path: Path) -> CentrePointNetwork:
    try:
        network = network_of(card["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: `architecture` = {card['architecture']!r} is none that this version knows"
        ) from error
    if (told := card.get("size")) is not None and told != size_of(network):
        raise WeightsError(
            f"{path}: `size` = {told!r}, but its `architecture` is that of {size_of(network) or 'no known size'}. "
            "The card was changed by hand, or is of a later version"
        )
    return network
