"""What the benchmark of labels learns from and judges on: images with their scanners dealt by the seed, and crops of
those that may be learned from."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.labelled import LabelledImage, LabelSet, Where
from soilpipe.detect.weights import SHIPPED, read_card
from soilpipe.encoder.crops import window_of
from soilpipe.pretrain.source import draw_batch, place_id
from soilpipe.simulate import SeasonSpec, join_truths, write_season

FIRST, SLOT = datetime(2025, 5, 1, tzinfo=UTC), timedelta(hours=6)
UM_PER_PX = float(read_card(SHIPPED)[0]["um_per_px"])
"""Of crops, encoders and detectors alike: the scale that the encoder of the package knows."""
TEST, VALIDATION = 2, 2
"""Scanners of each kind."""


@dataclass(frozen=True)
class Data:
    """A COCO file with its images; the scanners that test, and those that validate, are learned from by nobody."""

    labels: Path
    images: Path
    test: frozenset[str]
    validation: frozenset[str]

    def may_learn(self, image: LabelledImage) -> bool:
        """Whether an image may be learned from, with its labels or without."""
        return image.scanner_id not in self.test | self.validation

    def judges(self, on: str) -> Where:
        """Which images are judged on: `test` or `validation`."""
        scanners = {"test": self.test, "validation": self.validation}[on]
        return lambda image: image.scanner_id in scanners

    def training_names(self) -> list[str]:
        """The labelled images that may be trained on."""
        images = read_labels(self.labels, self.images).labelled
        return sorted(image.file_name for image in images if self.may_learn(image))


def season_specs(seed: int, arguments: Namespace) -> list[SeasonSpec]:
    """Seasons of the second generator, of the scanners of one seed."""
    return [
        SeasonSpec(
            scanner_id=f"peat{seed:02d}-{number:03d}",
            generator="peat",
            seed=920_000 + 1_000 * seed + number,
            times=tuple(FIRST + SLOT * slot for slot in range(arguments.season_scans)),
            height_px=arguments.season_side,
            width_px=arguments.season_side,
            dpi=1200.0,
            animals_per_100cm2=80.0,
            evenness=0.5,
        )
        for number in range(arguments.seasons + VALIDATION + TEST)
    ]


def seasons_of_peat(folder: Path, seed: int, arguments: Namespace) -> Data:
    """Those seasons, written; the last scanners test, those before them validate."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = season_specs(seed, arguments)
    for spec in specs:
        if not (folder / spec.scanner_id / "truth.json").exists():  # a season is complete when its truth is there
            write_season(spec, folder / spec.scanner_id, extension="jpg", quality=92)
    names = [spec.scanner_id for spec in specs]
    validation = frozenset(names[-TEST - VALIDATION : -TEST])
    return Data(join_truths(folder, names), folder, frozenset(names[-TEST:]), validation)


def sticky_pi(source: Path, folder: Path, seed: int) -> Data:
    """Sticky-Pi's photographs, those that nobody annotated included; which devices test and validate, the seed says."""
    labels = json.loads((source / "stickypi/annotations.json").read_text())
    for image in labels["images"]:
        image["scanner_id"] = image["device"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labels.json"
    path.write_text(json.dumps(labels))
    devices = sorted({image["device"] for image in labels["images"] if image["labelled"]})
    drawn = [devices[row] for row in np.random.default_rng([seed, 13]).permutation(len(devices))]
    return Data(path, source / "stickypi/images", frozenset(drawn[:TEST]), frozenset(drawn[TEST : TEST + 1]))


def data_of(seed: int, folder: Path, arguments: Namespace) -> Data:
    """The images of one seed, below a folder of their own."""
    own = folder / f"seed-{seed}"
    return sticky_pi(arguments.stickypi, own, seed) if arguments.stickypi else seasons_of_peat(own, seed, arguments)


class ScanCrops:
    """A `CropSource` in memory: windows on a lattice of every image that may be learned from, labelled or not."""

    def __init__(self, data: Data, side: int, a_scan: int, seed: int) -> None:
        given = read_labels(data.labels, data.images)
        shown = tuple(replace(image, labelled=data.may_learn(image)) for image in given.images)
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
                place.append(place_id(scanner[-1], UM_PER_PX, side, row * side, column * side))
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
