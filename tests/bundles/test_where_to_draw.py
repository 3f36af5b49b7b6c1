"""Where labels are asked for, when there are too few to judge by."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.bundles import where_to_draw as module
from soilpipe.held_out import held_out
from soilpipe.lineage_crops import LearnedCrops, OfScanner
from tests.labelled_project import labelled_project
from tests.labels.conftest import START, Season
from tests.refresh.refresh_project import unlabelled


def asked(season: Season, monkeypatch: pytest.MonkeyPatch, **days: tuple[float, ...]) -> str:
    """The words, where crops of these days after the start were learned from, by scanner."""
    scanners = {
        scanner: OfScanner(
            np.zeros((len(which), 4)), np.array([(START + timedelta(days=day)).timestamp() for day in which]), {}
        )
        for scanner, which in days.items()
    }
    learned: Any = LearnedCrops(scanners)
    monkeypatch.setattr(module, "learned_crops", lambda *_: learned)
    return module.where_to_draw(season.project, season.store, "encoder")


def test_scans_that_nobody_learned_from_are_named_with_their_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = unlabelled(tmp_path, weeks=0)
    for number in range(0, 4 * 20, 2):
        season.scan(number, size=(64, 96))
    words = asked(season, monkeypatch, A20=(5.0, 6.0))
    assert "Tiles count from scans of A20 taken from 2024-03-15 to 2024-03-25" in words
    words = asked(season, monkeypatch, A20=(2.0, 7.0, 12.0, 17.0, 19.0))
    assert "within 72 hours" in words and "scans of A20 taken from 2024-03-28 on" in words


@pytest.mark.slow
def test_of_a_scanner_with_labels_only_later_scans_count_and_of_the_one_held_out_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = labelled_project(tmp_path, scanners=("A20", "B7", "C1"), days=10, tiles=1)
    whole = held_out(season.project, season.store).scanner
    assert whole is not None
    words = asked(season, monkeypatch)
    assert f"scans of {whole} taken from 2024-03-06 to 2024-03-15:" in words, "the others have none later than labels"
    other = next(scanner for scanner in ("A20", "B7", "C1") if scanner != whole)
    for day in range(12, 15):
        season.scan(4 * day, scanner_id=other, size=(64, 96))
    assert f"or {other} taken from 2024-03-18 to 2024-03-20" in asked(season, monkeypatch)
