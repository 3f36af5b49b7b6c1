"""Real photographs, one device left out after the other: what a detector finds on a device that it has never seen.

    python benchmarks/stickypi_folds.py --data FOLDER [--seeds 0 1 2] [--steps 2500] [--second-steps 1200]
                                        [--folder build/stickypi_folds] [--json FILE]

FOLDER is the real data's folder (the one that holds `stickypi/`): 14 annotated photographs of 7 fixed devices, one
class, 655 boxes. For every device one detector is trained on the six others, for as many steps as are given and with
nothing held back, and asked about the photographs of that device; the answers are judged together. No difference is
used: the photographs of one device lie weeks apart. Light and contrast of the photographs are evened (`train detector
--even-contrast`), since lamps, cards and misted panes differ more between devices than insects do; `--as-scanned`
leaves them as they are.

The threshold of a device is that which counts best among those of nearly the best F1 on the photographs of the six
others (`best_threshold`), each answered by the detector that had not seen that photograph's own device. (Those
detectors have seen this device; its labels have no part in the choice otherwise. The best threshold for all photographs
at once is told beside it, as what could have been had.) With a single device there is nothing to choose it by: then
only the figures that need no threshold are told.

All of it is done once a seed; told are means with their spread. Trained detectors are kept in the folder and not
trained again; one that was trained with other settings than are asked for stops the run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kept_settings import kept_card, um_per_px_at
from stickypi import labels_with_scanners
from stickypi_folds_judge import is_of, judged, report

from soilpipe.detect.base import Detections, Detector
from soilpipe.detect.coco import LabelledImage, LabelSet, only, read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.evaluate import LOWEST
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.starting import Start
from soilpipe.detect.training import train_detector
from soilpipe.detect.weights import load_detector


@dataclass(frozen=True)
class Fold:
    """The training that leaves one device out, with one seed."""

    device: str
    out: Path
    recipe: Recipe
    scale: float
    size: str
    even: bool

    @classmethod
    def of(cls, device: str, seed: int, arguments: argparse.Namespace) -> Fold:
        """By the command line. Seed 0 has a folder without its name, as it had when there was one seed a folder."""
        even = not arguments.as_scanned
        name = f"without_{device}{'-even' if even else ''}{f'-seed{seed}' if seed else ''}"
        recipe = Start(arguments.size).recipe(
            steps=arguments.steps,
            batch=arguments.batch,
            light=arguments.light,
            seed=seed,
            second_steps=arguments.second_steps,
        )
        return cls(device, arguments.folder / name, recipe, arguments.scale, arguments.size, even)

    @property
    def taken(self) -> str:
        """What is trained on, in words."""
        return f"all devices but {self.device}"

    def learns_from(self, image: LabelledImage) -> bool:
        """Whether an image is of another device."""
        return image.scanner_id != self.device

    def kept(self, given: LabelSet) -> dict[str, Any] | None:
        """The card of an earlier run, None where it has not been trained; stops where it was trained otherwise."""
        um_per_px = um_per_px_at(only(given, self.learns_from), self.scale)
        return kept_card(
            self.out, self.recipe, labels_taken=self.taken, um_per_px=um_per_px, size=self.size, even=self.even
        )


def trained(fold: Fold, given: LabelSet, labels: Path, images: Path) -> tuple[Detector, float]:
    """The detector that has not seen a device, and the seconds of its training, now or in an earlier run."""
    card = fold.kept(given)
    which, when = f"without {fold.device}, seed {fold.recipe.seed}", "before"
    if card is None:

        def progress(stage: str, done: int, of: int, figures: Any) -> None:
            told = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"\r{stage} {done}/{of}  {told}   ", end="", flush=True)

        card = train_detector(
            labels,
            images,
            fold.out,
            single_class=True,
            scale=fold.scale,
            difference=False,
            even=fold.even,
            where=fold.learns_from,
            where_told=fold.taken,
            val_scanners=(),
            recipe=fold.recipe,
            size=fold.size,
            progress=progress,
        )
        when = "now"
    print(f"\r{which}: trained {when}, in {card['seconds']:.0f} s" + " " * 60, flush=True)
    return load_detector(fold.out), float(card["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds stickypi/")
    parser.add_argument("--folder", type=Path, default=Path("build/stickypi_folds"), help="where detectors go")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--second-steps", type=int, default=0, help="of a second stage; 0: none")
    parser.add_argument("--size", default="medium")
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--light", type=float, default=0.5)
    parser.add_argument("--as-scanned", action="store_true", help="do not even the photographs' contrast")
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--devices", default="", help="only these, with commas between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = arguments.data / "stickypi" / "images"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    labels = arguments.folder / "labels.json"
    labels.write_text(json.dumps(labels_with_scanners(arguments.data / "stickypi" / "annotations.json")))
    given = read_labels(labels, images)
    there = sorted({image.scanner_id or "" for image in given.labelled})
    devices = sorted(set(arguments.devices.split(","))) if arguments.devices else there
    if unknown := sorted(set(devices) - set(there)):
        parser.error(f"no photographs of {', '.join(unknown)}; there are {', '.join(there)}")
    folds = {seed: [Fold.of(device, seed, arguments) for device in devices] for seed in arguments.seeds}
    for fold in (fold for of_seed in folds.values() for fold in of_seed):
        fold.kept(given)  # one that was trained otherwise is told of before hours go into the rest
    rows: list[dict[str, Any]] = []
    for seed, of_seed in folds.items():
        found: dict[str, Detections] = {}
        seconds: dict[str, float] = {}
        for fold in of_seed:
            detector, seconds[fold.device] = trained(fold, given, labels, images)
            for scene in open_scenes(only(given, partial(is_of, [fold.device])), difference=False):
                found[scene.image.file_name] = detector.detect(scene.scan, (), (), threshold=LOWEST)
        judged_on = only(given, partial(is_of, devices))
        figures = judged(judged_on, found, detector.info, labels, images)
        made_with = {"recipe": vars(fold.recipe), "scale": fold.scale, "size": fold.size, "even": fold.even}
        rows.append({"seed": seed, "seconds": seconds, **figures, **made_with})
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1, default=str) + "\n")
    report(rows, len(devices), len(there))


if __name__ == "__main__":
    main()
