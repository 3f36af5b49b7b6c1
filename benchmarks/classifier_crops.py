"""The crops of the classifier's benchmark: seasons of three kinds, simulated where they are not there yet, embedded.

Seasons are kept beside the settings that made them; scanners of one kind differ in their seed alone. Crops are those of
the true boxes, and of what the shipped detector takes for animals and is none.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from kept_settings import check_seasons

from soilpipe.classify.classifier import Classifier
from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.examples import Examples, joined
from soilpipe.classify.false_alarms import unmet
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.label_facts import image_facts
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.space import unit
from soilpipe.classify.tuned import TunedVectors
from soilpipe.classify.tuning import Tuning
from soilpipe.detect.base import Detector
from soilpipe.detect.coco import read_labels
from soilpipe.detect.dataset import open_scenes
from soilpipe.detect.labelled import LabelSet
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import encoder_of_detector, load_encoder
from soilpipe.simulate import SeasonSpec, join_truths, write_season
from soilpipe.taxonomy import SOIL

FIRST_DAY = datetime(2024, 3, 1, tzinfo=UTC)
DAY, SLOT = timedelta(days=1), timedelta(hours=6)
KINDS = ("learn", "calibrate", "judge")
EVENNESS = {"learn": 0.8, "calibrate": 0.0, "judge": 0.0}
FIRST_SEED = {"learn": 7_000_010, "calibrate": 7_000_050, "judge": 7_000_080}


@dataclass(frozen=True)
class Crops:
    """The labelled crops of one seed; what tunes the encoder on them, where it is tuned.

    trunk_dim: how many of an embedding's first numbers are the trunk's; None: all.
    """

    learn: Examples
    calibrate: Examples
    judge: Examples
    tuner: Tuner | None = None
    trunk_dim: int | None = None

    def of_trunk(self) -> Crops:
        """The same with the trunk's vectors alone."""

        def cut(examples: Examples) -> Examples:
            return replace(examples, embeddings=unit(examples.embeddings[:, : self.trunk_dim]).astype(np.float32))

        return Crops(cut(self.learn), cut(self.calibrate), cut(self.judge))


@dataclass(frozen=True)
class Tuner:
    """The encoder that is tuned, and the pixels of all crops."""

    encoder: Encoder
    pixels: CropPixels
    tuning: Tuning

    def fitted(self, both: Examples, judge: Examples, alpha: float) -> tuple[Classifier, Examples]:
        """A classifier with its tuned encoder, and what that makes of the crops to judge on."""
        vectors = TunedVectors(self.encoder, both, self.pixels, self.tuning)
        found = fit_classifier(both, taxonomy=SOIL, alpha=alpha, vectors=vectors).classifier
        return found, replace(judge, embeddings=vectors.embedded_as_last(judge))


