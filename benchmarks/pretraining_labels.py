"""Scratch against pretrained at 10, 50 and 100 % of the labels, at equal total compute.

For each seed, and each share of the labelled images:

scratch      a detector trained from nothing, for as many steps as were asked for
pretrained   half of those seconds go into pretraining on all images without their labels, the other half into the
             detector that begins from it
supervised   a detector that begins from the encoder of the one that comes with the package, which was trained on
             simulated labels; what that cost is not counted

AP50 of any taxon on test scanners. A classifier is fitted on the same labels with the encoder of each: of the scratch
detector once it is trained, the pretrained one as it is, and that of the package; macro-F1 on the same test scanners.
Seconds a step are measured before anything is compared, once for a folder. What is finished stays in the folder: a run
that was stopped goes on, and two may share the seeds.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.classify.evaluation import evaluate
from soilpipe.classify.examples import ClassifierError
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.training import train_classifier
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet
from soilpipe.detect.sizes import MEDIUM
from soilpipe.detect.starting import Start
from soilpipe.detect.training import train_detector
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.encoder.crops import window_of
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import encoder_of_detector, load_encoder
from soilpipe.pretrain.learning import crops_per_second, pretrain
from soilpipe.pretrain.learning_recipe import PretrainRecipe
from soilpipe.pretrain.source import draw_batch, place_id
from soilpipe.simulate import SeasonSpec, join_truths, write_season
from soilpipe.taxonomy import SOIL

FIRST, SLOT = datetime(2025, 5, 1, tzinfo=UTC), timedelta(hours=6)
ARMS = ("scratch", "pretrained", "supervised")
UM_PER_PX = 21.17
SHARE = 0.5
"""Of the seconds, what goes into pretraining."""


@dataclass(frozen=True)
class Data:
    """A COCO file with its images; the scanners that test are trained on by nobody."""

    labels: Path
    images: Path
    test: frozenset[str]

    def is_test(self, image: LabelledImage) -> bool:
        """Whether an image belongs to a test scanner."""
        return image.scanner_id in self.test

    def training_names(self) -> list[str]:
        """The labelled images that may be trained on."""
        images = read_labels(self.labels, self.images).labelled
        return sorted(image.file_name for image in images if not self.is_test(image))


def seasons_of_peat(folder: Path, arguments: Namespace) -> Data:
    """Seasons of the second generator; the last two scanners test."""
    names = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.seasons + 2):
        spec = SeasonSpec(
            scanner_id=f"peat{number:03d}",
            generator="peat",
            seed=920_000 + number,
            times=tuple(FIRST + SLOT * slot for slot in range(arguments.season_scans)),
            height_px=arguments.season_side,
            width_px=arguments.season_side,
            dpi=1200.0,
            animals_per_100cm2=80.0,
            evenness=0.5,
        )
        if not (folder / spec.scanner_id / "truth.json").exists():  # a season is complete when its truth is there
            write_season(spec, folder / spec.scanner_id, extension="jpg", quality=92)
        names.append(spec.scanner_id)
    return Data(join_truths(folder, names), folder, frozenset(names[-2:]))


def sticky_pi(source: Path, folder: Path) -> Data:
    """Sticky-Pi's photographs, those that nobody annotated included; the two devices of `stickypi.py` test."""
    from stickypi import HELD_OUT

    labels = json.loads((source / "stickypi/annotations.json").read_text())
    for image in labels["images"]:
        image["scanner_id"] = image["device"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.json"
    path.write_text(json.dumps(labels))
    return Data(path, source / "stickypi/images", frozenset(HELD_OUT))


class ScanCrops:
    """A `CropSource` in memory: windows on a lattice of every image that is not of a test scanner, labelled or not."""

    def __init__(self, data: Data, side: int, a_scan: int, seed: int) -> None:
        given = read_labels(data.labels, data.images)
        shown = tuple(replace(image, labelled=not data.is_test(image)) for image in given.images)
        rng = np.random.default_rng([seed, 7])
        pixels, scanner, place = [], [], []
        for scene in open_scenes(LabelSet(given.source, given.categories, shown, given.simulated)):
            scale = scene.scan.um_per_px / UM_PER_PX
            height, width = int(scene.image.height * scale), int(scene.image.width * scale)
            cells = [(row, column) for row in range(height // side) for column in range(width // side)]
            for row, column in (cells[at] for at in rng.permutation(len(cells))[:a_scan]):
                window = window_of(
                    scene.scan, scene.references, scene.registrations, row * side, column * side, side, UM_PER_PX
                )
                pixels.append(window)
                scanner.append(str(scene.image.scanner_id))
                place.append(place_id(scanner[-1], height, width, side, row, column))
        self._pixels = np.stack(pixels)
        self.scanner, self.place = np.array(scanner), np.array(place, np.int64)
        self.is_new = np.ones(len(place), bool)

    def __len__(self) -> int:
        return len(self._pixels)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """As a `CropSource`."""
        return np.asarray(self._pixels[indices])

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """As a `CropSource`."""
        return draw_batch(self.place, self.is_new, rng, batch)


@dataclass(frozen=True)
class Seconds:
    """What a step costs here: of the detector, and of pretraining."""

    detector: float
    pretraining: float


def measure(data: Data, crops: ScanCrops, folder: Path, arguments: Namespace) -> Seconds:
    """Time some steps of both; what an earlier run measured in this folder stands."""
    kept = folder / "seconds.json"
    if kept.exists():
        return Seconds(**json.loads(kept.read_text()))
    names = frozenset(data.training_names())
    took = []
    for steps in (arguments.timed, 3 * arguments.timed):
        began = time.perf_counter()
        _train(data, names, folder / f"timed-{steps}", steps, 0, None, arguments)
        took.append(time.perf_counter() - began)
    recipe = PretrainRecipe(batch=arguments.batch)
    rate = crops_per_second(crops, size=arguments.size, recipe=recipe, device=arguments.device, steps=arguments.timed)
    seconds = Seconds(max(1e-3, (took[1] - took[0]) / (2 * arguments.timed)), arguments.batch / rate)
    kept.write_text(json.dumps(asdict(seconds)) + "\n")
    return seconds


def labels(arguments: Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """One row a seed, share of the labels and arm."""
    data = sticky_pi(arguments.stickypi, folder) if arguments.stickypi else seasons_of_peat(folder, arguments)
    crops = ScanCrops(data, arguments.crop_side, arguments.crops_a_scan, 0)
    seconds = measure(data, crops, folder, arguments)
    pre_steps = max(1, round(SHARE * arguments.detector_steps * seconds.detector / seconds.pretraining))
    print(
        f"{len(crops)} crops without labels; a step costs {seconds.detector:.3f} s of the detector, "
        f"{seconds.pretraining:.3f} s of pretraining: {arguments.detector_steps} steps, or "
        f"{round((1 - SHARE) * arguments.detector_steps)} after {pre_steps} of pretraining",
        flush=True,
    )
    # The detector of the package is of one size: what begins from its encoder must be of that too.
    arms = ARMS if arguments.size == MEDIUM else ARMS[:2]
    for seed in arguments.only_seeds or range(arguments.seeds):
        pretrained = folder / f"pretrained-{seed}"
        if not (pretrained / "card.json").exists():
            recipe = PretrainRecipe(steps=pre_steps, batch=arguments.batch, seed=seed)
            size, device = arguments.size, arguments.device
            pretrain(crops, pretrained, size=size, recipe=recipe, um_per_px=UM_PER_PX, device=device)
        names = data.training_names()
        order = np.random.default_rng([seed, 11]).permutation(len(names))
        for share in arguments.shares:
            count = max(2, round(share * len(names)))
            chosen = frozenset(names[row] for row in order[:count])
            for arm in arms:
                row = folder / f"{arm}-{seed}-{share:g}.json"
                if not row.exists():
                    figures = _worth(arm, seed, share, data, chosen, pretrained, folder, arguments)
                    row.write_text(json.dumps(figures) + "\n")
                yield json.loads(row.read_text())


def _worth(
    arm: str,
    seed: int,
    share: float,
    data: Data,
    chosen: frozenset[str],
    pretrained: Path,
    folder: Path,
    arguments: Namespace,
) -> dict[str, Any]:
    """One detector and one classifier, trained on the chosen images and judged on the test scanners."""
    out = folder / f"{arm}-{seed}-{share:g}"
    steps = arguments.detector_steps if arm != "pretrained" else round((1 - SHARE) * arguments.detector_steps)
    backbone = {"scratch": None, "pretrained": pretrained, "supervised": SHIPPED}[arm]
    _train(data, chosen, out, max(1, steps), seed, backbone, arguments)
    detector = load_detector(out, device=arguments.device)
    found = evaluate_detector(detector, data.labels, data.images, where=data.is_test)
    encoder = _encoder(arm, out, pretrained, arguments)
    return {
        "seed": seed,
        "share": share,
        "images": len(chosen),
        "arm": arm,
        "ap50": found.any_taxon.ap50,
        "macro_f1": _classifiers_worth(data, chosen, encoder, folder / f"classifier-{arm}-{seed}-{share:g}"),
    }


def _train(
    data: Data, names: frozenset[str], out: Path, steps: int, seed: int, backbone: Path | None, arguments: Namespace
) -> None:
    start = Start(arguments.size, None, backbone)
    train_detector(
        data.labels,
        data.images,
        out,
        taxonomy=SOIL,
        single_class=True,
        where=lambda image: image.file_name in names,
        val_scanners=(),
        um_per_px=UM_PER_PX,
        recipe=start.recipe(steps=steps, seed=seed),
        size=arguments.size,
        backbone=backbone,
        device=arguments.device,
    )


def _encoder(arm: str, detector: Path, pretrained: Path, arguments: Namespace) -> Encoder:
    if arm == "pretrained":
        return load_encoder(pretrained, arguments.device)
    return encoder_of_detector(detector if arm == "scratch" else SHIPPED, arguments.device)


def _classifiers_worth(data: Data, names: frozenset[str], encoder: Encoder, out: Path) -> float | None:
    """Macro-F1 on the test scanners; None where the labels are too few for a classifier, or of no known taxon."""
    try:
        train_classifier(
            data.labels,
            data.images,
            out,
            encoder=encoder,
            taxonomy=SOIL,
            where=lambda image: image.file_name in names,
        )
        test = only(read_labels(data.labels, data.images), data.is_test)
        figures = evaluate(load_classifier(out), labelled_crops(test, encoder, taxonomy=SOIL))
    except (ClassifierError, LabelError) as error:
        print(f"no classifier: {error}", flush=True)
        return None
    return figures.macro_f1


def report(rows: list[dict[str, Any]]) -> None:
    """Means over seeds with their standard deviation."""
    for figure, head in (("ap50", "AP50 of the detector, any taxon"), ("macro_f1", "macro-F1 of the classifier")):
        print(f"{head}, mean (sd) of {len({row['seed'] for row in rows})} seeds")
        shares = sorted({row["share"] for row in rows})
        print(f"{'':14s}" + "".join(f"{f'{share:.0%} of the labels':>24s}" for share in shares))
        for arm in ARMS:
            cells = [_cell([r[figure] for r in rows if r["arm"] == arm and r["share"] == share]) for share in shares]
            print(f"{arm:14s}" + "".join(f"{cell:>24s}" for cell in cells))


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ({np.std(known, ddof=1):.3f})" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{spread}"
