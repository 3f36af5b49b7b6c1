"""Average the weights of detectors that were trained on from one and the same, each on scenes of its own.

    python benchmarks/average_detectors.py build/one build/other --out build/both

Trainings that begin from one network and stay near it end in one valley of the loss, and the middle of where they end
is often better than either end (Wortsman et al. 2022, Model soups), at the cost of one network. So a long training can
be shared by machines that know nothing of each other. Whether it is better is for validation images to say: judge all
of them (`make_shipped_detector.py judge`) before one is taken. Statistics of batch normalisation are averaged, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soilpipe.detect.ancestry import ancestors_of
from soilpipe.detect.weights import load_detector, save_detector

ALIKE = (
    "taxa",
    "um_per_px",
    "architecture",
    "heads",
    "border_mm",
    "border_tolerance",
    "difference",
    "precision",
    "contrast",
)
"""What the cards must have in common, beside the detector that the trainings began from."""


def average(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the mean of the detectors in `folders` into `out`.

    The card is that of the first, with its figures and thresholds until it is judged, and tells what all of them were
    trained on. SystemExit where they are not trainings of one kind from one beginning.
    """
    detectors = [load_detector(folder, device="cpu") for folder in folders]
    cards, network = [detector.card for detector in detectors], detectors[0].network
    for folder, card in zip(folders, cards, strict=True):
        differs = [
            f"{key} {card.get(key)!r} and {cards[0].get(key)!r}" for key in ALIKE if card.get(key) != cards[0].get(key)
        ]
        if differs:
            raise SystemExit(f"{folder}: not of one kind with {folders[0]}: {', '.join(differs)}")
        if _begun_from(card) is None or _begun_from(card) != _begun_from(cards[0]):
            raise SystemExit(f"{folder}: began from {_begun_from(card)}, {folders[0]} from {_begun_from(cards[0])}")
    states = [detector.network.state_dict() for detector in detectors]
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))
    versions = [detector.info.version for detector in detectors]
    others = [ancestors_of(card, version)[0] for card, version in zip(cards[1:], versions[1:], strict=True)]
    raised = round(sum(card.get("coarse_raised", 0.0) for card in cards) / len(cards), 4)
    card = {
        **cards[0],
        "coarse_raised": raised,
        "averaged_of": versions,
        "ancestors": [*others, *cards[0]["ancestors"]],
    }
    save_detector(out, network, card)
    return card


def _begun_from(card: Mapping[str, Any]) -> str | None:
    """The version of the detector that a training began from; None where it began from none, or does not tell."""
    before = card.get("ancestors")  # a backbone is one as well: two networks that share it alone have no middle
    return before[0]["version"] if before and card.get("warm_start") is not None else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of detectors, two or more")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if len(arguments.folders) < 2:
        parser.error("two detectors or more")
    card = average(arguments.folders, arguments.out)
    print(json.dumps({"averaged_of": card["averaged_of"]}))


if __name__ == "__main__":
    main()
