"""Fifty labelled scans: what a detector of the commonest taxa is worth that was trained on them with the command line.

    python benchmarks/few_labels.py [--seeds 0 1 2] [--steps 2500] [--folder build/few_labels] [--json FILE]

Five scanners of the generator `peat`, which the shipped detector has never seen, with taxa as frequent as in the field.
Of each, ten scans are labelled, and ten more, between them, serve as references. `train detector` then does what it
does for anyone: begins from the detector in use, keeps the last scanner for the threshold, learns the taxa of which
there are 20 animals or more and counts the others as what is above them. Beside it the same afresh (`--from none`), and
the shipped detector as it came. All are judged on four other scanners. Seasons are others for each seed. A training
that was finished is not made again.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from stickypi import soilpipe

from soilpipe.simulate import SeasonSpec, join_truths, write_season

FIRST, SLOT = datetime(2025, 5, 1, tzinfo=UTC), timedelta(hours=6)
SCANS, EVERY = 20, 2  # a season's, and of how many one is labelled
SCANNERS, TEST_SCANNERS = 5, 4
SIZE, CROWD = 1280, 80.0  # px at 1200 dpi; animals per 100 cm2
FIRST_SEED = 930_000
ARMS = {"shipped": None, "afresh": ("--from", "none"), "from the one in use": ()}
PROJECT = "project: few\nstore: ./store\ntimezone: UTC\ndpi: 1200\nsites:\n  - {id: here}\nscanners:\n"


def seasons(folder: Path, seed: int, part: str, count: int, every: int) -> Path:
    """Write seasons of one part; their labels (COCO), in which every so many scans are labelled."""
    specs = [
        SeasonSpec(
            scanner_id=f"{part}{number}",
            generator="peat",
            seed=FIRST_SEED + 1000 * seed + (500 if part == "test" else 0) + number,
            times=tuple(FIRST + SLOT * slot for slot in range(SCANS)),
            height_px=SIZE,
            width_px=SIZE,
            animals_per_100cm2=CROWD,
        )
        for number in range(count)
    ]
    for spec in specs:
        if not (folder / spec.scanner_id / "truth.json").exists():
            write_season(spec, folder / spec.scanner_id)
    told = json.loads(join_truths(folder, [spec.scanner_id for spec in specs]).read_text())
    unseen = {image["id"] for image in told["images"] if (image["id"] - 1) % every}
    for image in told["images"]:
        image["labelled"] = image["id"] not in unseen
    told["annotations"] = [one for one in told["annotations"] if one["image_id"] not in unseen]
    path = folder / f"{part}.json"
    path.write_text(json.dumps(told))
    return path


def prepare(folder: Path, seed: int) -> None:
    """The project, its labels, and those to judge on."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"  - {{id: field{number}, site: here, inbox: ./field{number}}}" for number in range(SCANNERS)]
    (folder / "soilpipe.yaml").write_text(PROJECT + "\n".join(lines) + "\n")
    seasons(folder, seed, "field", SCANNERS, EVERY)
    seasons(folder, seed, "test", TEST_SCANNERS, 1)


def trained(folder: Path, arm: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Version and card of an arm; for the shipped detector none."""
    words = ARMS[arm]
    if words is None:
        return {"version": "shipped", "card": None}
    kept = folder / f"{arm}-{arguments.steps}.json"
    if not kept.exists():
        given = ["--labels", "field.json", "--images", ".", "--name", arm.replace(" ", "-"), *words]
        how = ["--scale", "0.5", "--steps", str(arguments.steps), "--seed", str(seed), "--json"]
        told = json.loads(soilpipe(folder, "train", "detector", *given, *how))
        kept.write_text(json.dumps({"version": told["version"], "card": told["card"]}))
    return dict(json.loads(kept.read_text()))


def judged(folder: Path, arm: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What an arm is worth on the test scanners."""
    made = trained(folder, arm, seed, arguments)
    told = soilpipe(
        folder, "evaluate", "detector", "--labels", "test.json", "--images", ".", "--version", made["version"], "--json"
    )
    found = json.loads(told)
    card = made["card"] or {}
    return {
        "seed": seed,
        "arm": arm,
        "labelled_animals": sum(card["trained_on"]["animals"].values()) if card else 0,
        "learned": card.get("trained_on", {}).get("animals", {}),
        "rolled_up": card.get("rolled_up", {}),
        "ap50": found["any_taxon"]["ap50"],
        "f1": found["f1"],
        "f1_with_taxon": found["f1_with_taxon"],
        "count_error_relative": found["count_error_relative"],
        "ap50_of_taxa": {taxon: figures["ap50"] for taxon, figures in found["taxa"].items()},
    }


def report(rows: list[dict[str, Any]]) -> None:
    """Means over seeds (range), and the taxa of each."""
    seeds = sorted({row["seed"] for row in rows})
    print(f"\n50 labelled scans of {SCANNERS} scanners; judged on {TEST_SCANNERS} others; mean (range) of {len(seeds)}")
    heads = ("ap50", "f1", "f1_with_taxon", "count_error_relative")
    print(f"{'':22s}" + "".join(f"{head:>24s}" for head in heads))
    for arm in ARMS:
        of_arm = [row for row in rows if row["arm"] == arm]
        print(f"{arm:22s}" + "".join(f"{_spread([row[head] for row in of_arm]):>24s}" for head in heads))
    for row in rows:
        if row["learned"]:
            taxa = ", ".join(
                f"{taxon} {count} ({_told(row['ap50_of_taxa'].get(taxon))})" for taxon, count in row["learned"].items()
            )
            up = ", ".join(f"{taxon} {one['animals']} as {one['as']}" for taxon, one in row["rolled_up"].items())
            print(f"seed {row['seed']}, {row['arm']}: learned {taxa}; rolled up: {up or 'none'}")
    print("in brackets: AP50 of the taxon on the test scanners")


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f} ({min(known):.3f}-{max(known):.3f})" if known else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2500, help="of each training")
    parser.add_argument("--folder", type=Path, default=Path("build/few_labels"), help="a project a seed goes here")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        folder = arguments.folder.resolve() / f"seed-{seed}"
        prepare(folder, seed)
        rows += [judged(folder, arm, seed, arguments) for arm in ARMS]
    report(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
