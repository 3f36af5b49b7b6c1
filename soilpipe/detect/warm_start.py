"""Beginning from the weights of another detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from soilpipe.detect.network import ANSWERS, CentrePointNetwork
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.weight_ensemble import Known, known_rows
from soilpipe.detect.weights import load_detector


def begin_from(network: nn.Module, taxa: tuple[str, ...], folder: Path | str) -> None:
    """Take over the weights of another detector of the same architecture; what tells taxa, for those that both know.

    TrainingError when its architecture is another.
    """
    wanted = network.state_dict()
    for name, part, before in known_before(network, taxa, folder):
        wanted[name][part] = before.to(wanted[name].device)
    network.load_state_dict(wanted)


def known_before(network: nn.Module, taxa: tuple[str, ...], folder: Path | str) -> Iterator[Known]:
    """The weights that a network for `taxa` takes over from the detector in a folder, on the CPU. TrainingError when
    the architecture of that is another."""
    other = load_detector(folder, device="cpu")
    mine, its = (_shape(one.architecture) for one in (network, other.network))
    if mine != its:
        raise TrainingError(
            f"{other.info.name} cannot be begun from: its network is {its}, the one to train is {mine}. Begin from a "
            "detector of the same --size or --family, or with --from none"
        )
    given, wanted = other.network.state_dict(), network.state_dict()
    of_taxa = _rows(network, taxa, other.info.taxa)
    for name, tensor in wanted.items():
        if of_taxa is not None and ".out." in name:
            yield from known_rows(of_taxa, name, given[name])
        elif name in given and given[name].shape == tensor.shape and (taxa == other.info.taxa or not _tells(name)):
            yield name, ..., given[name]


def _shape(architecture: Any) -> Mapping[str, Any]:
    """The architecture but for its number of taxa, and its second stage, which is not taken over here."""
    return {key: value for key, value in dict(architecture).items() if key not in ("taxa", "second")}


def _rows(network: nn.Module, taxa: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]] | None:
    """Of a centre-point network: which row of the answer takes over which of the other's."""
    if not isinstance(network, CentrePointNetwork):
        return None
    known = [(taxa.index(taxon), others.index(taxon)) for taxon in taxa if taxon in others]
    return [(row, row) for row in range(ANSWERS)] + [(ANSWERS + mine, ANSWERS + its) for mine, its in known]


def _tells(name: str) -> bool:
    """Whether a weight of torchvision's detectors answers for one taxon after the other."""
    return any(part in name for part in ("box_predictor", "cls_logits"))
