"""What the difference is worth: detectors on seasons of the second generator, trained on what each variant sees.

    python benchmarks/ablation.py --folder build/ablation                            # everything, then the table
    python benchmarks/ablation.py --folder build/ablation --variants rgb --seeds 0   # one training: share them out
    python benchmarks/ablation.py --folder build/ablation --only-table --json build/ablation.json
    python benchmarks/ablation.py --folder build/ablation --judge-on validation      # to try something out

Variants: `rgb`, `difference` (references at 6, 24, 48, 72 hours, as the detector works), `nearest` (the four nearest
earlier scans instead) and `mie` (motion-informed enhancement, Bjerge et al. 2023; `ablation_enhanced` has the
equation). All are one network (medium, one class) with one recipe, learn from the same crops in the same order for a
seed, and differ in nothing but what stands in their channels. 15 % of the crops come without a difference, as ever
(`mie`: without motion; see `ablation_crops`).
Trained from scratch, 1200 steps of 8 crops were too few at full scale (AP50 .03 for rgb, .13 for difference); `--half`
takes everything at half the scale, where an animal is learned from a quarter of the pixels and the smallest have few.

Training, validation (which chooses the working threshold), test and rich test seasons are simulated from different
seeds, so no ground, animal or walk is shared; `--train-on loam` takes the other generator for all but the test seasons,
which asks in addition for ground never seen. What is tried out is judged with `--judge-on validation`, so that the test
seasons are some that no setting was chosen on. (There the working threshold is chosen on the scans that it is judged
on, which flatters precision and F1.) The figures of both are kept, side by side, and never share a table.

What is simulated, prepared, trained or judged already is taken as it lies, so a run that was stopped goes on; several
at once share a folder. With another number of seasons to judge on, or to validate on, runs are judged again. The table
is of whatever is finished: mean and, from two seeds on, standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import fcntl
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_inputs import JUDGED, SEEDS, VARIANTS, Plan, prepare
from ablation_judging import figures_of, judge_run
from ablation_runs import Run, train

ROWS = (
    ("AP50", "ap50"),
    ("AP50, moved in", "ap50_moved_in"),
    ("AP50, resting (3 scans or more)", "ap50_resting"),
    ("AP50 without references", "ap50_without"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("F1", "f1"),
    ("recall without references", "recall_without"),
    ("F1 without references", "f1_without"),
    ("recall, in 3 references or more", "recall_often"),
    ("the same, without references", "recall_often_without"),
    ("recall at 2 false alarms a scan", "recall_at_alarms"),
    ("the same, in 3 references or more", "recall_often_at_alarms"),
    ("recall, 0.3 to 0.45 mm", "recall_small"),
    ("recall, 5 to 30 mm", "recall_large"),
    ("AP50, rich seasons", "rich_ap50"),
    ("the same, without references ", "rich_ap50_without"),
    ("count error, relative", "count_error_relative"),
)


def settled(plan: Plan, folder: Path) -> None:
    """Refuse a folder whose seasons are of another kind or of other seeds; how many there are may grow."""
    kind = {key: value for key, value in asdict(plan).items() if not key.endswith("seasons") and key != "train_on"}
    told = {**kind, "seeds": SEEDS}
    path = folder / "plan.json"
    if path.exists() and json.loads(path.read_text()) != told:
        raise SystemExit(
            f"{path}: the seasons there are {path.read_text().strip()}, not {json.dumps(told)}; give the same, or "
            "another --folder (always where the seeds differ, or there are none: those are no longer judged on)"
        )
    path.write_text(json.dumps(told) + "\n")


def table(finished: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, a column a variant."""
    by_variant = {name: [run for run in finished if run["variant"] == name] for name in VARIANTS}
    shown = {name: runs for name, runs in by_variant.items() if runs}
    if not shown:
        return "nothing is finished yet"
    first = next(iter(shown.values()))[0]
    lines = [
        f"{first['scans']} {first['judged_with']['judge_on']} scans of {first['ground']}, {first['animals']} animals, "
        f"and {first['rich_scans']} rich ones, {first['rich_animals']} animals. Recall of some is of both: "
        f"{first['animals_often']} animals in 3 references or more, {first['animals_small']} of 0.3 to 0.45 mm, "
        f"{first['animals_large']} of 5 to 30 mm",
        f"{'':34s}" + "".join(f"{f'{name} ({len(runs)})':>18s}" for name, runs in shown.items()),
    ]
    for title, key in ROWS:
        cells = []
        for runs in shown.values():
            values = [run[key] for run in runs if run[key] is not None]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{f'{np.mean(values):.3f}{spread}' if values else '-':>18s}")
        lines.append(f"{title:34s}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/ablation"), help="seasons, inputs, weights, figures")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--half", action="store_true", help="all at half the scale, for short trainings")
    parser.add_argument("--train-on", choices=("peat", "loam"), default="peat", help="generator of training seasons")
    parser.add_argument("--seasons", type=int, default=32, help="training seasons, each a scanner of its own")
    parser.add_argument("--judge-on", choices=tuple(JUDGED), default="test", help="validation: to try something out")
    parser.add_argument("--validation-seasons", type=int, default=4)
    parser.add_argument("--test-seasons", type=int, default=5)
    parser.add_argument("--rich-seasons", type=int, default=3, help="judged on too: more small and resting animals")
    parser.add_argument("--scans", type=int, default=20, help="scans a season, six hours apart")
    parser.add_argument("--size", type=int, default=1024, help="height and width of a training scan, px at 1200 dpi")
    parser.add_argument("--test-size", type=int, default=1280, help="the same of a test scan")
    parser.add_argument("--crowd", type=float, default=400.0, help="animals per 100 cm2 in training, in the middle")
    parser.add_argument("--test-crowd", type=float, default=80.0, help="animals per 100 cm2 in validation and test")
    parser.add_argument("--rich-crowd", type=float, default=500.0, help="animals per 100 cm2 in rich test seasons")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate and prepare")
    parser.add_argument("--threads", type=int, default=1, help="of torch; one more process is worth more than one more")
    parser.add_argument("--only-prepare", action="store_true", help="simulate and prepare, train nothing")
    parser.add_argument("--only-table", action="store_true", help="the table of what is finished")
    parser.add_argument("--json", type=Path, default=None, help="write the figures of every run here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(
        arguments.train_on,
        arguments.seasons,
        arguments.validation_seasons,
        arguments.test_seasons,
        arguments.rich_seasons,
        arguments.scans,
        arguments.size,
        arguments.test_size,
        arguments.crowd,
        arguments.test_crowd,
        arguments.rich_crowd,
    )
    light = 0.5 if plan.train_on == "peat" else 1.0  # as `Recipe.light` advises: 1 for ground never seen
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not arguments.only_table:
        with (folder / "lock").open("w") as lock:  # one prepares, the others wait and find it done
            fcntl.flock(lock, fcntl.LOCK_EX)
            settled(plan, folder)
            prepare(plan, folder, arguments.variants, arguments.workers, arguments.judge_on)
    if not (arguments.only_table or arguments.only_prepare):
        for seed in arguments.seeds:
            for variant in arguments.variants:
                run = Run(variant, seed, arguments.steps, arguments.batch, light, arguments.half)
                if figures_of(run, plan, folder, arguments.judge_on) is None:
                    train(run, plan, folder)
                    judge_run(run, plan, folder, arguments.judge_on)
    every = [
        Run(variant, seed, arguments.steps, arguments.batch, light, arguments.half)
        for variant in VARIANTS
        for seed in arguments.seeds
    ]
    finished = [figures for run in every if (figures := figures_of(run, plan, folder, arguments.judge_on)) is not None]
    print(table(finished))
    if arguments.json:
        arguments.json.write_text(json.dumps(finished, indent=1) + "\n")


if __name__ == "__main__":
    main()
