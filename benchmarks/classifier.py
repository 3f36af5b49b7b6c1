"""What the classifier is worth: macro-F1, calibration, sets, back-off and unknowns, on simulated seasons.

    python benchmarks/classifier.py --folder build/classifier --workers 2

Seasons are of the generator `peat`, which nothing in the package was trained on. Three kinds, each of scanners of their
own: crowded ones with taxa made more even than in the field, as tiles are that were chosen for what is in them; and two
with the field's own frequencies, as of tiles drawn at random, one to learn from too and one to judge on. Three arms:

product      what `train classifier` and the weekly refresh do: fitted on both kinds, every scanner held out once
trunk        as product, by the vectors of the encoder's trunk alone, without its close look
calibrate    the random kind is kept for calibration alone, as `train classifier --calibrate` does
tuned        with `--tune`: as product, and the encoder learns from the crops too (`train classifier --tune`)

The encoder is the shipped detector's own: its trunk, and its second stage for a close look. It has never seen `peat`;
`--encoder FOLDER` takes another. `--learn-from loam` learns from the other generator too: then
the classifier has never seen an animal as `peat` draws it, and only calibration has. `--generator loam` is its
own ground, with seeds that it has not seen: what it can do where it is at home.

Unknown is judged by leaving taxa out: in each of `--rounds` rounds some are kept from learning and calibration, and the
distance to the known classes is to tell their crops from those of the known animals (AUROC).

Crops are those of the true boxes, and of what the shipped detector takes for animals and is none: background as the
field brings it. How well animals are found is for `benchmarks/detection.py`. On two quiet cores one seed takes about 8
minutes, most of it registering references. Seasons are kept in the folder, beside the settings that made them: other
settings want another folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from classifier_crops import Crops, check_all_seasons, crops_of_seed

from soilpipe.classify.classifier import Answers, Classifier
from soilpipe.classify.evaluation import auroc, evaluate, expected_calibration_error, true_classes
from soilpipe.classify.examples import BACKGROUND, Examples, joined
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.training import rolled
from soilpipe.taxonomy import SOIL

PRODUCT, TRUNK, CALIBRATE, TUNED = ARMS = ("product", "trunk", "calibrate", "tuned")
LEAST = 5


def judged(crops: Crops, alpha: float, arm: str) -> dict[str, float]:
    """The figures of one seed and arm."""
    both, _, _ = rolled(joined([crops.learn, crops.calibrate], crops.learn.embeddings.shape[1]), SOIL, LEAST)
    scanners = sorted(set(crops.calibrate.scanners)) if arm == CALIBRATE else None
    classifier, judge = fitted(crops, both, alpha, arm, scanners)
    figures = evaluate(classifier, judge, SOIL)
    answers = classifier.classify(judge.embeddings, judge.sizes_mm)
    return {
        "classes": len(classifier.classes),
        "crops judged": figures.crops,
        "macro-F1": figures.macro_f1,
        "accuracy": figures.accuracy,
        "calibration error": figures.expected_calibration_error,
        "the same if every probability were true": least_calibration_error(answers),
        "coverage of sets": figures.coverage,
        "classes in a set": figures.set_size,
        "answered": figures.answered,
        "error among answers": figures.error_among_answers,
        "answered with a class": figures.full_depth,
        "known called unknown": figures.unknown_among_known,
    }


def fitted(
    crops: Crops, both: Examples, alpha: float, arm: str, calibrate: Sequence[str] | None = None
) -> tuple[Classifier, Examples]:
    """The classifier of an arm, learned from `both`, and the crops to judge it on as its encoder sees them."""
    if arm == TUNED:
        assert crops.tuner is not None
        return crops.tuner.fitted(both, crops.judge, alpha)
    return fit_classifier(both, taxonomy=SOIL, alpha=alpha, calibrate=calibrate).classifier, crops.judge


def least_calibration_error(answers: Answers, draws: int = 200) -> float:
    """What the calibration error would be if the probabilities were true: so few crops do not show less."""
    rng = np.random.default_rng(0)
    sure = answers.probabilities.max(axis=1)
    return float(np.mean([expected_calibration_error(sure, rng.random(len(sure)) < sure) for _ in range(draws)]))


def unknown_auroc(crops: Crops, alpha: float, rounds: int, seed: int, arm: str = PRODUCT) -> tuple[float, float]:
    """Mean AUROC over the rounds of left-out taxa against the known animals, and against all that is known."""
    taxa = sorted({taxon for taxon in crops.learn.taxa if not SOIL.find(taxon).background})
    dealt = np.array_split(np.random.default_rng(seed).permutation(taxa), rounds)
    against_animals, against_all = [], []
    for out in (set(part.tolist()) for part in dealt):
        parts = [part.select(np.array([t not in out for t in part.taxa])) for part in (crops.learn, crops.calibrate)]
        both, _, _ = rolled(joined(parts, crops.learn.embeddings.shape[1]), SOIL, LEAST)
        classifier, judge = fitted(crops, both, alpha, arm)
        far = classifier.classify(judge.embeddings, judge.sizes_mm).farness
        left_out = np.array([taxon in out for taxon in crops.judge.taxa])
        known = ~left_out & (true_classes(crops.judge.taxa, classifier.classes, SOIL) >= 0)
        animal = np.array([taxon != BACKGROUND for taxon in crops.judge.taxa])
        for others, into in ((known & animal, against_animals), (known, against_all)):
            rows = left_out | others
            into.append(auroc(far[rows], left_out[rows]))
    return float(np.nanmean(against_animals)), float(np.nanmean(against_all))


def told(words: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.0f} s  {words}", file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, float]], alpha: float) -> str:
    """Mean and standard deviation over the seeds, with what is asked for."""
    wanted = {
        "calibration error": "≤ 0.05",
        "coverage of sets": f"{1 - alpha:.2f} ± 0.02",
        "error among answers": f"≤ {alpha:.2f}",
        "known called unknown": "about 0.05",
        "AUROC of unknown, against known animals": "≥ 0.85",
    }
    lines = [f"{'':42s} {'mean':>8s} {'spread':>8s}  wanted"]
    for name in rows[0]:
        values = np.array([row[name] for row in rows], float)
        spread = f"{values.std(ddof=1):8.3f}" if len(values) > 1 else f"{'-':>8s}"
        lines.append(f"{name:42s} {values.mean():8.3f} {spread}  {wanted.get(name, '')}")
    return "\n".join(lines)


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments, or those of the words given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/classifier"), help="where the seasons lie")
    parser.add_argument("--encoder", type=Path, default=None, help="an encoder's folder; the shipped detector's trunk")
    parser.add_argument("--generator", choices=("peat", "loam"), default="peat", help="of all seasons")
    parser.add_argument("--learn-from", choices=("peat", "loam"), default=None, help="generator of what is learned")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seasons", type=int, default=16, help="scanners to learn from")
    parser.add_argument(
        "--calibrate", type=int, default=10, help="scanners with the field's frequencies that are labelled"
    )
    parser.add_argument("--judge", type=int, default=10, help="scanners to judge on")
    parser.add_argument("--scans", type=int, default=8, help="scans a season, two a day")
    parser.add_argument("--size", type=int, default=800, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--crowd", type=float, default=200.0, help="animals per 100 cm2 in what is learned from")
    parser.add_argument("--field-crowd", type=float, default=120.0, help="animals per 100 cm2 elsewhere")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=4, help="of leaving taxa out")
    parser.add_argument("--tune", action="store_true", help="the arm `tuned` too: six trainings, and six a round")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(words)


def judged_whole(crops: Crops, arguments: argparse.Namespace, seed: int, arm: str) -> dict[str, float]:
    """The figures of a seed and arm, with how well it tells what it does not know; told as they are there."""
    figures = judged(crops, arguments.alpha, arm)
    if arm != CALIBRATE:  # which differs from `product` in calibration alone
        animals, everything = unknown_auroc(crops, arguments.alpha, arguments.rounds, seed, arm)
        figures["AUROC of unknown, against known animals"] = animals
        figures["AUROC of unknown, against all known"] = everything
    told(f"seed {seed}, {arm}: {json.dumps({name: round(float(value), 3) for name, value in figures.items()})}")
    return figures


def main() -> None:
    arguments = arguments_of()
    check_all_seasons(arguments, arguments_of([]))
    arms = ARMS if arguments.tune else ARMS[:-1]
    rows: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory(prefix="soilpipe-") as scratch:
            crops = crops_of_seed(seed, arguments, Path(scratch), told)
            for arm in arms:
                given = crops.of_trunk() if arm == TRUNK else crops
                rows[arm].append(judged_whole(given, arguments, seed, arm))
    encoder = "the shipped detector's" if arguments.encoder is None else arguments.encoder.name
    learned = arguments.learn_from or arguments.generator
    print(f"Learned from {learned}, calibrated and judged on {arguments.generator}; encoder: {encoder}")
    print(f"Seeds: {arguments.seeds}")
    for arm, told_by_seed in rows.items():
        print(f"\n{arm}")
        print(table(told_by_seed, arguments.alpha))


BEGAN = time.monotonic()

if __name__ == "__main__":
    main()
