"""What each pass of a detector sees: its heads alone at several scales, and its passes together, by animals' length.

    python benchmarks/passes.py [--detector FOLDER] [--seasons 6] [--lead 12] [--json out.json]

Prints AP50 and recall at work for each class of length, on seasons of `peat`. All rows have the thresholds of the card,
which were chosen for its own passes: recall compares those rows only that have about the same precision. The choice of
passes, and from which length on an animal is the coarser one's (`soilpipe.detect.passes`), rests on this table: seasons
that it was made with are spent, and figures that are told of a detector have to come from others
(`benchmarks/seasons.py --seed`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from seasons import FIRST, SLOT, season

from soilpipe.detect.evaluate import Evaluation, evaluate_detector
from soilpipe.detect.figures import EDGES_MM
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.passes import Passes, finest_told, middle_told, without_finest, without_middle
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.second_stage.looking import SECOND
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.simulate import join_truths

TIMES = (0.5, 1.0, 2.0)  # of the model's um/px, at which the fine head is asked alone


def detectors(shipped: CentrePointDetector) -> dict[str, CentrePointDetector]:
    """The fine head alone at each scale, the coarse one alone, and all together without and with a finest and a middle
    pass. None with a second stage, which would judge what all of them find."""
    card = {key: value for key, value in shipped.card.items() if key != SECOND}
    scale = float(card["um_per_px"])

    def of(**more: object) -> CentrePointDetector:
        return CentrePointDetector(shipped.network, {**without_finest(without_middle(card)), **more}, device="cpu")

    made = {f"fine, {scale * times:.0f} um/px": of(heads=["fine"], um_per_px=scale * times) for times in TIMES}
    coarse = of()
    coarse.passes = Passes(("coarse",), (), ())
    made[f"coarse, {4 * scale:.0f} um/px"] = coarse
    finest, middle = finest_told(scale), middle_told(scale)
    return {
        **made,
        "fine and coarse": of(),
        "finest, fine and coarse": of(**finest),
        "fine, middle and coarse": of(**middle),
    }


def table(title: str, judged: dict[str, Evaluation], figure: str) -> str:
    """A row for each detector, a column for each class of length, mm, that has animals."""
    classes = [one.shortest for one in next(iter(judged.values())).by_length_mm]
    animals = [one.animals for one in next(iter(judged.values())).by_length_mm]
    ends = dict(zip((0.0, *EDGES_MM), (*EDGES_MM, float("inf")), strict=True))
    heads = [f"{least:g}-{ends[least]:g}" for least in classes]
    lines = [f"{title:26s}" + "".join(f"{head:>9s}" for head in (*heads, "all"))]
    lines.append(f"{'animals':26s}" + "".join(f"{count:9d}" for count in (*animals, sum(animals))))
    for name, one in judged.items():
        values = [getattr(size, figure) for size in one.by_length_mm]
        values.append(one.any_taxon.ap50 if figure == "ap50" else one.recall)
        lines.append(f"{name:26s}" + "".join("        -" if value is None else f"{value:9.2f}" for value in values))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seasons", type=int, default=6)
    parser.add_argument("--scans", type=int, default=16, help="scans a season to judge on, six hours apart")
    parser.add_argument("--lead", type=int, default=12, help="scans before those: references only")
    parser.add_argument("--size", type=int, default=1792, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--crowd", type=float, default=80.0, help="animals per 100 cm2")
    parser.add_argument("--seed", type=int, default=900_000, help="of the first season")
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="a folder with weights and card")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    arguments = parser.parse_args()
    shipped = load_detector(arguments.detector, device="cpu")
    if not isinstance(shipped, CentrePointDetector) or "coarse" not in shipped.card["heads"]:
        raise SystemExit(f"{arguments.detector}: has one pass only, there is nothing to compare")
    torch.set_num_threads(2)
    begins = FIRST + SLOT * arguments.lead

    def after_lead(image: LabelledImage) -> bool:
        return image.captured_at is not None and image.captured_at >= begins

    judged, seconds = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = [season(folder, "peat", number, arguments)[1].name for number in range(arguments.seasons)]
        labels = join_truths(folder, places)
        for name, detector in detectors(shipped).items():
            began = time.process_time()
            judged[name] = evaluate_detector(detector, labels, folder, where=after_lead)
            seconds[name] = time.process_time() - began
            print(f"{name}: {seconds[name]:.0f} core seconds", flush=True)
    first = next(iter(judged.values()))
    print(f"\n{first.images} scans of peat, seed {arguments.seed}; {shipped.info.name} {shipped.info.version}\n")
    print(table("AP50 by length, mm", judged, "ap50"), table("recall at work", judged, "recall"), sep="\n\n")
    for name, one in judged.items():
        print(f"{name}: precision {one.precision or 0:.2f}, recall {one.recall or 0:.2f}, F1 {one.f1 or 0:.2f}")
    if arguments.json:
        told = {name: {"by_mm": [asdict(size) for size in one.by_length_mm]} for name, one in judged.items()}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
