"""Judgements of bundles made by hand, for the tests of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from soilpipe.bundles.records import BundleRecord, JudgedCrops

NOW = datetime(2024, 5, 1, tzinfo=UTC)
CLASSES = ("Acari", "Collembola", "background")


def judgement(
    encoder: str = "e1",
    classifier: str = "c1",
    *,
    wrong: float | Sequence[float] = 0.1,
    crops: int = 600,
    days: int = 30,
    covered: float = 0.97,
    confidence: float | None = None,
    rank: float = 40.0,
    seed: int = 0,
    truth: Sequence[str] | None = None,
    seen: int = 0,
    **changes: Any,
) -> BundleRecord:
    """A bundle that says something wrong of a share of the crops (`wrong`, for each class its own if several).

    The first crops of a class are the wrong ones, so that of two judgements one is wrong wherever the better one is.
    confidence: what it tells of each answer; None: just as often as it is right.
    """
    rng = np.random.default_rng(seed)
    there = list(truth) if truth is not None else [CLASSES[row % len(CLASSES)] for row in range(crops)]
    crops = len(there)
    shares = dict(zip(CLASSES, [wrong] * len(CLASSES) if isinstance(wrong, float) else wrong, strict=True))
    order = rng.permutation(crops)
    found = list(there)
    for name, share in shares.items():
        own = [row for row in order if there[row] == name]
        for row in own[: round(share * len(own))]:
            found[row] = CLASSES[(CLASSES.index(name) + 1) % len(CLASSES)]
    right = np.mean([a == b for a, b in zip(there, found, strict=True)])
    fields: dict[str, Any] = {
        "encoder": encoder,
        "classifier": classifier,
        "judged_at": NOW,
        "labels_sha256": "1" * 64,
        "hold_out_scanner": "A20",
        "alpha": 0.05,
        "classes": CLASSES,
        "effective_rank": rank,
        "crops": JudgedCrops(
            ids=tuple(f"scan {row}" for row in range(crops)),
            days=tuple(f"A20 2024-04-{1 + row % days:02}" for row in range(crops)),
            truth=tuple(there),
            found=tuple(found),
            probability=(float(right if confidence is None else confidence),) * crops,
            covered=tuple(row < covered * crops for row in range(crops)),
            as_it_comes=(True,) * crops,
            seen=tuple(row < seen for row in range(crops)),
        ),
    }
    return BundleRecord(**(fields | changes))
