"""Comparing two bundles of encoder and classifier on the same held-out crops: is the candidate no worse?

The gate of the design. All changes are candidate less rival. Intervals come from drawing the scanner-days again, the
same days for both (paired bootstrap): crops of one day of one scanner show the same ground and often the same animals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilpipe.bundles.records import BundleRecord, JudgedCrops
from soilpipe.classify.evaluation import expected_calibration_error
from soilpipe.detect.claims import draws, interval
from soilpipe.detect.evaluate import SEED
from soilpipe.taxonomy import Taxonomy

LARGEST_LOSS = 0.01  # of macro-F1, which the lower bound of the change may reach
LARGEST_LOSS_OF_FEW = 0.03
MANY_DAYS = 60  # scanner-days, below which the larger loss holds
COMMON, LARGEST_LOSS_OF_A_CLASS = 20, 0.05  # examples of a class, and what its F1 may lose
LEAST_RANK = 0.8  # of the rival's effective rank
CALIBRATED_FROM = 500  # crops as they come, from which the probabilities are judged too
LARGEST_CALIBRATION_ERROR = 0.05
COVERAGE_SLACK = 0.02
LEAST_DAYS, LEAST_CROPS, LEAST_CLASSES = 10, 50, 2
FEWEST_OF_A_CLASS = 5  # examples from which a class counts in macro-F1


@dataclass(frozen=True)
class Comparison:
    """missing: what the labels lack for a judgement, in words; worse: in what the candidate is. figures: JSON-able."""

    missing: tuple[str, ...]
    worse: tuple[str, ...]
    figures: Mapping[str, Any]


def compare(candidate: BundleRecord, rival: BundleRecord, taxonomy: Taxonomy) -> Comparison:
    """By the gate for bundles, on the crops that both were judged on and neither learned from."""
    new, old = _shared(candidate.crops, rival.crops)
    truth = [_told_as(taxon, {*candidate.classes, *rival.classes}, taxonomy) for taxon in new.truth]
    classes = sorted(name for name in set(truth) if truth.count(name) >= FEWEST_OF_A_CLASS)
    days = sorted(set(new.days))
    missing = _missing(len(new), len(days), len(classes), sum(candidate.crops.seen))
    if missing:
        return Comparison(missing, (), {"crops": len(new), "days": len(days), "classes": len(classes)})
    ours, theirs = (_tallies(crops, truth, classes, days) for crops in (new, old))
    drawn = draws(len(days), seed=SEED)
    worse: list[str] = []
    allowed = LARGEST_LOSS if len(days) >= MANY_DAYS else LARGEST_LOSS_OF_FEW
    change = interval(_macro(ours, drawn) - _macro(theirs, drawn))
    whole = np.ones((1, len(days)), np.int64)
    macro = {
        "rival": float(_macro(theirs, whole)[0]),
        "candidate": float(_macro(ours, whole)[0]),
        "interval": change,
        "allowed": -allowed,
    }
    if change is None or change[0] < -allowed:
        bounds = "too few to tell" if change is None else f"change {change[0]:+.3f} to {change[1]:+.3f}"
        worse.append(
            f"macro-F1 {macro['rival']:.3f} -> {macro['candidate']:.3f} ({bounds}); the lower bound must not be below "
            f"-{allowed:g}"
        )
    of_class = _classes(ours, theirs, truth, classes)
    worse += [
        f"F1 of {name} {one['rival']:.3f} -> {one['candidate']:.3f}, of which there are {one['examples']}"
        for name, one in of_class.items()
        if one["examples"] >= COMMON and one["candidate"] < one["rival"] - LARGEST_LOSS_OF_A_CLASS
    ]
    rank = {"rival": rival.effective_rank, "candidate": candidate.effective_rank}
    if not candidate.effective_rank >= LEAST_RANK * rival.effective_rank:
        worse.append(
            f"effective rank of the embeddings {rank['rival']:.1f} -> {rank['candidate']:.1f}, below {LEAST_RANK:g} of "
            "it: they use fewer directions, which is how a pretraining collapses"
        )
    calibration = calibration_of(candidate)
    worse += _badly_calibrated(calibration)
    figures = {"crops": len(new), "days": len(days), "macro_f1": macro, "classes": of_class}
    return Comparison((), tuple(worse), {**figures, "effective_rank": rank, "calibration": calibration})


def macro_f1(record: BundleRecord, taxonomy: Taxonomy) -> float:
    """Mean F1 over the classes with enough examples, on all crops not learned from; NaN where there is none."""
    crops, _ = _shared(record.crops, record.crops)
    truth = [_told_as(taxon, set(record.classes), taxonomy) for taxon in crops.truth]
    classes = sorted(name for name in set(truth) if truth.count(name) >= FEWEST_OF_A_CLASS)
    if not classes:
        return float("nan")
    tallies = _tallies(crops, truth, classes, sorted(set(crops.days)))
    return float(_macro(tallies, np.ones((1, tallies.shape[1]), np.int64))[0])


def calibration_of(record: BundleRecord) -> dict[str, Any]:
    """Expected calibration error of the likeliest class, and how often the conformal set holds the truth.

    Only crops as they come count: others were chosen for being rare or difficult.
    """
    crops, _ = _shared(record.crops, record.crops)
    kept = np.array(crops.as_it_comes, bool)
    told = np.array(crops.probability, float)[kept]
    right = np.array([a == b for a, b in zip(crops.truth, crops.found, strict=True)], bool)[kept]
    covered = np.array(crops.covered, bool)[kept]
    n = len(told)
    return {
        "crops": n,
        "alpha": record.alpha,
        "expected_calibration_error": expected_calibration_error(told, right) if n else None,
        "coverage": float(covered.mean()) if n else None,
        "judged": n >= CALIBRATED_FROM,
    }


def _badly_calibrated(figures: Mapping[str, Any]) -> list[str]:
    if not figures["judged"]:
        return []
    worse = []
    error, coverage = figures["expected_calibration_error"], figures["coverage"]
    if error > LARGEST_CALIBRATION_ERROR:
        worse.append(f"expected calibration error {error:.3f}, above {LARGEST_CALIBRATION_ERROR:g}")
    least = 1 - figures["alpha"] - COVERAGE_SLACK
    if coverage < least:
        worse.append(f"its sets hold the truth in {coverage:.3f} of the cases, fewer than {least:.3f}")
    return worse


def _missing(crops: int, days: int, classes: int, seen: int) -> tuple[str, ...]:
    wanted = (
        (crops, LEAST_CROPS, "labelled crops"),
        (days, LEAST_DAYS, "scanner-days"),
        (classes, LEAST_CLASSES, f"classes with {FEWEST_OF_A_CLASS} examples or more"),
    )
    told = [f"{there} of {needed} {what}" for there, needed, what in wanted if there < needed]
    if told and seen:
        whose = "encoder or classifier, or what they began from, learned from their scans"
        told.append(f"{seen} more crops do not count, because {whose}")
    return tuple(told)


def _shared(one: JudgedCrops, other: JudgedCrops) -> tuple[JudgedCrops, JudgedCrops]:
    """The crops of both, in one order, without those that either was pretrained on."""
    places = ({name: row for row, name in enumerate(crops.ids) if not crops.seen[row]} for crops in (one, other))
    first, second = places
    ids = sorted(first.keys() & second.keys())
    return _rows(one, [first[name] for name in ids]), _rows(other, [second[name] for name in ids])


def _rows(crops: JudgedCrops, rows: Sequence[int]) -> JudgedCrops:
    return JudgedCrops(**{name: tuple(getattr(crops, name)[row] for row in rows) for name in JudgedCrops.model_fields})


def _told_as(taxon: str, classes: set[str], taxonomy: Taxonomy) -> str:
    """The class that stands for a taxon: itself, else the nearest above it that one of the bundles tells."""
    if taxon in classes or taxon not in taxonomy:
        return taxon
    above = (name for name in taxonomy.ancestors(taxonomy.find(taxon).name) if name in classes)
    return next(above, taxon)


def _tallies(crops: JudgedCrops, truth: Sequence[str], classes: Sequence[str], days: Sequence[str]) -> np.ndarray:
    """(3, days, classes) int64: right, wrongly told to be of the class, and of the class but told otherwise."""
    tallies = np.zeros((3, len(days), len(classes)), np.int64)
    column, row = ({name: place for place, name in enumerate(names)} for names in (classes, days))
    for day, true, found in zip(crops.days, truth, crops.found, strict=True):
        if true == found and true in column:
            tallies[0, row[day], column[true]] += 1
            continue
        if found in column:
            tallies[1, row[day], column[found]] += 1
        if true in column:
            tallies[2, row[day], column[true]] += 1
    return tallies


def _f1(tallies: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws, classes): F1 for `drawn` (draws, days) weights of the days; NaN for a class that a draw has none of."""
    right, alarms, lost = (drawn @ part for part in tallies)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(right + lost > 0, 2 * right / (2 * right + alarms + lost), np.nan)


def _macro(tallies: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(draws,): the mean F1 over the classes that a draw has."""
    of_class = _f1(tallies, drawn)
    there = np.isfinite(of_class)
    return np.where(there.any(1), np.nansum(of_class, 1) / np.maximum(1, there.sum(1)), np.nan)


def _classes(
    ours: np.ndarray, theirs: np.ndarray, truth: Sequence[str], classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    whole = np.ones((1, ours.shape[1]), np.int64)
    new, old = _f1(ours, whole)[0], _f1(theirs, whole)[0]
    return {
        name: {"examples": truth.count(name), "rival": float(before), "candidate": float(after)}
        for name, before, after in zip(classes, old, new, strict=True)
    }
