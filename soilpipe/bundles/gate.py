"""Comparing two bundles of encoder and classifier on the same held-out crops: is the candidate no worse?

The gate of the design. All changes are candidate less rival. Intervals come from drawing the scanner-days again, the
same days for both (paired bootstrap): crops of one day of one scanner show the same ground and often the same animals.

Two bundles need not tell the same taxa. They are compared by the classes of both, where a taxon that one of them cannot
tell is wrong wherever it comes, and by those of the rival alone: so a coarse bundle is no match for a fine one, and
being finer excuses nothing that the rival tells better.

Background is a class like the others, and so one part of macro-F1: of what a detector boxes most is no animal, and a
bundle that takes bare ground for mites is worse. Whether there are labels enough to compare by, it has no say in
(`enough`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soilpipe.bundles.enough import COMMON, FEWEST_OF_A_CLASS, Evidence, evidence
from soilpipe.bundles.records import BundleRecord, JudgedCrops
from soilpipe.classify.backoff import lineage_of
from soilpipe.classify.evaluation import expected_calibration_error
from soilpipe.detect.claims import draws, interval
from soilpipe.detect.evaluate import SEED
from soilpipe.taxonomy import Taxonomy

LARGEST_LOSS = 0.01  # of macro-F1, which the lower bound of the change may reach
LARGEST_LOSS_OF_FEW = 0.03
MANY_DAYS = 60  # scanner-days, below which the larger loss holds
LARGEST_LOSS_OF_A_CLASS = 0.05  # of its F1, where it is common
LEAST_RANK = 0.8  # of the rival's effective rank
CALIBRATED_FROM = 500  # crops as they come, from which the probabilities are judged too
LARGEST_CALIBRATION_ERROR = 0.05
COVERAGE_SLACK = 0.02


@dataclass(frozen=True)
class Comparison:
    """missing: what the labels lack for a judgement, in words; worse: in what the candidate is. figures: JSON-able."""

    missing: tuple[str, ...]
    worse: tuple[str, ...]
    figures: Mapping[str, Any]


def compare(candidate: BundleRecord, rival: BundleRecord, taxonomy: Taxonomy) -> Comparison:
    """By the gate for bundles, on the crops that both were judged on and neither learned from."""
    new, old = _shared(candidate.crops, rival.crops)
    told, days = {*candidate.classes, *rival.classes}, sorted(set(new.days))
    level = _Level.of(new, old, candidate, rival, told, days, taxonomy)
    there = level.evidence(new, candidate, taxonomy)
    figures: dict[str, Any] = {"animals": there.animals, "windows": there.windows, "days": len(days)}
    if missing := there.missing():
        return Comparison(missing, (), {**figures, "classes": len(level.classes)})
    macro, of_class, worse = _judged(level, days)
    figures |= {"macro_f1": macro, "classes": of_class}
    if told != set(rival.classes):
        theirs = _Level.of(new, old, candidate, rival, set(rival.classes), days, taxonomy)
        if theirs.classes:
            figures["rivals_classes"], figures["of_rivals_classes"], lost = _judged(theirs, days)
            worse += [one if one in worse else f"by the classes that the rival tells, {one}" for one in lost]
    rank = {"rival": rival.effective_rank, "candidate": candidate.effective_rank}
    if not candidate.effective_rank >= LEAST_RANK * rival.effective_rank:
        worse.append(
            f"effective rank of the embeddings {rank['rival']:.1f} -> {rank['candidate']:.1f}, below {LEAST_RANK:g} of "
            "it: they use fewer directions, which is how a pretraining collapses"
        )
    calibration = calibration_of(candidate, taxonomy)
    worse += _badly_calibrated(calibration)
    return Comparison((), tuple(dict.fromkeys(worse)), {**figures, "effective_rank": rank, "calibration": calibration})


def lead(one: BundleRecord, other: BundleRecord, taxonomy: Taxonomy) -> float | None:
    """By how much the macro-F1 of one bundle is above another's, on the crops that both were judged on and neither
    learned from, by the classes of both; None where these are too few."""
    new, old = _shared(one.crops, other.crops)
    days = sorted(set(new.days))
    level = _Level.of(new, old, one, other, {*one.classes, *other.classes}, days, taxonomy)
    if level.evidence(new, one, taxonomy).missing():
        return None
    whole = np.ones((1, len(days)), np.int64)
    return float(_macro(level.ours, whole)[0] - _macro(level.theirs, whole)[0])


@dataclass(frozen=True)
class _Level:
    """What two bundles said of the same crops, told by some classes: those with enough crops, the class of each crop,
    and the tallies of both."""

    classes: list[str]
    truth: list[str]
    ours: np.ndarray
    theirs: np.ndarray

    @classmethod
    def of(
        cls,
        new: JudgedCrops,
        old: JudgedCrops,
        candidate: BundleRecord,
        rival: BundleRecord,
        told: set[str],
        days: Sequence[str],
        taxonomy: Taxonomy,
    ) -> _Level:
        truth = _all_told_as(new.truth, told, taxonomy)
        classes = _common(truth, told)
        both = (
            _tallies(crops.days, truth, _answers(crops, truth, set(of.classes), told, taxonomy), classes, days)
            for crops, of in ((new, candidate), (old, rival))
        )
        return cls(classes, truth, *both)

    def evidence(self, shared: JudgedCrops, judged: BundleRecord, taxonomy: Taxonomy) -> Evidence:
        return evidence(shared, self.truth, self.classes, taxonomy, judged=judged.crops)


def _judged(level: _Level, days: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Of macro-F1 and of each class the figures, and in words what is worse."""
    worse: list[str] = []
    drawn, whole = draws(len(days), seed=SEED), np.ones((1, len(days)), np.int64)
    allowed = LARGEST_LOSS if len(days) >= MANY_DAYS else LARGEST_LOSS_OF_FEW
    change = interval(_macro(level.ours, drawn) - _macro(level.theirs, drawn))
    macro = {
        "rival": float(_macro(level.theirs, whole)[0]),
        "candidate": float(_macro(level.ours, whole)[0]),
        "interval": change,
        "allowed": -allowed,
    }
    if change is None or change[0] < -allowed:
        bounds = "too few to tell" if change is None else f"change {change[0]:+.3f} to {change[1]:+.3f}"
        worse.append(
            f"macro-F1 {macro['rival']:.3f} -> {macro['candidate']:.3f} ({bounds}); the lower bound must not be below "
            f"-{allowed:g}"
        )
    of_class = _classes(level.ours, level.theirs, level.truth, level.classes)
    worse += [
        f"F1 of {name} {one['rival']:.3f} -> {one['candidate']:.3f}, of which there are {one['examples']}"
        for name, one in of_class.items()
        if one["examples"] >= COMMON and one["candidate"] < one["rival"] - LARGEST_LOSS_OF_A_CLASS
    ]
    return macro, of_class, worse


