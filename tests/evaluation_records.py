"""Evaluations made by hand, for the tests of the registry and of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from soilpipe.detect.claims import RIGHT, WRONG, Claims, average_precision, value_of
from soilpipe.detect.kept_matches import pack
from soilpipe.evaluations import EvaluationRecord, KeptImage, KeptMatches, Sampled

NOW = datetime(2024, 5, 1, tzinfo=UTC)
EACH = 4  # animals an image: the first is short (0.35 mm), the others 1.5 mm


def outcomes(found: Sequence[Sequence[bool]], alarms: Sequence[int]) -> Claims:
    """Claims of images: the animals found in each, at falling scores from 0.9, and false alarms below them."""
    scores, outcome, unit = [], [], []
    for image, (hits, wrong) in enumerate(zip(found, alarms, strict=True)):
        told = [RIGHT] * sum(hits) + [WRONG] * wrong
        outcome += told
        scores += [0.9 - 0.01 * place for place in range(len(told))]
        unit += [image] * len(told)
    order = np.argsort(-np.array(scores, np.float32), kind="stable")
    return Claims(
        np.array(scores, np.float32)[order],
        np.array(outcome, np.int8)[order],
        np.array(unit, np.int64)[order],
        np.array([len(hits) for hits in found], np.int64),
    )


def record(
    version: str,
    found: Sequence[Sequence[bool]] | None = None,
    *,
    alarms: Sequence[int] | None = None,
    images: int = 40,
    days: int = 20,
    taxa: Sequence[str] = ("Collembola",),
    **changes: Any,
) -> EvaluationRecord:
    """An evaluation on `images` tiles of the hold-out over `days` scanner-days. `found`: for every tile which of its
    four animals were; all of them are of every one of `taxa`."""
    found = found if found is not None else [[True, True, True, False]] * images
    claims = outcomes(found, alarms if alarms is not None else [1] * images)
    lengths = np.tile(np.array([0.35, 1.5, 1.5, 1.5], np.float32), images)
    kept = KeptMatches(
        images=tuple(
            KeptImage(name=f"tile-{n:03}", day=f"A 2024-04-{1 + n % days:02}", area_cm2=1.0) for n in range(images)
        ),
        animals=pack(claims),
        at_work=pack(claims),
        taxa={taxon: pack(claims) for taxon in taxa},
        length_mm=pack(Claims(lengths, np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros(0, np.int64))).scores,
        label_images=pack(
            Claims(lengths[:0], np.zeros(0, np.int8), np.repeat(np.arange(images), EACH), np.zeros(0, np.int64))
        ).images,
        labels_found="".join("+" if hit else "-" for hits in found for hit in hits),
    )
    sampled = Sampled(
        tiles=images,
        left_out=0,
        hold_out=images,
        hold_out_fit=images,
        unfamiliar_from=None,
        sha256=changes.get("labels_sha256", "1" * 64),
    )
    fields: dict[str, Any] = {
        "role": "detector",
        "version": version,
        "name": f"model {version}",
        "taxa": tuple(taxa),
        "evaluated_at": NOW,
        "sample": "hold-out",
        "sampled": sampled,
        "labels": "labels.json",
        "labels_sha256": "1" * 64,
        "simulated": False,
        "images": images,
        "animals": EACH * images,
        "trained_on": 0,
        "as_used": True,
        "threshold": 0.4,
        "shortest_found_mm": 0.45,
        "figures": {"ap50": value_of(claims, average_precision)},
        "intervals": {"ap50": (0.1, 0.9)},
        "matches": kept,
    }
    return EvaluationRecord(**fields | changes)
