"""The last clause of the detector's gate: what a change of detectors does to the counts of the last seven days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import models
from soilpipe.decisions import Verdict
from soilpipe.detect import weights
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.evaluations import keep
from soilpipe.last_week import WeekCounts, last_scans, unlike, week_counts, why_untold
from soilpipe.models import ModelError, champion, register
from soilpipe.promotion import promote, with_last_week
from soilpipe.store import Store
from tests.evaluation_records import NOW, record
from tests.labels.conftest import START, Season
from tests.refresh.refresh_project import unlabelled
from tests.tiny_model import make_model

WHEN = datetime(2024, 4, 1, tzinfo=UTC)
PASSED = Verdict(True, "AP50 0.700 -> 0.710", {"candidate": {}})


class Finds:
    """A detector that finds so many of each taxon on every scan."""

    def __init__(self, **each: int) -> None:
        self._each = each
        self.info = DetectorInfo("finds", "v", tuple(each), 21.2, 0.3, "none", uses_difference=False)

    def detect(
        self, scan: Any, references: Sequence[Any], registrations: Sequence[Any], *, threshold: float | None = None
    ) -> Detections:
        assert not references
        labels = np.repeat(np.arange(len(self._each)), list(self._each.values()))
        boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (len(labels), 1))
        return Detections(boxes, np.full(len(labels), 0.9, np.float32), labels, self.info.taxa)


@pytest.fixture
def season(tmp_path: Path) -> Season:
    """Two scanners: a scan in the beginning, one a week before the newest, and two within seven days of it."""
    season = unlabelled(tmp_path / "project", scanners=("A20", "B07"), weeks=0)
    for scanner in ("A20", "B07"):
        for number in (0, 55, 60, 83):
            season.scan(number, scanner_id=scanner, size=(64, 96))
    return season


def test_the_last_seven_days_end_with_the_newest_scan(season: Season) -> None:
    assert days_of(season) == [*["20240321"] * 2, *["20240326"] * 2]


def days_of(season: Season) -> list[str]:
    return sorted(scan[4:12] for scan in last_scans(season.project, season.store, WHEN).ids)


def test_a_scan_from_the_future_is_not_the_last_seven_days(season: Season) -> None:
    """A device whose clock was reset: alone in its week it shows no common taxon, and the clause would always pass."""
    before = last_scans(season.project, season.store, WHEN)
    season.scan(110_000, scanner_id="A20", size=(64, 96))
    assert last_scans(season.project, season.store, WHEN) == before and len(before.ids) == 4
    mites, springtails = Finds(Acari=9, Collembola=1), Finds(Acari=1, Collembola=9)
    counts = week_counts(season.project, season.store, mites, springtails, now=WHEN)
    assert counts.scans == 4 and not with_last_week(PASSED, counts).passed


def test_how_many_scans_a_week_has_is_told_by_those_before_it(season: Season) -> None:
    assert last_scans(season.project, season.store, WHEN).usual == 2, "two weeks before, of two scans each"
    young = last_scans(season.project, season.store, START + timedelta(days=6))
    assert (len(young.ids), young.usual) == (2, 0), "the store is too young to have a usual week"
    assert last_scans(season.project, season.store, START - timedelta(days=1)).ids == ()


def test_where_nothing_can_be_compared_a_person_decides() -> None:
    verdict = with_last_week(PASSED, WeekCounts(0, 3, {}, {}))
    assert not verdict.passed and "none of its 3 scans could be read by both" in verdict.words
    assert verdict.words.endswith("so a person decides") and verdict.figures["last_week"]["skipped"] == 3


@pytest.mark.parametrize(("scans", "usual", "enough"), [(6, 28, False), (7, 28, True), (1, 0, True), (1, 4, True)])
def test_far_fewer_scans_than_usual_tell_nothing(scans: int, usual: int, enough: bool) -> None:
    verdict = with_last_week(PASSED, WeekCounts(scans, 0, {"Acari": 5}, {"Acari": 5}, usual))
    assert verdict.passed is enough
    told = f"only {scans} scans of the last 7 days show what it does to the counts, where a week has {usual} as a rule"
    assert (told in verdict.words) is not enough
    assert (why_untold(WeekCounts(scans, 0, {}, {}, usual)) is None) is enough


def test_counts_are_with_what_is_below_and_of_what_both_can_tell(season: Season) -> None:
    counts = week_counts(
        season.project, season.store, Finds(Poduromorpha=6, Acari=2), Finds(Collembola=5, Protura=9), now=WHEN
    )
    assert (counts.scans, counts.skipped) == (4, 0)
    assert counts.candidate["Collembola"] == 24 and counts.champion["Collembola"] == 20
    assert "Poduromorpha" not in counts.candidate and "Protura" not in counts.champion, "only one of them tells these"
    assert counts.candidate["Invertebrata"] == 32 and counts.champion["Invertebrata"] == 56
    assert "Invertebrata 56 -> 32" in unlike(counts) and not any("Collembola" in one for one in unlike(counts))


@pytest.mark.parametrize(
    ("ours", "theirs", "differs"),
    [
        (125, 100, False),
        (126, 100, True),
        (80, 100, False),
        (79, 100, True),
        (19, 0, False),
        (20, 0, True),
        (5, 1, False),
    ],
)
def test_a_factor_of_a_quarter_of_a_common_taxon_is_told(ours: int, theirs: int, differs: bool) -> None:
    assert bool(unlike(WeekCounts(4, 0, {"Acari": ours}, {"Acari": theirs}))) is differs


def test_where_counts_would_jump_a_person_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jump = WeekCounts(28, 0, {"Acari": 200}, {"Acari": 100})
    assert with_last_week(PASSED, WeekCounts(28, 0, {"Acari": 110}, {"Acari": 100})).passed
    shut = with_last_week(PASSED, jump)
    assert not shut.passed and "Acari 100 -> 200" in shut.words and "a person decides" in shut.words
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    store = Store(tmp_path / "store")
    version = register(store, "detector", make_model(tmp_path / "m", name="mine"))
    for one in (models.content_of(store, "detector", "shipped"), version):
        keep(store, record(one))
    with pytest.raises(ModelError, match="a person decides"):
        promote(store, "detector", version, "", False, NOW, last_week=lambda *_: jump)
    decision = promote(store, "detector", version, "mites hatched", True, NOW, last_week=lambda *_: jump)
    assert decision.forced and champion(store) == version
    assert decision.figures["last_week"]["candidate"] == {"Acari": 200}
