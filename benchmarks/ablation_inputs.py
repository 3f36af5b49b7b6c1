"""What the detectors of `ablation.py` look at: simulated seasons, and each scan as every variant sees it.

rgb         R, G, B alone
difference  R, G, B and the difference from the median of the references at 6, 24, 48 and 72 hours, as in a project
nearest     the same with the four nearest earlier scans as references
mie         motion-informed enhancement (Bjerge, Frigaard & Karstoft 2023, Object Detection of Small Insects in
            Time-Lapse Camera Recordings, Sensors 23:7242) in place of R, G, B; no difference. See `ablation_enhanced`.

Seasons are at real residency: who stays where and for how long follows the real campaign's point data in both
generators. Every pass of every scan is written once, as the file that training and judging map into memory.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from ablation_enhanced import enhanced, under

from soilpipe.background import ModelInput, Registration, choose_references, register
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.labelled import LabelledImage, LabelSet, Where, only
from soilpipe.detect.network import Head
from soilpipe.detect.passes import COARSE
from soilpipe.detect.pictures import read_picture, um_per_px_of
from soilpipe.detect.spill import mapped, spill, spilled_file
from soilpipe.detect.training import UM_PER_PX
from soilpipe.simulate import SeasonSpec, join_truths, write_season
from soilpipe.tiles import ScanImage, image_from_array

VARIANTS = ("rgb", "difference", "nearest", "mie")
WRITTEN = ("difference", "nearest", "mie")  # rgb is the difference's without it
JUDGED = {"test": ("test", "rich"), "validation": ("validation", "validation-rich")}
"""By what a run is judged on: seasons as in the field, and rich ones. What is tried out is judged on validation."""
FIRST = datetime(2025, 5, 1, tzinfo=UTC)
SLOT = timedelta(hours=6)
NEAREST = tuple(SLOT * back for back in (1, 2, 3, 4))
# Settings were chosen by looking at test seasons of 751,000 and rich ones of 761,000: those are spent.
SEEDS = {
    "train": 731_000,
    "validation": 741_000,
    "validation-rich": 2_330_000,
    "test": 2_310_000,
    "rich": 2_320_000,
}
SCALES: dict[Head, float] = {"fine": UM_PER_PX, "coarse": COARSE * UM_PER_PX}


@dataclass(frozen=True)
class Plan:
    """Which seasons are simulated, and which of their scans are looked at. Sides in px at 1200 dpi.

    Training seasons are crowded and their taxa more even than in the field, as those of the shipped detector;
    validation and test seasons keep the field's frequencies. In those one animal in a hundred is of 0.3 to 0.45 mm, and
    as few are in three references: `rich` seasons, crowded and even, have more of them, for their recall.

    All seasons have scans every six hours. Of training seasons one scan in `every` from the ninth on is a sample, since
    six hours apart they are much the same; of validation seasons all from the ninth on; of test seasons all. Validation
    seasons, the rich ones too, are of the generator that is trained on and as large as in training.
    """

    train_on: Literal["loam", "peat"]
    seasons: int
    validation_seasons: int
    test_seasons: int
    rich_seasons: int
    scans: int
    size: int
    test_size: int
    crowd: float
    test_crowd: float
    rich_crowd: float
    every: int = 2
    first: int = 8

    def specs(self, part: str) -> list[SeasonSpec]:
        """The seasons of a part; their random numbers depend on the part and on nothing else of the plan."""
        counts = {
            "train": self.seasons,
            "validation": self.validation_seasons,
            "validation-rich": self.rich_seasons,
            "test": self.test_seasons,
            "rich": self.rich_seasons,
        }
        generator = self.generator(part)
        specs = []
        for number in range(counts[part]):
            rng = np.random.default_rng([SEEDS[part], number])
            crowd, evenness = (self.rich_crowd, 0.8) if part.endswith("rich") else (self.test_crowd, 0.0)
            if part == "train":
                crowd = self.crowd * float(np.exp(rng.uniform(np.log(0.2), np.log(1.8))))
                evenness = float(rng.uniform(0.4, 1.0))
            side = self.test_size if part in ("test", "rich") else self.size
            specs.append(
                SeasonSpec(
                    scanner_id=f"{part}-{generator}-{number:03d}",
                    generator=generator,
                    seed=SEEDS[part] + number,
                    times=tuple(FIRST + SLOT * scan for scan in range(self.scans)),
                    height_px=side,
                    width_px=side,
                    dpi=1200.0,
                    animals_per_100cm2=crowd,
                    evenness=evenness,
                )
            )
        return specs

    def generator(self, part: str) -> Literal["loam", "peat"]:
        """Which generator makes the ground of a part."""
        return "peat" if part in ("test", "rich") else self.train_on

    def is_sample_of(self, part: str) -> Where:
        """Tells the scans of a part that are samples."""
        chosen = set(self.chosen(part))
        return lambda image: image.captured_at in chosen

    def chosen(self, part: str) -> tuple[datetime, ...]:
        """Times of the scans that are samples."""
        first = 0 if part in ("test", "rich") else min(self.first, self.scans - 1)
        scans = range(first, self.scans, self.every if part == "train" else 1)
        return tuple(FIRST + SLOT * scan for scan in scans)


def prepare(plan: Plan, folder: Path, variants: Sequence[str], workers: int, judge_on: str) -> None:
    """Simulate what is not there yet of what is trained and judged on, and write what each variant sees of it. Several
    processes share the work."""
    parts = tuple(dict.fromkeys(("train", "validation", *JUDGED[judge_on])))
    jobs = []
    for part in parts:
        seen = {*variants, "difference"} if part == "train" else set(variants)  # it tells all which crops to draw
        written = tuple(variant for variant in WRITTEN if variant in {_written(name) for name in seen})
        jobs += [
            (plan, part, spec, folder, written)
            for spec in plan.specs(part)
            if not all(_told_file(folder, spec.scanner_id, variant).exists() for variant in written)
        ]
    if jobs:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max(1, workers), mp_context=context) as pool:
            for done, name in enumerate(pool.map(_prepare_season, jobs), start=1):
                print(f"season {done} of {len(jobs)} is ready: {name}", flush=True)
    for part in parts:
        path = labels_of(plan, folder, part)[0]
        if not path.exists():
            join_truths(folder / "seasons", [spec.scanner_id for spec in plan.specs(part)]).replace(path)


def _written(variant: str) -> str:
    """Whose files a variant is read from."""
    return "difference" if variant == "rgb" else variant


def labels_of(plan: Plan, folder: Path, part: str) -> tuple[Path, Path]:
    """The COCO file over the seasons of a part, which `prepare` has written, and the folder of its images."""
    specs = plan.specs(part)
    return folder / f"{part}-{specs[0].generator}-{len(specs)}.json", folder / "seasons"


def samples_of(plan: Plan, folder: Path, part: str, variant: str, *, half: bool = False) -> list[Sample]:
    """The samples of a part as one variant sees them, in the order of scanners and times.

    `half`: both passes at half the scale, the means of 2 x 2 px of what was written. For the picture and for `mie` that
    is what the pyramid holds; a difference of means of medians stands in for that of the median of means.
    """
    labels = only(read_labels(*labels_of(plan, folder, part)), plan.is_sample_of(part))
    samples = []
    for image in sorted(labels.labelled, key=lambda image: image.file_name):
        written = _written(variant)
        told = json.loads(_told_file(folder, str(image.scanner_id), written).read_text())
        passes = {
            head: SamplePass(mapped(spilled_file(folder / "inputs" / written, image.file_name, head)), told[head])
            for head in SCALES
        }
        if variant == "rgb":
            for one_pass in passes.values():  # mapped to be written into: the file stays as it is
                one_pass.pixels[3:6], one_pass.pixels[6] = 128, 0
        if half:
            passes = {head: halved(one_pass) for head, one_pass in passes.items()}
        one = replace(image, labels=np.zeros_like(image.labels))  # one class: only whether there is an animal counts
        samples.append(Sample(one, passes, um_per_px_of(image, None), told["references"][image.file_name]))
    return samples


def halved(whole: SamplePass) -> SamplePass:
    """A pass at half its scale, in memory; its sides are even. The difference is valid where it is for all four px."""
    height, width = whole.height // 2, whole.width // 2
    pixels = np.stack(
        [cv2.resize(np.asarray(plane), (width, height), interpolation=cv2.INTER_AREA) for plane in whole.pixels]
    )
    pixels[6] = np.where(pixels[6] == 255, np.uint8(255), np.uint8(0))
    pixels[3:6, pixels[6] == 0] = 128
    return SamplePass(pixels, whole.factor * 2)


def _told_file(folder: Path, scanner: str, variant: str) -> Path:
    return folder / "inputs" / variant / f"{scanner}.json"


def _prepare_season(job: tuple[Plan, str, SeasonSpec, Path, tuple[str, ...]]) -> str:
    cv2.setNumThreads(1)
    plan, part, spec, folder, variants = job
    place = folder / "seasons" / spec.scanner_id
    if not (place / "truth.json").exists():
        write_season(spec, place, extension="jpg", quality=92)
    missing = [variant for variant in variants if not _told_file(folder, spec.scanner_id, variant).exists()]
    if missing:
        labels = read_labels(place / "truth.json", place)
        season = _Season(labels)
        for variant in missing:
            _write_variant(variant, season, plan.chosen(part), spec.scanner_id, folder)
    return spec.scanner_id


def _write_variant(variant: str, season: _Season, chosen: Sequence[datetime], scanner: str, folder: Path) -> None:
    """Both passes of the chosen scans; what was written is told last."""
    told: dict[str, object] = {}
    references: dict[str, int] = {}
    for number, image in enumerate(season.images):
        if image.captured_at not in chosen:
            continue
        name = f"{scanner}/{image.file_name}"
        for head, scale in SCALES.items():
            windows = season.windows(variant, number, scale)
            spill(windows, spilled_file(folder / "inputs" / variant, name, head))
            told[head], references[name] = windows.factor, windows.usable
    path = _told_file(folder, scanner, variant)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({**told, "references": references}))
    unfinished.replace(path)


class _Season:
    """The decoded scans of one season, and where they lie under one another."""

    def __init__(self, labels: LabelSet) -> None:
        self.images: list[LabelledImage] = sorted(labels.images, key=lambda image: image.file_name)
        self._scans = [
            image_from_array(read_picture(image.path), um_per_px_of(image, None), image.file_name)
            for image in self.images
        ]
        self._found: dict[tuple[int, int], Registration] = {}
        self._enhanced: tuple[int, ScanImage] | None = None

    def windows(self, variant: str, number: int, um_per_px: float) -> ModelInput:
        """The seven channels of one scan."""
        scan = self._scans[number]
        if variant == "mie":
            if self._enhanced is None or self._enhanced[0] != number:
                self._enhanced = number, self._enhance(number)
            return ModelInput(self._enhanced[1], (), (), um_per_px)
        chosen = self.references(number, variant)
        found = [self._registration(number, other) for other in chosen]
        return ModelInput(scan, [self._scans[other] for other in chosen], found, um_per_px)

    def references(self, number: int, variant: str) -> list[int]:
        """Which earlier scans a scan is compared with."""
        times = {image.file_name: (other, image.captured_at) for other, image in enumerate(self.images)}
        earlier = [(name, time) for name, (_, time) in times.items() if time is not None]
        now = self.images[number].captured_at
        assert now is not None
        lags = {"lags": NEAREST} if variant == "nearest" else {}
        return [times[name][0] for name in choose_references(now, earlier, **lags)]

    def _registration(self, number: int, other: int) -> Registration:
        if (number, other) not in self._found:
            self._found[number, other] = register(self._scans[number], self._scans[other])
        return self._found[number, other]

    def _enhance(self, number: int) -> ScanImage:
        scan = self._scans[number]
        neighbours = [
            under(scan, self._scans[other], self._registration(number, other))
            if 0 <= other < len(self._scans)
            else None
            for other in (number - 1, number + 1)
        ]
        picture = scan.levels[0].read(0, scan.height, 0, scan.width)
        return image_from_array(enhanced(picture, *neighbours), scan.um_per_px, scan.scan_id)
