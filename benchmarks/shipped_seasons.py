"""The simulated seasons that the shipped detector is made of (`make_shipped_detector.py simulate`).

Training seasons are crowded and their taxa made more even than in the field, so that rare taxa are learned. Validation
seasons, which choose the working threshold, keep the field's frequencies and are less crowded, since a threshold that
suits a crowd lets too much pass on bare ground. On scans of 1024 px nearly every long animal is cut off by the border,
as hardly one is on a whole scan: large seasons, of twice the side, show more of them whole. `peat` is for testing only:
what ships must not have seen it. What a detector is worth on soil that has been labelled, as a user's would be, is told
by one that goes on from it on `peat`, in a folder of its own (`--generator peat --val-generator peat --warm-start ...
--out build/peat`), and `seasons.py --detector build/peat`. With `--seed 4 --seasons 130 --val-seasons 24 --steps 1800
--second-steps 1200 --adamw --learning-rate 1.5e-3`, 46 minutes, AP50 on the seasons on which the shipped detector has
.633 and .647 was .752 and .741.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from kept_settings import SETTINGS, check_seasons

from soilpipe.simulate import SeasonSpec, join_truths, write_season
from soilpipe.simulate.spec import GeneratorName

FIRST_DAY = datetime(2024, 3, 1, tzinfo=UTC)
SLOT = timedelta(hours=6)
DAY = timedelta(days=1)
VALIDATION, LARGE = "V", "L"  # first letter of the ids of validation scanners, and of larger ones to train on
LARGER = 2  # times the side
OF_SEASONS = ("scans", "size", "crowd", "val_crowd", "seed", "generator", "val_generator")
"""The arguments that all seasons of a folder must have in common; how many there are may grow."""


def season_specs(arguments: argparse.Namespace) -> list[SeasonSpec]:
    """The seasons, each a scanner of its own; how crowded each is, is drawn from its number."""
    specs = []
    counts = {"T": arguments.seasons, LARGE: arguments.large_seasons, VALIDATION: arguments.val_seasons}
    for kind, count in counts.items():
        side = arguments.size * (LARGER if kind == LARGE else 1)
        for number in range(count):
            rng = np.random.default_rng([arguments.seed, ord(kind), number])
            # Two scans a day, six hours apart: from the fourth day on, each has references at 6, 24, 48 and 72 hours.
            times = tuple(FIRST_DAY + DAY * (scan // 2) + SLOT * (scan % 2) for scan in range(arguments.scans))
            crowd = arguments.crowd * float(np.exp(rng.uniform(np.log(0.2), np.log(1.8))))
            specs.append(
                SeasonSpec(
                    scanner_id=f"{kind}{number:04d}",
                    generator=generator_of(arguments, kind, number),
                    seed=arguments.seed * 100_000 + (ord(kind) << 12) + number,
                    times=times,
                    height_px=side,
                    width_px=side,
                    dpi=1200.0,
                    animals_per_100cm2=arguments.val_crowd if kind == VALIDATION else crowd,
                    evenness=0.0 if kind == VALIDATION else float(rng.uniform(0.4, 1.0)),
                )
            )
    return specs


def generator_of(arguments: argparse.Namespace, kind: str, number: int) -> GeneratorName:
    """That of a season; of `both`, every other season is of one."""
    asked = arguments.val_generator if kind == VALIDATION else arguments.generator
    both: tuple[GeneratorName, GeneratorName] = ("loam", "varied")
    return both[number % 2] if asked == "both" else asked  # type: ignore[no-any-return]


def _write(job: tuple[SeasonSpec, Path]) -> str:
    cv2.setNumThreads(1)
    spec, folder = job
    season = folder / spec.scanner_id
    if not (season / "truth.json").exists():  # a season is complete when its truth is there
        write_season(spec, season, extension="jpg", quality=92)
    return spec.scanner_id


def simulate(arguments: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Write all seasons and one COCO file over them; those that are there must be of the same settings, or, where none
    were written down, of the defaults."""
    asked, before = ({name: getattr(given, name) for name in OF_SEASONS} for given in (arguments, defaults))
    check_seasons(arguments.folder, asked, before)
    specs = season_specs(arguments)
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        jobs = [(spec, arguments.folder) for spec in specs]
        for done, _ in enumerate(pool.map(_write, jobs), start=1):
            if done % 10 == 0 or done == len(specs):
                print(f"simulated {done} of {len(specs)} seasons, {time.monotonic() - began:.0f} s", flush=True)
    path = join_truths(arguments.folder, [spec.scanner_id for spec in specs])
    print(f"{path} over {len(specs)} seasons", flush=True)


def is_validation(scanner_id: str | None) -> bool:
    """Whether a scanner chooses thresholds, and is not trained on."""
    return str(scanner_id).startswith(VALIDATION)


def are_of_peat(folder: Path) -> bool:
    """Whether any of a folder's seasons may be."""
    settings = folder / SETTINGS
    made = json.loads(settings.read_text()) if settings.exists() else {}
    return "peat" in (made.get("generator"), made.get("val_generator"))
