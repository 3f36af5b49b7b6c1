"""Beginning from the weights of another detector."""

from __future__ import annotations

from pathlib import Path

from soilpipe.detect.network import ANSWERS, CentrePointNetwork
from soilpipe.detect.weights import load_detector


def begin_from(network: CentrePointNetwork, taxa: tuple[str, ...], folder: Path | str) -> None:
    """Take over the weights of another detector: all that has the same shape, and the rows of the taxa both know."""
    other = load_detector(folder, device="cpu")
    given, wanted = other.network.state_dict(), network.state_dict()
    for name, tensor in wanted.items():
        if ".out." in name:
            rows = [(row, row) for row in range(ANSWERS)]
            rows += [
                (ANSWERS + taxa.index(taxon), ANSWERS + other.info.taxa.index(taxon))
                for taxon in taxa
                if taxon in other.info.taxa
            ]
            for mine, its in rows:
                if tensor[mine].shape == given[name][its].shape:
                    tensor[mine] = given[name][its].to(tensor.device)
        elif name in given and given[name].shape == tensor.shape:
            tensor.copy_(given[name])
    network.load_state_dict(wanted)
