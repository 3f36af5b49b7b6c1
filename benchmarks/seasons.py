"""What detectors are worth on seasons of the generator that no detector is trained on (`peat`).

    python benchmarks/seasons.py [--seasons 6] [--seed N] [--detector FOLDER]
    python benchmarks/seasons.py --lead 12 --size 2560 --alone      # as in a running project, on larger scans

Prints one table: AP50 for any taxon over all animals, over those that moved in, and over those that rest (there in
three scans before or more), the mean over taxa, F1 and the count error, for the detector with and without the
difference, beside the `change` detector and the two threshold-and-blob baselines, which are tuned on training seasons.

A season of 20 small scans is hard in two ways that a running project is not: a quarter of its animals lie in scans that
have no references or too young ones, and as many are cut off by the border. `--lead` puts scans before those that are
judged, which are references only; 12 of them, six hours apart, make all four references of the first one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import torch

from soilpipe.detect.base import Detector
from soilpipe.detect.baseline import LabelledScan, tune_blobs
from soilpipe.detect.change import ChangeDetector
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.evaluate import Evaluation, evaluate_detector
from soilpipe.detect.labelled import LabelledImage, only
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.simulate import SeasonSpec, join_truths, write_season

FIRST = datetime(2025, 5, 1, tzinfo=UTC)
SLOT = timedelta(hours=6)


def season(
    folder: Path, generator: Literal["loam", "peat"], number: int, arguments: argparse.Namespace
) -> tuple[Path, Path]:
    """Write one season; its truth.json and its folder of scans."""
    spec = SeasonSpec(
        scanner_id=f"{generator}{number:03d}",
        generator=generator,
        seed=arguments.seed + number,
        times=tuple(FIRST + SLOT * slot for slot in range(arguments.lead + arguments.scans)),
        height_px=arguments.size,
        width_px=arguments.size,
        dpi=1200.0,
        animals_per_100cm2=arguments.crowd,
    )
    place = folder / spec.scanner_id
    return write_season(spec, place, extension="jpg", quality=92), place


def row(name: str, judged: Evaluation) -> str:
    """One line of the table."""
    figures = (
        judged.any_taxon.ap50,
        judged.moving.ap50,
        judged.resting.ap50,
        judged.mean_of_taxa.ap50,
        judged.precision,
        judged.recall,
        judged.f1,
    )
    values = "  ".join("    -" if value is None else f"{value:5.3f}" for value in figures)
    relative = judged.count_error_relative
    return f"{name:34s} {values}   {'-' if relative is None else f'{100 * relative:.0f} %'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seasons", type=int, default=6, help="test seasons")
    parser.add_argument("--scans", type=int, default=20, help="scans a season to judge on, six hours apart")
    parser.add_argument("--lead", type=int, default=0, help="scans before those, six hours apart too: references only")
    parser.add_argument("--size", type=int, default=1280, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--crowd", type=float, default=80.0, help="animals per 100 cm2")
    parser.add_argument("--seed", type=int, default=910_000, help="of the first season; seasons looked at are spent")
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="a folder with weights and card")
    parser.add_argument("--alone", action="store_true", help="without the rivals, which take most of the time")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tests = [season(folder, "peat", number, arguments) for number in range(arguments.seasons)]
        training = [] if arguments.alone else [season(folder, "loam", number, arguments) for number in range(2)]
        begins = FIRST + SLOT * arguments.lead

        def after_lead(image: LabelledImage) -> bool:
            return image.captured_at is not None and image.captured_at >= begins

        labels = join_truths(folder, [place.name for _, place in tests])
        tuned_on = [
            LabelledScan(scene.scan, scene.references, scene.registrations, scene.image.boxes[~scene.image.crowd])
            for truth, place in training
            for scene in open_scenes(only(read_labels(truth, place), after_lead))
        ]
        trained = load_detector(arguments.detector, device="cpu")
        rows: list[tuple[str, Detector, bool]] = [
            (f"{trained.info.name}, with difference", trained, True),
            (f"{trained.info.name}, without difference", trained, False),
        ]
        if not arguments.alone:
            rows += [
                ("change", ChangeDetector(), True),
                ("threshold and blobs, picture", tune_blobs("picture", tuned_on), True),
                ("threshold and blobs, difference", tune_blobs("difference", tuned_on), True),
            ]
        judged = {
            name: evaluate_detector(detector, labels, folder, where=after_lead, difference=difference)
            for name, detector, difference in rows
        }
    first = next(iter(judged.values()))
    print(
        f"{first.images} scans of peat, {first.any_taxon.animals} animals ({first.moving.animals} moved in, "
        f"{first.resting.animals} resting), {first.images_with_difference} scans with a difference; "
        f"{trained.network.parameter_count:,} parameters, version {trained.info.version}"
    )
    heads = "  ".join(f"{head:>5s}" for head in ("AP50", "moved", "rest", "taxa", "prec.", "rec.", "F1"))
    print(f"{'':34s} {heads}   count error")
    for name, evaluation in judged.items():
        print(row(name, evaluation))
    for name, evaluation in judged.items():
        between = evaluation.intervals["ap50"]
        if between is not None:
            print(f"{name}: AP50 {between[0]:.2f} to {between[1]:.2f} (95 %, by {evaluation.units})")
    if arguments.json:
        arguments.json.write_text(json.dumps({name: value.as_dict() for name, value in judged.items()}, indent=1))


if __name__ == "__main__":
    main()
