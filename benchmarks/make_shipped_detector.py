"""Make the detector that ships with the package: simulate seasons, train on them, write weights and card.

    python benchmarks/make_shipped_detector.py simulate --folder build/seasons --workers 16
    python benchmarks/make_shipped_detector.py train --folder build/seasons --workers 16
    python benchmarks/make_shipped_detector.py judge --folder build/seasons --workers 16 --val-seasons 40

The shipped detector was made in four trainings. The first was that of the defaults, with `--adamw`, by an earlier
release: about 3 minutes of simulating on two cores (`--workers 2`); on one core, beside other work, 18 of building
samples and 76 of training. It had not learned enough (AP50 was .62 on scans that it was trained on), so a second one
went on from it on new seasons, an hour and a half on one core. What was left were false alarms and animals passed over
that had been seen, but not believed: the third training, 40 minutes on one core, gave it a second stage, which looks at
each of its candidates once more. All that was on one kind of soil: the fourth, 103 minutes on one core beside other
work, went on with both stages on seasons of which every other one is of another soil (these had no made-up litter yet).
Validation seasons of loam and of every other soil judged it:

    MAKE="python benchmarks/make_shipped_detector.py"
    LONGER="--seed 3 --adamw --learning-rate 1.5e-3"
    $MAKE simulate --folder build/more --seed 3 --seasons 130
    $MAKE train --folder build/more --warm-start build/first --out build/second --steps 4800 $LONGER
    $MAKE simulate --folder build/more --seed 3 --seasons 200
    $MAKE second --folder build/more --out build/second --seed 7
    $MAKE simulate --folder build/every --seed 3 --seasons 260 --generator both --val-generator both
    $MAKE train --folder build/every --warm-start build/second --out build/third $LONGER \\
        --steps 3200 --second-steps 1800
    $MAKE simulate --folder build/judged --seasons 0 --val-seasons 40 --val-generator both
    $MAKE judge --folder build/judged --out build/third

The second stage raised AP50 on 40 seasons of loam alone (480 scans, 852 animals) from .683 to .785. With 70 seasons in
place of 200, and half the steps, it was .768. Every other soil in training raised it on unseen ground (`peat`) from
.615 to .633 and from .613 to .647 (`seasons.py --alone` with `--seasons 10 --seed 1050000` and `--seasons 4 --lead 12
--scans 16 --size 2560 --seed 1060000`, each for both detectors).

Training has changed since the first: inner convolutions learn by Muon, and faint animals are taken more often. Made
anew so, with 9,000 steps, AP50 on unseen ground (80 scans of `peat`, 505 animals) was .555 instead of .595, and the
earlier one was kept; short trainings gain by both changes. Scans are read at half their resolution: at full resolution,
with 10,000 steps, AP50 on unseen ground was .50 instead of .65 (one training each, the same 349 animals). `judge`
trains nothing: it balances the heads' scores (where no second stage does that) and chooses thresholds and whether there
is a middle pass on all validation seasons that there are, which may be more than a training had. The phases are apart
because a machine with a GPU may be lent for minutes only. All seeds are fixed: the same arguments give the same scenes,
and on one kind of CPU with as many threads the same weights. Needs numpy, OpenCV, torch and safetensors only.

What the seasons are like is told in `shipped_seasons`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shipped_seasons import VALIDATION, are_of_peat, is_validation, simulate

from soilpipe.detect.balance import balance
from soilpipe.detect.base import evens_contrast
from soilpipe.detect.coco import only, read_labels
from soilpipe.detect.dataset import build_samples
from soilpipe.detect.label_taxa import with_taxa
from soilpipe.detect.on_samples import judge_of, middle_that_pays
from soilpipe.detect.passes import FINEST, MIDDLE, finest_told, without_finest, without_middle
from soilpipe.detect.second_stage.examples import examples_of, joined
from soilpipe.detect.second_stage.looking import FROM, SECOND
from soilpipe.detect.second_stage.making import CANDIDATES_FROM, fresh_second
from soilpipe.detect.second_stage.training import SecondRecipe, train_second
from soilpipe.detect.starting import Start
from soilpipe.detect.trained_card import worth
from soilpipe.detect.training import train_detector
from soilpipe.detect.validation import judge
from soilpipe.detect.weights import SHIPPED, load_detector, read_card, save_detector
from soilpipe.taxonomy import SOIL

TAXA = (
    "Collembola", "Protura", "Diplura", "Formicidae", "Coleoptera", "Diptera", "Symphyla", "Pauropoda", "Diplopoda",
    "Chilopoda", "Isopoda", "Acari", "Pseudoscorpiones", "Araneae", "Enchytraeidae", "Lumbricidae", "Nematoda",
    "Gastropoda",
)  # fmt: skip
SECOND_STEPS = 4800  # of a second stage that begins afresh
SCANNERS_AT_ONCE = 10  # whose candidates are cut out at a time


def train(arguments: argparse.Namespace) -> None:
    """Train on what `simulate` wrote, and write weights and card into `--out`."""
    labels = arguments.folder / "labels.json"
    scanners = {image["scanner_id"] for image in json.loads(labels.read_text())["images"]}
    began = time.monotonic()

    def told(stage: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        steps = stage in ("training", "second stage")
        if done == of or (steps and (done - 1) % 250 == 0) or (not steps and done % 160 == 0):
            values = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"{time.monotonic() - began:6.0f} s  {stage} {done} of {of}  {values}", flush=True)

    recipe = Start(warm_start=arguments.warm_start).recipe(
        steps=arguments.steps, batch=arguments.batch, crop=arguments.crop, seed=arguments.seed,
        learning_rate=arguments.learning_rate, light=1.0, coarse_share=0.35,
        **{name: asked for name in ("finest_share", "second_steps") if (asked := getattr(arguments, name)) is not None},
    )  # fmt: skip
    card = train_detector(
        labels,
        arguments.folder,
        arguments.out,
        name="shipped",
        taxonomy=SOIL,
        taxa=arguments.taxa,
        val_scanners=sorted(filter(is_validation, scanners)),
        recipe=replace(recipe, muon=False) if arguments.adamw else recipe,
        scale=arguments.scale,
        even=arguments.even_contrast,
        device=arguments.device,
        warm_start=arguments.warm_start,
        work=arguments.work,
        resume=arguments.work is not None,
        licence="Apache-2.0",  # as the package that it comes with; it has seen simulated ground alone
        workers=arguments.workers,
        progress=told,
    )
    print(json.dumps({key: card[key] for key in ("threshold", "figures", "trained_on", "seconds")}, indent=1))


def train_second_stage(arguments: argparse.Namespace) -> None:
    """Train a second stage for the detector in `--out` on the training seasons of `--folder`, and write it there."""
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network, card = load_detector(arguments.out, device=device).network, read_card(arguments.out)[0]
    network.take_second(None)
    card = {key: value for key, value in card.items() if key != SECOND}
    everything = read_labels(arguments.folder / "labels.json", arguments.folder)
    labels = only(everything, lambda image: not is_validation(image.scanner_id))
    labels = with_taxa(labels, tuple(card["taxa"]), SOIL, strict=False)
    began = time.monotonic()

    def told(stage: str, every: int, done: int, of: int, figures: Mapping[str, float]) -> None:
        if done == of or (done - 1) % every == 0:
            values = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"{time.monotonic() - began:6.0f} s  {stage} {done} of {of}  {values}", flush=True)

    first = judge_of(network, card, device)
    scanners = sorted({str(image.scanner_id) for image in labels.labelled})
    parts = []
    for at in range(0, len(scanners), SCANNERS_AT_ONCE):  # of the samples themselves nothing is kept
        some = set(scanners[at : at + SCANNERS_AT_ONCE])
        samples = build_samples(
            only(labels, lambda image, some=some: str(image.scanner_id) in some),
            card["um_per_px"],
            difference=card.get("difference", True),
            even=evens_contrast(card),
            workers=arguments.workers,
        )
        parts.append(examples_of(samples, lambda sample: first(sample, CANDIDATES_FROM)))
        told("candidates of scanners", 1, min(at + SCANNERS_AT_ONCE, len(scanners)), len(scanners), {})
    examples = joined(parts)
    recipe = SecondRecipe(steps=arguments.second_steps or SECOND_STEPS, light=1.0, seed=arguments.seed)
    second = fresh_second(network, card["taxa"], None, arguments.seed)
    progress = partial(told, "second stage", 100)
    network.take_second(train_second(second, examples, recipe, device=device, progress=progress))
    on = {"images": len(labels.labelled), "candidates": len(examples), "on_animals": int(examples.near.sum())}
    card[SECOND] = {FROM: CANDIDATES_FROM, "trained_on": on, "recipe": asdict(recipe)}
    card["parameters"] = network.parameter_count
    print(save_detector(arguments.out, network, card))


def judge_anew(arguments: argparse.Namespace) -> None:
    """What the validation seasons of `--folder` choose of the detector in `--out`: how its heads' scores compare,
    whether there is a middle pass, thresholds; and its figures."""
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    detector = load_detector(arguments.out, device=device)
    finest = FINEST in detector.card if arguments.finest is None else arguments.finest
    card = {key: value for key, value in without_finest(without_middle(detector.card)).items() if key != "thresholds"}
    everything = read_labels(arguments.folder / "labels.json", arguments.folder)
    labels = only(everything, lambda image: is_validation(image.scanner_id))
    scanners = {image.scanner_id for image in labels.labelled}
    if not any(len(image.boxes) for image in labels.labelled):
        raise SystemExit(f"{arguments.folder}: no validation season with animals; simulate some (--val-seasons)")
    labels = with_taxa(labels, tuple(card["taxa"]), SOIL, strict=False)
    samples = build_samples(
        labels,
        card["um_per_px"],
        difference=card.get("difference", True),
        even=evens_contrast(card),
        workers=arguments.workers,
        finest=finest,
    )
    card |= finest_told(card["um_per_px"]) if finest else {}
    if SECOND not in card:  # else the second stage has learned how the heads' scores compare
        raised = balance(detector.network, card, samples, device)
        card["coarse_raised"] = round(card.get("coarse_raised", 0.0) + raised, 4)
    card |= middle_that_pays(detector.network, card, samples, device)
    judged = judge(judge_of(detector.network, card, device), samples)
    told = f"{len(scanners)} simulated scanners, {VALIDATION}0000 to {VALIDATION}{len(scanners) - 1:04d}"
    told += "; whether there is a middle pass was chosen on them, too"
    card |= worth(judged, told, card)
    save_detector(arguments.out, detector.network, card)
    keys = ("coarse_raised", FINEST, MIDDLE, "threshold", "thresholds", "threshold_best_f1", "figures")
    print(json.dumps({key: card.get(key) for key in keys}, indent=1))


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments, or those of the words given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("phase", choices=("simulate", "train", "second", "judge", "all"))
    parser.add_argument("--folder", type=Path, default=Path("build/seasons"), help="where the seasons lie")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where weights and card go")
    parser.add_argument("--seasons", type=int, default=112, help="training seasons")
    parser.add_argument("--large-seasons", type=int, default=0, help="further training seasons, of twice the side")
    parser.add_argument("--val-seasons", type=int, default=10, help="validation seasons, for the threshold")
    parser.add_argument("--scans", type=int, default=12, help="scans a season, two a day")
    parser.add_argument("--size", type=int, default=1024, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--crowd", type=float, default=200.0, help="animals per 100 cm2 in training, in the middle")
    parser.add_argument("--val-crowd", type=float, default=40.0, help="animals per 100 cm2 in validation")
    for option, whose in (("--generator", "training"), ("--val-generator", "validation")):
        choices = ("loam", "varied", "both", "peat")
        parser.add_argument(option, choices=choices, default="loam", help=f"of {whose} seasons")
    parser.add_argument("--taxa", nargs="+", default=TAXA, help="those without examples are left out")
    parser.add_argument("--scale", type=float, default=0.5, help="of what is read: 0.5 is 600 dpi of the 1200")
    parser.add_argument("--even-contrast", action="store_true", help="as `train detector --even-contrast`")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--adamw", action="store_true", help="for all weights, in place of Muon for most")
    parser.add_argument("--warm-start", type=Path, default=None, help="folder of a detector to begin from")
    parser.add_argument("--work", type=Path, default=None, help="keep the training there, and go on from what is there")
    parser.add_argument("--second-steps", type=int, help=f"of the second stage; in the phase second {SECOND_STEPS}")
    parser.add_argument("--finest-share", type=float, help="of the crops: what a finest pass sees")
    parser.add_argument("--finest", action=argparse.BooleanOptionalAction, help="with a finest pass; as it is")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default=None, help="cuda or cpu; by default a GPU when there is one")
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args(words)
    if arguments.even_contrast and arguments.out == SHIPPED:
        parser.error("the detector that ships gives projects their first encoder, and crops are not evened: name --out")
    return arguments


def main() -> None:
    arguments = arguments_of()
    if arguments.phase in ("simulate", "all"):
        simulate(arguments, arguments_of(["simulate"]))
    if arguments.phase != "simulate" and arguments.out == SHIPPED and are_of_peat(arguments.folder):
        raise SystemExit(f"{arguments.folder}: seasons of peat, on which what ships is tested; name another --out")
    if arguments.phase in ("train", "all"):
        train(arguments)
    if arguments.phase == "second":
        train_second_stage(arguments)
    if arguments.phase == "judge":
        judge_anew(arguments)


if __name__ == "__main__":
    main()