def macro_f1(record: BundleRecord, taxonomy: Taxonomy) -> float:
    """Mean F1 over its own classes with enough examples, on all crops not learned from; NaN where there is none. Of two
    bundles with other classes it says nothing: for that, see `lead`."""
    crops, _ = _shared(record.crops, record.crops)
    told = set(record.classes)
    truth = _all_told_as(crops.truth, told, taxonomy)
    classes = _common(truth, {*told, *truth})
    if not classes:
        return float("nan")
    tallies = _tallies(crops.days, truth, crops.found, classes, sorted(set(crops.days)))
    return float(_macro(tallies, np.ones((1, tallies.shape[1]), np.int64))[0])


def calibration_of(record: BundleRecord, taxonomy: Taxonomy) -> dict[str, Any]:
    """Expected calibration error of the likeliest class, and how often the conformal set holds the truth.

    Right is the class that stands for the taxon, as for F1 and for the sets: where the bundle tells Acari, a mite that
    was labelled more exactly is one. Only crops as they come count: others were chosen for being rare or difficult.
    """
    crops, _ = _shared(record.crops, record.crops)
    truth = _all_told_as(crops.truth, set(record.classes), taxonomy)
    kept = np.array(crops.as_it_comes, bool)
    told = np.array(crops.probability, float)[kept]
    right = np.array([a == b for a, b in zip(truth, crops.found, strict=True)], bool)[kept]
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


def _shared(one: JudgedCrops, other: JudgedCrops) -> tuple[JudgedCrops, JudgedCrops]:
    """The crops of both, in one order, without those that either was pretrained on."""
    places = ({name: row for row, name in enumerate(crops.ids) if not crops.seen[row]} for crops in (one, other))
    first, second = places
    ids = sorted(first.keys() & second.keys())
    return _rows(one, [first[name] for name in ids]), _rows(other, [second[name] for name in ids])


def _rows(crops: JudgedCrops, rows: Sequence[int]) -> JudgedCrops:
    return JudgedCrops(**{name: tuple(getattr(crops, name)[row] for row in rows) for name in JudgedCrops.model_fields})


def told_as(taxon: str, classes: Collection[str], taxonomy: Taxonomy) -> str:
    """The class that stands for a taxon: itself, else the nearest above it, else the taxon. All that is no animal lies
    below `background`, in any taxonomy."""
    if taxon in classes or taxon not in taxonomy:
        return taxon
    return next((name for name in lineage_of(taxon, taxonomy) if name in classes), taxon)


def _all_told_as(taxa: Sequence[str], classes: Collection[str], taxonomy: Taxonomy) -> list[str]:
    known = {taxon: told_as(taxon, classes, taxonomy) for taxon in set(taxa)}
    return [known[taxon] for taxon in taxa]


def _common(truth: Sequence[str], told: set[str]) -> list[str]:
    """The classes, of those that are told, with enough crops."""
    return sorted(name for name, count in Counter(truth).items() if name in told and count >= FEWEST_OF_A_CLASS)


def _answers(crops: JudgedCrops, truth: Sequence[str], own: set[str], told: set[str], taxonomy: Taxonomy) -> list[str]:
    """What a bundle with the classes `own` answered, by the classes `told`. Where it has no class for what was labelled
    and answers with something in it, it is right: the label says no more."""
    answers = _all_told_as(crops.found, told, taxonomy)
    above = {name: lineage_of(name, taxonomy) if name in taxonomy else () for name in set(answers)}
    return [
        true if true not in own and true in above[found] else found for true, found in zip(truth, answers, strict=True)
    ]


def _tallies(
    of_days: Sequence[str], truth: Sequence[str], answers: Sequence[str], classes: Sequence[str], days: Sequence[str]
) -> np.ndarray:
    """(3, days, classes) int64: right, wrongly told to be of the class, and of the class but told otherwise."""
    tallies = np.zeros((3, len(days), len(classes)), np.int64)
    column, row = ({name: place for place, name in enumerate(names)} for names in (classes, days))
    for day, true, found in zip(of_days, truth, answers, strict=True):
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
