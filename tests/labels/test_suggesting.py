"""Which tiles are suggested: what is close to the threshold of its own taxon, and what is rare."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from soilpipe.analyses import Analysis
from soilpipe.detections import DetectionFile
from soilpipe.labels.suggesting import DOUBT, Candidate, candidates_of, suggest
from soilpipe.taxonomy import SOIL

SCAN = "A20-20240306T000000-0123abcd"


def analysis(**thresholds: float) -> Analysis:
    return Analysis(
        detector="1",
        detector_name="one",
        threshold=0.5,
        taxa=("Acari", "Enchytraeidae", "Diptera (larva)"),
        validation="none",
        reference_lags_h=(6.0,),
        algorithm_version="1",
        settings={"thresholds": {name.replace("_", " "): value for name, value in thresholds.items()}},
    )


def tiles_of(*found: tuple[str | None, str | None, float], by: Analysis) -> list[Candidate]:
    """One tile of 100 px a detection, in their order: taxon, stage and score."""
    columns: dict[str, list[Any]] = {
        "x_min": [100.0 * place + 40 for place in range(len(found))],
        "y_min": [40.0] * len(found),
        "x_max": [100.0 * place + 60 for place in range(len(found))],
        "y_max": [60.0] * len(found),
        "score": [score for _, _, score in found],
        "taxon": [taxon for taxon, _, _ in found],
        "stage": [stage for _, stage, _ in found],
    }
    file = DetectionFile(pa.table(columns, schema=None), {})
    return candidates_of(SCAN, file, (100 * len(found), 100), by, 100, SOIL)


def test_doubt_is_told_by_the_threshold_of_the_taxon_and_never_above_one() -> None:
    """A worm clearly above its own low threshold is no doubt, and a mite at its own high one is a whole one."""
    by = analysis(Enchytraeidae=0.28, Acari=0.7)
    tiles = tiles_of(
        ("Enchytraeidae", None, 0.46),
        ("Enchytraeidae", None, 0.28),
        ("Acari", None, 0.70),
        ("Acari", None, 0.70 + DOUBT / 2),
        ("Collembola", None, 0.50),
        (None, None, 0.9),
        ("Acari", None, 0.4),  # a classifier named it; the detector's taxon had a lower threshold
        by=by,
    )
    assert [tile.doubt for tile in tiles] == pytest.approx([0, 1, 1, 0.5, 1, 0, 1])
    assert [tile.doubtful for tile in tiles] == [0, 1, 1, 1, 1, 0, 1]
    chosen = [one.place[1] for one in suggest(tiles, 4, ())]
    assert 300 not in chosen and 500 not in chosen, "less doubtful, and not at all"


def test_thresholds_of_stages_and_of_names_that_the_project_does_not_use_are_found() -> None:
    by = Analysis.model_validate(
        {**analysis().model_dump(), "settings": {"thresholds": {"Diptera (larva)": 0.3, "snark": 0.8}}}
    )
    tiles = tiles_of(("Diptera", "larva", 0.5), ("Diptera", None, 0.5), ("snark", None, 0.8), by=by)
    assert [tile.doubt for tile in tiles] == pytest.approx([0, 1, 1])
    synonym = next(taxon for taxon in SOIL if taxon.synonyms)
    by = Analysis.model_validate({**analysis().model_dump(), "settings": {"thresholds": {synonym.synonyms[0]: 0.2}}})
    assert tiles_of((synonym.name, None, 0.5), by=by)[0].doubt == 0


def with_near_misses(*near: tuple[float, float, float], score: float = 0.9) -> list[Candidate]:
    """Three tiles of 100 px in a row: a detection of that score in the first, and what was nearly found."""
    columns = {
        "x_min": [40.0],
        "y_min": [40.0],
        "x_max": [60.0],
        "y_max": [60.0],
        "score": [score],
        "taxon": ["Acari"],
        "stage": [None],
    }
    file = DetectionFile(pa.table(columns), {"near_misses": [list(one) for one in near]})
    return candidates_of(SCAN, file, (300, 100), analysis(), 100, SOIL)


def test_what_was_nearly_found_is_doubtful_too_where_no_detection_is() -> None:
    tiles = with_near_misses((150, 50, 0.0), (160, 50, DOUBT / 2), (299, 99, DOUBT), (300, 100, 0.1))
    assert [(tile.place[1], tile.missed) for tile in tiles] == [(0, 0), (100, 2), (200, 1)]
    assert [tile.doubt for tile in tiles] == pytest.approx([0, 1.5, 1 - 0.1 / DOUBT])
    assert [(one.place[1], one.reason) for one in suggest(tiles, 3, ())] == [
        (100, "doubtful: 2 nearly found"),
        (200, "doubtful: 1 nearly found"),
    ]


def test_both_sides_of_the_threshold_are_told() -> None:
    (one,) = suggest(with_near_misses((10, 10, 0.1), score=0.55), 3, ())
    assert one.reason == "doubtful: 1 detection close to the threshold and 1 nearly found"
