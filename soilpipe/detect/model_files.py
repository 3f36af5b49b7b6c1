"""The two files of any model, weights.safetensors and card.json: read, checked and told apart from what only looks so.

Nothing here can run code that lies in a file. Each function raises the error class it is given, which is that of the
kind of model that is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor, nn

from soilpipe.errors import SoilpipeError
from soilpipe.model_cache import CARD as CARD
from soilpipe.model_cache import WEIGHTS as WEIGHTS


def version_of(weights: bytes, card: bytes) -> str:
    """12 hex digits that name these weights with this card."""
    return hashlib.sha256(weights + card).hexdigest()[:12]


def card_bytes(card: Mapping[str, Any]) -> bytes:
    """A card as it is written: the same card, the same bytes."""
    return (json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_bytes(path: Path, error: type[SoilpipeError], what: str) -> bytes:
    """A file of a model's folder. `what`: the kind of model, with its article, for who finds none there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise error(f"{path.parent}: {path.name} is missing. {what} is a folder with {WEIGHTS} and {CARD}") from cause
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror})") from cause


def parse_card(text: bytes, path: Path, error: type[SoilpipeError]) -> Any:
    """The JSON of a card, whatever it holds."""
    try:
        return json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as cause:
        raise error(f"{path}: not readable as JSON ({cause}). Take the file from its source again") from cause


def parse_tensors(weights: bytes, path: Path, error: type[SoilpipeError]) -> dict[str, Tensor]:
    """The tensors of a safetensors file by their names; a pickle is told as one and not opened."""
    if weights[:2] == b"PK" or weights[:1] == b"\x80":
        raise error(
            f"{path}: this is a pickle (torch.save), which can run code when opened and is never read. "
            "Only safetensors files are taken; write the weights again with safetensors.torch.save_file"
        )
    try:
        return read_tensors(weights)
    except SafetensorError as cause:
        raise error(
            f"{path}: not a complete safetensors file ({len(weights)} bytes; {cause}). Copy it again from its source"
        ) from cause


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, error: type[SoilpipeError]) -> None:
    """Load weights into a network, which is then in eval mode. They must be all of it, of its shapes, and finite."""
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    strange = sorted(set(tensors) - set(wanted))
    unlike = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if missing or strange or unlike:
        told = [*(f"no {name}" for name in missing), *(f"unknown {name}" for name in strange), *unlike]
        more = f", and {len(told) - 3} more" if len(told) > 3 else ""
        raise error(
            f"{path}: the weights are of another network than the card says ({'; '.join(told[:3])}{more}). "
            "Weights and card must come from the same training"
        )
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise error(f"{path}: {broken[0]} holds values that are not finite. The training went wrong, or the file")
    network.load_state_dict(dict(tensors))
    network.eval()