def season_specs(kind: str, seed: int, arguments: argparse.Namespace) -> list[SeasonSpec]:
    """The seasons of one kind, each a scanner of its own."""
    count = {"learn": arguments.seasons, "calibrate": arguments.calibrate, "judge": arguments.judge}[kind]
    generator = (arguments.learn_from or arguments.generator) if kind == "learn" else arguments.generator
    crowd = arguments.crowd if kind == "learn" else arguments.field_crowd
    # Two scans a day, six hours apart, so that most have references at 6, 24, 48 or 72 hours.
    times = tuple(FIRST_DAY + DAY * (scan // 2) + SLOT * (scan % 2) for scan in range(arguments.scans))
    return [
        SeasonSpec(
            scanner_id=f"{generator}-{kind}-{number:03d}",
            generator=generator,
            seed=FIRST_SEED[kind] + 1000 * seed + number,
            times=times,
            height_px=arguments.size,
            width_px=arguments.size,
            dpi=1200.0,
            animals_per_100cm2=crowd,
            evenness=EVENNESS[kind],
        )
        for number in range(count)
    ]


def check_all_seasons(arguments: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Stop where seasons of other settings lie, before any is made. `defaults`: those of seasons that tell none."""
    for seed in arguments.seeds:
        for kind in KINDS:
            folder = arguments.folder / f"seed-{seed}" / kind
            check_seasons(folder, settings_of(kind, arguments), settings_of(kind, defaults))


def settings_of(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the seasons of a kind have in common; their generator and number are in their names."""
    crowd = arguments.crowd if kind == "learn" else arguments.field_crowd
    return {"scans": arguments.scans, "size": arguments.size, "crowd": crowd}


def _write(job: tuple[SeasonSpec, Path]) -> None:
    cv2.setNumThreads(1)
    spec, folder = job
    if not (folder / spec.scanner_id / "truth.json").exists():  # a season is complete when its truth is there
        write_season(spec, folder / spec.scanner_id, extension="jpg", quality=92)


def _embed(
    job: tuple[Path, Path, Path | None, tuple[str, ...], bool, Path | None],
) -> tuple[Examples, CropPixels | None]:
    """The crops of some scanners, in a process of its own; their pixels, where they are kept."""
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    labels, folder, encoder, scanners, as_it_comes, path = job
    given = read_labels(labels, folder)
    kept = tuple(image for image in given.images if image.scanner_id in scanners)
    of_scanners = type(given)(given.source, given.categories, kept, given.simulated)
    facts = {name: replace(known, as_it_comes=as_it_comes) for name, known in image_facts(labels).items()}
    alarms = alarms_of(load_detector(SHIPPED, device="cpu"), of_scanners)
    keep = None if path is None else CropPixels(path)
    crops = labelled_crops(of_scanners, opened(encoder), taxonomy=SOIL, facts=facts, false_alarms=alarms, keep=keep)
    return crops, keep


def alarms_of(detector: Detector, labels: LabelSet) -> dict[str, np.ndarray]:
    """What a detector takes for animals in labelled images and is none, by image."""
    return {
        scene.image.file_name: unmet(
            detector.detect(scene.scan, scene.references, scene.registrations).boxes, scene.image
        )
        for scene in open_scenes(labels)
    }


def opened(folder: Path | None) -> Encoder:
    """The encoder that was asked for."""
    return encoder_of_detector(SHIPPED, device="cpu") if folder is None else load_encoder(folder, device="cpu")


def crops_of_seed(seed: int, arguments: argparse.Namespace, scratch: Path, told: Callable[[str], None]) -> Crops:
    """Simulate what is not there yet, and embed it. `scratch`: where pixels are kept for tuning; `told` is progress."""
    found = {}
    keep = CropPixels(scratch / f"crops-{seed}") if arguments.tune else None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        for kind in KINDS:
            specs = season_specs(kind, seed, arguments)
            folder = arguments.folder / f"seed-{seed}" / kind
            folder.mkdir(parents=True, exist_ok=True)
            list(pool.map(_write, [(spec, folder) for spec in specs]))
            labels = join_truths(folder, [spec.scanner_id for spec in specs])
            paths = [scratch / f"{seed}-{spec.scanner_id}" if arguments.tune else None for spec in specs]
            jobs = [
                (labels, folder, arguments.encoder, (spec.scanner_id,), kind != "learn", path)
                for spec, path in zip(specs, paths, strict=True)
            ]
            parts = [kept_with(keep, *part) for part in pool.map(_embed, jobs)]
            found[kind] = joined(parts, parts[0].embeddings.shape[1])
            if kind == "judge":  # as a run meets them: no windows that somebody chose to cut
                found[kind] = found[kind].select(np.array([one.as_it_comes for one in found[kind].sources], bool))
            told(f"seed {seed}: {len(found[kind])} crops to {kind} on")
    encoder = opened(arguments.encoder)
    tuner = None if keep is None else Tuner(encoder, keep, Tuning(seed=seed))
    return Crops(**found, tuner=tuner, trunk_dim=encoder.trunk_dim)


def kept_with(keep: CropPixels | None, part: Examples, pixels: CropPixels | None) -> Examples:
    """The crops of a part, with their pixels among those of all."""
    if keep is None or pixels is None or part.rows is None:
        return part
    return replace(part, rows=keep.add(pixels.whole(part.rows)))
