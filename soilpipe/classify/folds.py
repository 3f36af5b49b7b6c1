"""Which labelled crops are fitted on and which are held out, so that calibration is told on scanners never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from soilpipe.classify.examples import ClassifierError, Examples
from soilpipe.detect.split import NEIGHBOURING

FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """fitted, held: (n,) bool, never both."""

    fitted: np.ndarray
    held: np.ndarray


@dataclass(frozen=True)
class Folds:
    """`folds`; `kept` (n,) bool: what the final classifier is fitted on; `told`: in words, for the card."""

    folds: tuple[Fold, ...]
    kept: np.ndarray
    told: str


def make_folds(examples: Examples, calibrate: Sequence[str] | None = None) -> Folds:
    """Folds by scanner; of a single scanner, by blocks of time, with neighbouring scans in neither part.

    `calibrate`: scanners that serve calibration alone; then there is one fold, and nothing else is fitted on them.
    ClassifierError names one that has no label. Without scanners and times, folds are of images.
    """
    scanners = np.array(examples.scanners, object)
    everything = np.ones(len(examples), bool)
    if calibrate:
        strange = sorted(set(calibrate) - set(scanners.tolist()))
        if strange:
            raise ClassifierError(
                f"no labelled crop is of scanner {', '.join(strange)}; there are {', '.join(sorted(set(scanners)))}"
            )
        held = np.isin(scanners, list(calibrate))
        if held.all():
            raise ClassifierError(
                "all labelled crops are of the scanners kept for calibration; none is left to learn from. Name fewer"
            )
        told = f"scanners {', '.join(sorted(set(calibrate)))} alone, which nothing else was fitted on"
        return Folds((Fold(~held, held),), ~held, told)
    names = sorted(set(scanners.tolist()))
    known = all(source.scanner_id is not None for source in examples.sources)
    if len(names) > 1:
        groups = _dealt(names, [int((scanners == name).sum()) for name in names])
        held_each = [np.isin(scanners, group) for group in groups]
        what = "scanners" if known else "images"
        told = f"{len(names)} {what} in {len(groups)} folds, each held out once; fitted on all in the end"
        return Folds(tuple(Fold(~held, held) for held in held_each), everything, told)
    blocks = _blocks(examples)
    if not blocks:
        return Folds((), everything, "not held out: one scanner, with too few times to hold some out")
    told = f"{len(blocks)} blocks of time of the only scanner, each held out once; fitted on all in the end"
    return Folds(tuple(blocks), everything, told)


def halves(examples: Examples) -> np.ndarray:
    """(n,) int64, 0 or 1: two halves by scanner; of a single scanner the earlier and the later scans. All 0 where that
    cannot be told."""
    scanners = np.array(examples.scanners, object)
    names = sorted(set(scanners.tolist()))
    if len(names) > 1:
        groups = _dealt(names, [int((scanners == name).sum()) for name in names], 2)
        return np.isin(scanners, groups[1]).astype(np.int64)
    found = np.zeros(len(examples), np.int64)
    blocks = _blocks(examples)
    if len(blocks) > 1:
        for block in blocks[(len(blocks) + 1) // 2 :]:
            found[block.held] = 1
    return found


def _dealt(names: Sequence[str], sizes: Sequence[int], most: int = FOLDS) -> list[list[str]]:
    """Names in up to `most` groups of about the same number of crops, the largest dealt first."""
    groups: list[list[str]] = [[] for _ in range(min(most, len(names)))]
    filled = [0] * len(groups)
    for name, size in sorted(zip(names, sizes, strict=True), key=lambda pair: (-pair[1], pair[0])):
        least = filled.index(min(filled))
        groups[least].append(name)
        filled[least] += size
    return groups


def _blocks(examples: Examples) -> list[Fold]:
    """Blocks of consecutive times; what lies within NEIGHBOURING of a block is left out of its fitted part."""
    if any(source.captured_at is None for source in examples.sources):
        return []
    times = np.array([datetime.fromisoformat(str(s.captured_at)).timestamp() for s in examples.sources])
    distinct = np.unique(times)
    if len(distinct) < 2:
        return []
    found = []
    for block in np.array_split(distinct, min(FOLDS, len(distinct))):
        held = (times >= block[0]) & (times <= block[-1])
        near = (times >= block[0] - NEIGHBOURING.total_seconds()) & (times <= block[-1] + NEIGHBOURING.total_seconds())
        if not near.all():
            found.append(Fold(~near, held))
    return found
