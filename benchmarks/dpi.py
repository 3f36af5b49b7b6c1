"""What a detector finds by the length of the animal and the resolution of the scan.

    python benchmarks/dpi.py [--seasons 6] [--detector FOLDER] [--json FILE]

The same simulated seasons of the generator `peat`, which no shipped detector is trained on, are rendered at 600, 1200
and 2400 dpi: the same animals at the same places, in mm. The detector reads each scan at the pyramid level that fits
its own um/px, as in a project; what is coarser than that is enlarged. The table is recall at the working threshold by
length (the longer side of the box, mm) and dpi, with the number of animals that a person could see at that dpi.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch

from soilpipe.detect.evaluate import Evaluation, evaluate_detector
from soilpipe.detect.figures import EDGES_MM
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.simulate import SeasonSpec, join_truths, write_season

FIRST = datetime(2025, 5, 1, tzinfo=UTC)
SLOT = timedelta(hours=6)
SEED = 960_000
FULL_DPI = 1200


def seasons(folder: Path, dpi: int, arguments: argparse.Namespace) -> Path:
    """Render the seasons at one dpi; their joined labels."""
    side = round(arguments.size * dpi / FULL_DPI)
    names = []
    for number in range(arguments.seasons):
        spec = SeasonSpec(
            scanner_id=f"peat{number:03d}",
            generator="peat",
            seed=SEED + number,
            times=tuple(FIRST + SLOT * scan for scan in range(arguments.scans)),
            height_px=side,
            width_px=side,
            dpi=float(dpi),
            animals_per_100cm2=arguments.crowd,
            evenness=arguments.evenness,
        )
        write_season(spec, folder / spec.scanner_id, extension="jpg", quality=92)
        names.append(spec.scanner_id)
    return join_truths(folder, names)


def table(judged: dict[int, Evaluation]) -> str:
    """Recall and number of animals, a row a class of length, a pair of columns a dpi."""
    lines = ["length, mm    " + "".join(f"{dpi:>6d} dpi  animals" for dpi in judged)]
    for low, high in zip((0.0, *EDGES_MM), (*EDGES_MM, None), strict=True):
        classes = [
            next((one for one in evaluation.by_length_mm if one.shortest == low), None)
            for evaluation in judged.values()
        ]
        if any(classes):
            title = f"{low:g} to {high:g}" if high is not None else f"{low:g} and more"
            cells = ("         -        0" if one is None else f"{one.recall:10.3f}{one.animals:9d}" for one in classes)
            lines.append(f"{title:14s}" + "".join(cells))
    lines.append(f"{'all':14s}" + "".join(f"{one.recall:10.3f}{one.any_taxon.animals:9d}" for one in judged.values()))
    for title, values in (
        ("AP50", [f"{one.any_taxon.ap50 or 0:.3f}" for one in judged.values()]),
        ("F1", [f"{one.f1:.3f}" for one in judged.values()]),
        (
            "from, mm",
            ["-" if one.shortest_found_mm is None else f"{one.shortest_found_mm:g}" for one in judged.values()],
        ),
    ):
        lines.append(f"{title:14s}" + "".join(f"{value:>10s}         " for value in values))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dpi", nargs="+", type=int, default=(600, 1200, 2400))
    parser.add_argument("--seasons", type=int, default=6)
    parser.add_argument("--scans", type=int, default=12, help="scans a season, six hours apart")
    parser.add_argument("--size", type=int, default=1024, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--crowd", type=float, default=300.0, help="animals per 100 cm2")
    parser.add_argument("--evenness", type=float, default=0.5, help="0: the field's frequencies, 1: all taxa alike")
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="a folder with weights and card")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    detector = load_detector(arguments.detector, device="cpu")
    judged: dict[int, Evaluation] = {}
    for dpi in arguments.dpi:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            labels = seasons(Path(scratch), dpi, arguments)
            judged[dpi] = evaluate_detector(detector, labels, scratch)
        print(f"{dpi} dpi: {judged[dpi].images} scans, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{detector.info.name} {detector.info.version}, which reads at {detector.info.um_per_px:g} um per px")
    print(table(judged))
    print("`from, mm`: the shortest length from which on recall is 0.5 or more")
    if arguments.json:
        arguments.json.write_text(json.dumps({dpi: one.as_dict() for dpi, one in judged.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
