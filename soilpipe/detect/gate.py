"""Comparing two detectors on the same held-out images: is the candidate no worse than the one before?

Both are judged on the tiles of one hold-out, each but for those that it is familiar with; they are compared on what
both were judged on. All changes are candidate less rival, each at its own working thresholds; their intervals come from
drawing the scanner-days again, the same days for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from soilpipe.detect import claims as told
from soilpipe.detect.claims import Claims, Figure, Interval, draws, interval, value_of
from soilpipe.detect.evaluate import SEED
from soilpipe.detect.figures import EDGES_MM, ENOUGH_OF_A_SIZE
from soilpipe.detect.kept_matches import Matched, of_images, unpack
from soilpipe.evaluations import ENOUGH_TILES, NEIGHBOURING_HOURS, EvaluationError, EvaluationRecord
from soilpipe.taxonomy import Taxonomy

LARGEST_LOSS = 0.01  # of AP50, which the lower bound of the change may reach
COMMON = 20  # labels from which a taxon is common enough to be judged
LEAST_DAYS, LEAST_ANIMALS = 10, 50
ALL = "all animals"


@dataclass(frozen=True)
class Comparison:
    """missing: what the labels lack for a judgement, in words; worse: in what the candidate is. figures: JSON-able."""

    missing: tuple[str, ...]
    worse: tuple[str, ...]
    figures: Mapping[str, Any]


def compare(candidate: EvaluationRecord, rival: EvaluationRecord, taxonomy: Taxonomy) -> Comparison:
    """By the gate for detectors. EvaluationError when the two are not of the same labels."""
    if sample_of(candidate) != sample_of(rival):
        raise EvaluationError(
            f"the evaluations of {candidate.version} and {rival.version} are of different labels and cannot be compared"
        )
    new, old = _shared(candidate, rival)
    missing = _missing(new, _left_out(candidate), _left_out(rival))
    if missing:
        return Comparison(missing, (), {})
    days = tuple(sorted(new.days))
    drawn = draws(len(days), seed=SEED)
    worse: list[str] = []
    ap50 = _change(_by_day(new, new.animals, days), _by_day(old, old.animals, days), told.average_precision, drawn)
    if ap50["interval"] is None or ap50["interval"][0] < -LARGEST_LOSS:
        worse.append(f"AP50 {_told(ap50)}; its lower bound must not be below -{LARGEST_LOSS:g}")
    taxa = _taxa(new, old, days, drawn)
    for taxon, changes in taxa.items():
        recall, alarms = changes["recall"], changes["false_alarms_per_100cm2"]
        if recall["interval"] is not None and recall["interval"][1] < 0:
            worse.append(f"recall of {taxon} {_told(recall)}")
        if alarms["interval"] is not None and alarms["interval"][0] > 0:
            worse.append(f"false alarms of {taxon} per 100 cm² {_told(alarms)}")
    worse += [f"it no longer tells {taxon}, of which there are {n}" for taxon, n in _lost(new, old, taxonomy)]
    smallest = _smallest(new, old)
    if smallest is not None and smallest["candidate"] < smallest["rival"]:
        worse.append(f"recall of animals {smallest['words']} {smallest['rival']:.3f} -> {smallest['candidate']:.3f}")
    figures = {"tiles": len(new.names), "days": len(days), "ap50": ap50, "taxa": taxa, "smallest": smallest}
    return Comparison((), tuple(worse), figures)


def sample_of(record: EvaluationRecord) -> str:
    """What tells the labels apart that evaluations are from: the whole sample, also what was left out of it."""
    return record.sampled.sha256 if record.sampled else record.labels_sha256


def shared_ap50(record: EvaluationRecord, other: EvaluationRecord) -> float | None:
    """AP50 of the first on the tiles that both were judged on; None where these are too few to compare on."""
    mine = _shared(record, other)[0]
    return None if _missing(mine, 0, 0) else value_of(mine.animals, told.average_precision)


def _shared(one: EvaluationRecord, other: EvaluationRecord) -> tuple[Matched, Matched]:
    first, second = unpack(one.matches), unpack(other.matches)
    names = set(first.names) & set(second.names)
    return of_images(first, names), of_images(second, names)


def _left_out(record: EvaluationRecord) -> int:
    """Tiles of the sample that a version was not judged on, because it is familiar with them."""
    return record.sampled.left_out if record.sampled else 0


def _missing(matched: Matched, ours: int, theirs: int) -> tuple[str, ...]:
    """ours, theirs: tiles left out for candidate and rival."""
    wanted = (
        (len(matched.names), ENOUGH_TILES, "tiles"),
        (int(matched.animals.truths.sum()), LEAST_ANIMALS, "animals"),
        (len(matched.days), LEAST_DAYS, "scanner-days"),
    )
    lacking = [f"{there} of {needed} {what}" for there, needed, what in wanted if there < needed]
    whose = [f"{count} for {who}" for who, count in (("the candidate", ours), ("its rival", theirs)) if count]
    if lacking and whose:
        lacking.append(
            f"tiles of no use, because they show what was trained on or are within {NEIGHBOURING_HOURS} h of it: "
            + " and ".join(whose)
        )
    return tuple(lacking)


def _by_day(matched: Matched, claims: Claims, days: tuple[str, ...]) -> Claims:
    place = np.array([days.index(day) for day in matched.days], np.int64)
    return claims.regrouped(place[matched.day], len(days))


def _change(new: Claims, old: Claims, figure: Figure, drawn: np.ndarray) -> dict[str, Any]:
    between: Interval | None = interval(figure(new, drawn) - figure(old, drawn))
    return {"candidate": value_of(new, figure), "rival": value_of(old, figure), "interval": between}


def _told(change: Mapping[str, Any]) -> str:
    """In words: 0.500 -> 0.450 (change -0.080 to -0.020)."""
    before, after = ("-" if change[side] is None else f"{change[side]:.3f}" for side in ("rival", "candidate"))
    bounds = change["interval"]
    return f"{before} -> {after}" + (
        f" (change {bounds[0]:+.3f} to {bounds[1]:+.3f})" if bounds else " (too few to tell)"
    )


def _taxa(new: Matched, old: Matched, days: tuple[str, ...], drawn: np.ndarray) -> dict[str, dict[str, Any]]:
    """Changes of recall and false alarms of all animals, and of each common taxon that both tell."""
    pairs = {ALL: (new.at_work, old.at_work)}
    pairs |= {taxon: (new.taxa[taxon], old.taxa[taxon]) for taxon in new.taxa if taxon in old.taxa}
    areas = np.zeros(len(days))
    np.add.at(areas, [days.index(new.days[day]) for day in new.day], new.area_cm2 / 100)
    changes = {}
    for taxon, (ours, theirs) in pairs.items():
        if taxon != ALL and min(ours.truths.sum(), theirs.truths.sum()) < COMMON:
            continue
        ours, theirs = _by_day(new, ours, days), _by_day(old, theirs, days)
        changes[taxon] = {
            "recall": _change(ours, theirs, told.recall, drawn),
            "false_alarms_per_100cm2": _change(ours, theirs, told.false_alarms(areas), drawn),
        }
    return changes


def _lost(new: Matched, old: Matched, taxonomy: Taxonomy) -> list[tuple[str, int]]:
    """Common taxa that only the rival tells, where the candidate tells nothing below them either."""
    lines = {name for taxon in new.taxa if taxon in taxonomy for name in taxonomy.ancestors(taxonomy.find(taxon).name)}
    return [
        (taxon, int(claims.truths.sum()))
        for taxon, claims in old.taxa.items()
        if taxon not in new.taxa and taxon not in lines and claims.truths.sum() >= COMMON
    ]


def _smallest(new: Matched, old: Matched) -> dict[str, Any] | None:
    """Recall of the smallest class of length, mm, that has ten labels or more; None where no class has."""
    for low, high in pairwise((0.0, *EDGES_MM, np.inf)):
        ours, theirs = (side.label_found[(side.length_mm >= low) & (side.length_mm < high)] for side in (new, old))
        if len(ours) >= ENOUGH_OF_A_SIZE:
            words = f"of {low:g} to {high:g} mm" if np.isfinite(high) else f"from {low:g} mm on"
            return {
                "words": words,
                "animals": len(ours),
                "candidate": float(ours.mean()),
                "rival": float(theirs.mean()) if len(theirs) else 0.0,
            }
    return None
