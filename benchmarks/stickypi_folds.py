"""Real photographs, one device left out after the other: what a detector finds on a device that it has never seen.

    python benchmarks/stickypi_folds.py --data FOLDER [--steps 2500] [--folder build/stickypi_folds] [--json FILE]

FOLDER is the real data's folder (the one that holds `stickypi/`): 14 annotated photographs of 7 fixed devices, one
class, 655 boxes. For every device one detector is trained on the six others, for as many steps as are given and with
nothing held back, and asked about the photographs of that device; the answers are judged together. No difference is
used: the photographs of one device lie weeks apart. Light and contrast of the photographs are evened (`train detector
--even-contrast`), since lamps, cards and misted panes differ more between devices than insects do; `--as-scanned`
leaves them as they are.

The threshold of a device is that which counts best among those of nearly the best F1 on the photographs of the six
others (`best_threshold`), each answered by the detector that had not seen that photograph's own device. (Those
detectors have seen this device; its labels have no part in the choice otherwise. The best threshold for all photographs
at once is told beside it, as what could have been had.)
Trained detectors are kept in the folder and not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stickypi import labels_with_scanners

from soilpipe.background import Registration
from soilpipe.detect.base import Detections, Detector, DetectorInfo
from soilpipe.detect.coco import LabelledImage, LabelSet, only, read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.evaluate import LOWEST, evaluate_detector
from soilpipe.detect.recipe import Recipe
from soilpipe.detect.scoring import Matches, best_threshold, match, pool
from soilpipe.detect.starting import Start
from soilpipe.detect.training import train_detector
from soilpipe.detect.weights import load_detector
from soilpipe.tiles import ScanImage

AP50_TARGET, CENTRE_F1_TARGET, COUNT_TARGET = 0.78, 0.85, 0.15


class Answered:
    """Detections that are known already, as a detector: those of each image at or above its own threshold."""

    def __init__(self, info: DetectorInfo, found: dict[str, Detections], least: dict[str, float]) -> None:
        self.info = replace(info, threshold=LOWEST)
        self._found, self._least = found, least

    def detect(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        *,
        threshold: float | None = None,
    ) -> Detections:
        """As `soilpipe.detect.base.Detector`."""
        name = scan.scan_id or ""
        found = self._found[name]
        return found.select(found.scores >= self._least.get(name, 0.0))


def trained(device: str, labels: Path, images: Path, folder: Path, recipe: Recipe, more: dict[str, Any]) -> Detector:
    """The detector that has not seen a device."""
    out = folder / f"without_{device}{'-even' if more['even'] else ''}"
    if not (out / "card.json").exists():

        def progress(stage: str, done: int, of: int, figures: Any) -> None:
            told = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"\r{stage} {done}/{of}  {told}   ", end="", flush=True)

        began = time.monotonic()
        train_detector(
            labels,
            images,
            out,
            single_class=True,
            scale=more["scale"],
            difference=False,
            even=more["even"],
            where=lambda image: image.scanner_id != device,
            where_told=f"all devices but {device}",
            val_scanners=(),
            recipe=recipe,
            size=more["size"],
            progress=progress,
        )
        print(f"\rwithout {device}: trained in {time.monotonic() - began:.0f} s" + " " * 60, flush=True)
    return load_detector(out)


def matches_of(given: LabelSet, found: dict[str, Detections]) -> dict[str, Matches]:
    """Each image's detections beside its labels, at IoU 0.5."""
    return {image.file_name: match(found[image.file_name], image.boxes, None, image.crowd) for image in given.labelled}


