"""What pretraining is worth: its speed, what it does for few labels, and whether the gate keeps a bad week out.

    python benchmarks/pretraining.py         all three, one after the other
    python benchmarks/pretraining.py speed   [--sizes resnet18 medium] [--batch 64]
    python benchmarks/pretraining.py labels  [--seeds 3] [--detector-steps 1500] [--stickypi FOLDER] [--folder FOLDER]
                                             [--posterise 0.2] [--uncounted]
    python benchmarks/pretraining.py weeks   [--seeds 3] [--steps 300] [--folder FOLDER]

Each prints one table; --json writes the figures as well, of all three by their names. `--tiny` makes everything small
enough to be tried in a few minutes on two cores: its figures say nothing but that it runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TINY = {
    "batch": 8,
    "speed_steps": 3,
    "sizes": ["resnet18"],
    "crop_side": 128,
    "window": 128,
    "seeds": 1,
    "detector_steps": 6,
    "shares": [0.5],
    "seasons": 1,
    "season_scans": 4,
    "season_side": 768,
    "crops_a_scan": 4,
    "timed": 2,
    "weeks": 2,
    "scanners": 3,
    "scans": 6,
    "labelled": 2,
    "side": 512,
    "animals": 8,
    "steps": 2,
    "crops": 64,
    "minutes": 2.0,
}


def main() -> None:
    arguments = read_arguments()
    if arguments.what is not None:
        figures: Any = PARTS[arguments.what](arguments)
    else:
        figures = {}
        for name, part in PARTS.items():
            print(f"== {name}", flush=True)
            figures[name] = part(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def of_speed(arguments: argparse.Namespace) -> Any:
    """Crops a second, beside lightly's own loop."""
    from pretraining_speed import speed

    return speed(arguments)


def of_labels(arguments: argparse.Namespace) -> Any:
    """Scratch against pretrained, with few labels and many."""
    from pretraining_labels import labels, report

    with tempfile.TemporaryDirectory() as passing:
        figures = told(labels(arguments, arguments.folder or Path(passing) / "labels"), "labels", arguments)
    report(figures)
    return figures


def of_weeks(arguments: argparse.Namespace) -> Any:
    """Refreshes week after week, with the gate and without it."""
    from pretraining_weeks import report, weeks

    figures = told(weeks(arguments), "weeks", arguments)
    report(figures)
    return figures


PARTS = {"speed": of_speed, "labels": of_labels, "weeks": of_weeks}


def told(rows: Iterable[dict[str, Any]], part: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows, each printed and kept beside --json as soon as it is there: a run takes hours."""
    kept = []
    for row in rows:
        print("  ".join(f"{name} {_short(value)}" for name, value in row.items()), flush=True)
        kept.append(row)
        if arguments.json:
            so_far = arguments.json.with_name(f"{arguments.json.stem}-{part}-so-far.json")
            so_far.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def _short(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def read_arguments() -> argparse.Namespace:
    """By the command line; what is tiny stays what it was told to be by hand."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", nargs="?", choices=tuple(PARTS), default=None, help="all of them if left out")
    parser.add_argument("--tiny", action="store_true", help="only to see that it runs")
    parser.add_argument("--device", default=None, help="cpu or cuda; a GPU if there is one")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-seeds", type=int, nargs="+", default=None, help="these, in place of the first --seeds")
    parser.add_argument(
        "--folder", type=Path, default=None, help="keeps what is finished of labels and weeks, so that a run can go on"
    )
    parser.add_argument("--batch", type=int, default=64, help="crops a step of pretraining")
    parser.add_argument("--crop-side", type=int, default=256, help="px")
    speed = parser.add_argument_group("speed")
    speed.add_argument("--sizes", nargs="+", default=["resnet18", "medium"])
    speed.add_argument("--speed-steps", type=int, default=30)
    labels = parser.add_argument_group("labels")
    labels.add_argument("--size", default="medium", help="of the network")
    labels.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.5, 1.0], help="of the labelled images")
    labels.add_argument("--detector-steps", type=int, default=1500, help="of training from scratch")
    labels.add_argument("--seasons", type=int, default=6, help="scanners to learn from; two more validate, two test")
    labels.add_argument(
        "--judge-on", choices=("test", "validation"), default="test", help="validation while settings are tried out"
    )
    labels.add_argument("--window", type=int, default=128, help="of a crop without labels, px at the encoder's scale")
    labels.add_argument("--season-scans", type=int, default=20)
    labels.add_argument("--season-side", type=int, default=1280, help="px")
    labels.add_argument("--crops-a-scan", type=int, default=16)
    labels.add_argument(
        "--posterise", type=float, default=0.0, metavar="P", help="share of the views with colours cut to 3 to 5 bits"
    )
    labels.add_argument(
        "--uncounted", action="store_true", help="also detectors whose pretraining is not taken off their seconds"
    )
    labels.add_argument("--timed", type=int, default=20, help="steps by which a step's seconds are measured")
    labels.add_argument("--stickypi", type=Path, default=None, help="the folder that holds stickypi/, in place of peat")
    weeks = parser.add_argument_group("weeks")
    weeks.add_argument("--weeks", type=int, default=8)
    weeks.add_argument("--scanners", type=int, default=4)
    weeks.add_argument("--scans", type=int, default=14, help="a week and scanner")
    weeks.add_argument("--labelled", type=int, default=5, help="of them")
    weeks.add_argument("--side", type=int, default=768, help="of a scan, px")
    weeks.add_argument("--animals", type=int, default=12, help="on a scan")
    weeks.add_argument("--steps", type=int, default=300, help="of each week's training")
    weeks.add_argument("--crops", type=int, default=2000)
    weeks.add_argument("--minutes", type=float, default=60.0)
    given = parser.parse_args()
    if given.tiny:
        for name, value in TINY.items():
            if getattr(given, name) == parser.get_default(name):
                setattr(given, name, value)
    return given


if __name__ == "__main__":
    main()
