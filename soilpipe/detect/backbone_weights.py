"""Weights for the encoder of a network: of a ResNet from anywhere, or those of an encoder of ours.

For the sizes resnet18 and resnet50: torchvision's, self-supervised, or those inside a whole checkpoint. For small and
medium: the folder of an encoder (`soilpipe.encoder`) or of a detector of the same size, or the weights file in it.

Read are state dicts, saved with torch.save (opened with weights_only, so that nothing in them can run) or as
safetensors. A ResNet may lie anywhere in the names (`backbone.`, `module.encoder_q.`), under torchvision's names or
numbered, as torch.nn.Sequential numbers the children of a ResNet. Classifiers and projection heads are left aside.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from soilpipe.detect.model_files import CARD, WEIGHTS, version_of
from soilpipe.detect.network import CHANNELS, CentrePointNetwork
from soilpipe.errors import SoilpipeError

NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""The children of a ResNet by their place; 2 and 3 (ReLU, maximum) have no weights."""

BLOCKS = {
    (2, 2, 2, 2): ("resnet18", "resnet26"),
    (3, 4, 6, 3): ("resnet34", "resnet50"),
    (3, 4, 23, 3): ("", "resnet101"),
}
"""Blocks of each layer: the ResNet of plain blocks and that of bottlenecks."""

OWN = ("stem.", "down.")
"""Before the names of an encoder of our own widths."""

HOLDERS = ("state_dict", "model_state_dict", "model", "student", "teacher")
"""Under which a checkpoint keeps its weights beside optimiser and epoch."""

SECOND = ("momentum", "encoder_k", "teacher", "ema", "target")
"""In the names of a second copy that is not the one to take when another is there."""


class BackboneError(SoilpipeError):
    """A file that cannot serve as a network's backbone."""