def _is_of(device: str, image: LabelledImage) -> bool:
    return image.labelled and image.scanner_id == device


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds stickypi/")
    parser.add_argument("--folder", type=Path, default=Path("build/stickypi_folds"), help="where detectors go")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", default="medium")
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--light", type=float, default=0.5)
    parser.add_argument("--as-scanned", action="store_true", help="do not even the photographs' contrast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", default="", help="only these, with commas between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = arguments.data / "stickypi" / "images"
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.json"
    labels.write_text(json.dumps(labels_with_scanners(arguments.data / "stickypi" / "annotations.json")))
    given = read_labels(labels, images)
    recipe = Start(arguments.size).recipe(
        steps=arguments.steps, batch=arguments.batch, light=arguments.light, seed=arguments.seed
    )
    more = {"scale": arguments.scale, "size": arguments.size, "even": not arguments.as_scanned}
    devices = sorted({image.scanner_id or "" for image in given.labelled})
    devices = [device for device in devices if device in (arguments.devices or device)]
    found: dict[str, Detections] = {}
    device_of = {image.file_name: image.scanner_id for image in given.labelled}
    info: DetectorInfo | None = None
    for device in devices:
        detector = trained(device, labels, images, folder, recipe, more)
        info = detector.info
        for scene in open_scenes(given, difference=False):
            if scene.image.scanner_id == device:
                found[scene.image.file_name] = detector.detect(scene.scan, (), (), threshold=LOWEST)
    assert info is not None
    judged_on = only(given, lambda image: image.labelled and image.scanner_id in devices)
    matches = matches_of(judged_on, found)
    thresholds = {
        device: best_threshold(
            pool([matches[name] for name in matches if device_of[name] != device] or [*matches.values()])
        )[0]
        for device in devices
    }
    where = lambda image: image.scanner_id in devices  # noqa: E731
    ranked = evaluate_detector(Answered(info, found, {}), labels, images, where=where, difference=False)
    least = {name: thresholds[device_of[name] or ""] for name in found}
    at_work = evaluate_detector(Answered(info, found, least), labels, images, where=where, difference=False)
    truths = np.array([len(image.boxes) for image in judged_on.labelled])
    claimed = np.array(
        [int((found[image.file_name].scores >= least[image.file_name]).sum()) for image in judged_on.labelled]
    )
    error = float(np.abs(claimed - truths).sum() / truths.sum())
    print(f"\n{'device':10s} {'images':>6s} {'labels':>6s} {'AP50':>6s} {'found':>6s} {'thr.':>5s}")
    for device in devices:
        names = [name for name in found if device_of[name] == device]
        one = evaluate_detector(
            Answered(info, found, {}), labels, images, where=partial(_is_of, device), difference=False
        )
        claims = sum(int((found[name].scores >= thresholds[device]).sum()) for name in names)
        count = sum(len(image.boxes) for image in judged_on.labelled if image.file_name in names)
        ap50, threshold = one.any_taxon.ap50 or 0.0, thresholds[device]
        print(f"{device:10s} {len(names):6d} {count:6d} {ap50:6.3f} {claims:6d} {threshold:5.2f}")
    best, best_f1 = best_threshold(pool([*matches.values()]))
    figures = {
        "ap50": ranked.any_taxon.ap50,
        "ap75": ranked.any_taxon.ap75,
        "ap": ranked.any_taxon.ap,
        "intervals": {key: ranked.intervals.get(key) for key in ("ap50", "ap75", "ap")},
        "precision": at_work.precision,
        "recall": at_work.recall,
        "f1": at_work.f1,
        "centre_f1": at_work.centre_f1,
        "count_error": error,
        "count_bias": float(claimed.sum() / truths.sum() - 1),
        "f1_of_one_threshold": best_f1,
        "best_threshold": best,
        "thresholds": thresholds,
        "recipe": vars(recipe),
        **more,
    }
    for key in ("ap50", "ap75", "ap", "precision", "recall", "f1", "centre_f1", "count_error", "count_bias"):
        print(f"{key:14s} {figures[key]:.3f}")
    print(f"F1 of the best one threshold {best_f1:.3f} at {best:.2f}; 95 % of AP50: {figures['intervals']['ap50']}")
    for what, value, met in (
        ("AP50", figures["ap50"], figures["ap50"] >= AP50_TARGET),
        ("centre F1", figures["centre_f1"], figures["centre_f1"] >= CENTRE_F1_TARGET),
        ("count error", error, error <= COUNT_TARGET),
    ):
        print(f"{what}: {value:.3f}, {'met' if met else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