def load_backbone(network: CentrePointNetwork | nn.Module, path: Path | str) -> None:
    """Fill the encoder of a network, or a bare torchvision ResNet, from a file or the folder of an encoder.

    For a ResNet a first convolution of 3 channels fills those of R, G, B, the others become zero: the encoder answers
    on the picture as the given one does. One of 7 channels is taken as it is. BackboneError, with the network
    unchanged, for another architecture, a file that is cut short, or one that is no state dict.
    """
    path = Path(path)
    if path.is_dir() and (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    encoder = getattr(network, "encoder", network)
    wanted = encoder.state_dict()
    if "layer1.0.conv1.weight" in wanted:
        encoder.load_state_dict(_resnet_for(wanted, find_resnet(read_state(path), path), path))
    else:
        network.load_state_dict(_own_for(network, read_state(path), path), strict=False)


def backbone_name(path: Path | str) -> str:
    """How a card names a backbone: by its file, or by the folder of a model and the model's version."""
    path = Path(path)
    try:
        return f"{path.name} {version_of((path / WEIGHTS).read_bytes(), (path / CARD).read_bytes())}"
    except OSError:
        return path.name


def _resnet_for(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The whole state dict of a ResNet, filled from another."""
    mine, its = _kind(wanted), _kind(given)
    if mine != its:
        raise BackboneError(f"{path}: holds a {its}, the network is a {mine}. They must be the same")
    filled = {}
    for name, tensor in wanted.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            filled[name] = tensor
            continue
        if name not in given:
            raise BackboneError(
                f"{path}: {name} is missing in its {its}. The file is not whole; take it from its source again"
            )
        value = given[name].to(tensor.dtype)
        if name == "conv1.weight" and value.shape[1] == 3 and tensor.shape[1] == CHANNELS:
            value = widened(value)
        if value.shape != tensor.shape:
            raise BackboneError(
                f"{path}: {name} is {tuple(value.shape)}, not {tuple(tensor.shape)}: a {its} of another kind "
                "(widened, grouped, or with a first convolution for other pictures)"
            )
        filled[name] = _finite(value, name, path)
    return filled


def _own_for(network: nn.Module, given: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights of an encoder of our own widths, stem and down blocks, from a file that holds one."""
    wanted = {name: value for name, value in network.state_dict().items() if name.startswith(OWN)}
    mine = {name: value for name, value in given.items() if name.startswith(OWN)}
    if not wanted or not mine:
        its = "no encoder of ours"
        if any(name.endswith("layer1.0.conv1.weight") for name in given):
            its = "a ResNet. Weights of such a backbone are for the sizes resnet18 and resnet50"
        raise BackboneError(
            f"{path}: holds {its}; this network has an encoder of its own, and takes the folder of an encoder or of a "
            "detector of its own size"
        )
    shapes, its_shapes = ({name: value.shape for name, value in state.items()} for state in (wanted, mine))
    unlike = [name for name in {**wanted, **mine} if shapes.get(name) != its_shapes.get(name)]
    if unlike:
        raise BackboneError(
            f"{path}: holds the encoder of {_widths(mine)}, the network has {_widths(wanted)} ({unlike[0]} differs). "
            "They must be of the same size"
        )
    return {name: _finite(value.to(wanted[name].dtype), name, path) for name, value in mine.items()}


def _widths(state: Mapping[str, Tensor]) -> str:
    """Channels of an encoder of ours, at strides 2 to 32."""
    firsts = sorted(name for name in state if name.endswith(("stem.conv.weight", "second.conv.weight")))
    return " ".join(str(state[name].shape[0]) for name in [*firsts[-1:], *firsts[:-1]]) + " channels"


def _finite(value: Tensor, name: str, path: Path) -> Tensor:
    if not bool(value.isfinite().all()):
        raise BackboneError(f"{path}: {name} holds values that are not finite. That training went wrong, or the file")
    return value


def widened(weight: Tensor) -> Tensor:
    """(out, 3, k, k) weights of a first convolution to (out, 7, k, k): as they are for R, G, B, zero for the rest."""
    wide = weight.new_zeros((weight.shape[0], CHANNELS, *weight.shape[2:]))
    wide[:, :3] = weight
    return wide


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by their names. BackboneError when it is none of the two kinds that are read."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start == b"PK" and not zipfile.is_zipfile(path):
            raise EOFError("its end is missing")
        if start == b"PK" or start[:1] == b"\x80":
            return _tensors(torch.load(path, map_location="cpu", weights_only=True), path)
        return load_file(path)
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{path}: is a pickle with more in it than tensors, which could run code, or one cut short. It is not "
            "opened; save the model's state_dict() in a file of its own, or copy it again from its source"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise BackboneError(
            f"{path}: neither a whole file of torch.save nor of safetensors ({str(error).splitlines()[0][:200]}). "
            "Copy it again from its source"
        ) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of what torch.load gave: those of a state dict, or of the one within a checkpoint."""
    for _ in range(3):
        if isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        inner = [
            content[key] for key in HOLDERS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        if not inner:
            break
        content = inner[0]
    there = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        there += f" with {', '.join(map(str, list(content)[:5]))}"
    raise BackboneError(f"{path}: holds {there}, no state dict (names and their tensors)")


def find_resnet(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of the ResNet in a state dict, under torchvision's names. BackboneError when there is none.

    Of a model and its moving average (a momentum encoder, a teacher) the model is taken; of several, none.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for first, block in (("conv1.weight", "layer1.0.conv1.weight"), ("0.weight", "4.0.conv1.weight")):
        for name in state:
            prefix = name.removesuffix(first)
            if name.endswith(first) and (not prefix or prefix.endswith(".")) and prefix + block in state:
                inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                found[prefix] = inside if first == "conv1.weight" else _named(inside)
    if len(found) > 1:
        found = {prefix: part for prefix, part in found.items() if not any(word in prefix for word in SECOND)} or found
    if len(found) > 1:
        raise BackboneError(
            f"{path}: holds several ResNets ({', '.join(sorted(found))}). Save the state dict of the one that is meant"
        )
    if not found:
        raise BackboneError(
            f"{path}: holds no ResNet ({len(state)} tensors, the first are {', '.join(list(state)[:3]) or 'none'}); "
            "expected are torchvision's names, such as layer1.0.conv1.weight, after any prefix"
        )
    return next(iter(found.values()))


def _named(numbered: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names by place (4.0.conv1.weight) as torchvision's (layer1.0.conv1.weight)."""
    named = {}
    for name, value in numbered.items():
        place, _, rest = name.partition(".")
        if place in NUMBERED:
            named[f"{NUMBERED[place]}.{rest}"] = value
    return named


def _kind(state: Mapping[str, Tensor]) -> str:
    """resnet18, resnet50 and so on, by the number and the kind of its blocks."""
    blocks = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{layer}.")}) for layer in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in state
    known = BLOCKS.get(blocks, ("", ""))[bottleneck] if len(blocks) == 4 else ""
    return known or f"ResNet of {'bottlenecks' if bottleneck else 'plain blocks'} {'-'.join(map(str, blocks))}"
