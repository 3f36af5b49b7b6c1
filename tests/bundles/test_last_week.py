"""The last clause of the gate for bundles: what another encoder and classifier would call the last week's finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.analyses import Analysis, analysis_of, publish, write_analysis
from soilpipe.bundles.last_week import UNKNOWN, bundle_week, with_week
from soilpipe.bundles.promotion import Bundle, promote_bundle
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.weights import save_classifier
from soilpipe.decisions import Verdict
from soilpipe.detect import weights
from soilpipe.detect.base import DetectorInfo
from soilpipe.detections import detection_table, write_detection_file
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.last_week import last_scans
from soilpipe.models import ModelError, register
from soilpipe.promotion import with_last_week
from soilpipe.refresh.records import RefreshRecord
from soilpipe.refresh.words import as_markdown
from soilpipe.taxonomy import SOIL
from tests.classify.made_crops import made_crops
from tests.labels.conftest import NOW, Season
from tests.refresh.refresh_project import unlabelled
from tests.tiny_model import make_model

WHEN = datetime(2024, 4, 1, tzinfo=UTC)
PASSED = Verdict(True, "macro-F1 0.700 -> 0.710", {"candidate": {}})
EACH = 12  # detections of a scan; there are two scans of the last days


@pytest.fixture
def season(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Season:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped"))
    season = unlabelled(tmp_path / "project", scanners=("A20",), weeks=0)
    for number in (0, 60, 83):
        season.scan(number, scanner_id="A20", size=(128, 192))
    return season


def says(season: Season, folder: Path, taxon: str, *, far: bool = False) -> Bundle:
    """A bundle on the detector's own trunk that calls every crop the same; `far`: and unknown."""
    encoder = encoder_at(season.store, trunk_in_use(season.store), "cpu")
    crops = made_crops({"Oribatida": 6, "Collembola": 6}, ("A", "B"))
    vectors = np.tile(crops.embeddings, (1, -(-encoder.info.dim // crops.embeddings.shape[1])))
    wide = replace(crops, embeddings=vectors[:, : encoder.info.dim])
    classifier = fit_classifier(wide, taxonomy=SOIL, alpha=0.05).classifier
    sure = np.where([one == taxon for one in classifier.classes], 1.0, 1e-12)
    classifier = replace(
        classifier,
        calibration=replace(classifier.calibration, frequencies=sure / sure.sum(), temperature=1.0),
        threshold=0.5,
        unknown_limits=np.full(len(classifier.classes), 1e-6 if far else 3.0),
    )
    card = {"name": taxon, "alpha": 0.05, "validation": "none", "encoder": encoder.info.version}
    save_classifier(folder, classifier, card)
    return Bundle(encoder.info.version, register(season.store, "classifier", folder))


def published(season: Season, taxa: Sequence[str], named_by: Bundle | None = None) -> None:
    """Detections of every scan of the last days, named by the detector or by a bundle."""
    settings: dict[str, Any] = {}
    if named_by is not None:
        settings = {"classifier": {"version": named_by.classifier, "encoder": named_by.encoder}}
    info = DetectorInfo("d", "v", ("Acari", "Collembola"), 21.17, 0.3, "none", uses_difference=False, settings=settings)
    analysis: Analysis = analysis_of(info)
    write_analysis(season.store, analysis)
    publish(season.store, "A20", analysis.id, None)
    for scan_id in last_scans(season.project, season.store, WHEN).ids:
        corners = np.arange(len(taxa), dtype=np.float32)[:, None] * 4
        boxes = np.hstack([corners, corners, corners + 30, corners + 20])
        table = detection_table(
            scan_id,
            analysis.id,
            boxes=boxes,
            scores=np.full(len(taxa), 0.9, np.float32),
            taxa=list(taxa),
            ranks=[None] * len(taxa),
        )
        write_detection_file(season.store, analysis.id, scan_id, table, {"references": []})


def test_both_name_the_published_boxes_and_a_jump_is_for_a_person(season: Season, tmp_path: Path) -> None:
    mites, springtails = says(season, tmp_path / "m", "Oribatida"), says(season, tmp_path / "s", "Collembola")
    promote_bundle(season.store, mites, Verdict(True, "first", {}), NOW)
    published(season, ["Acari"] * EACH)
    before = season.files()
    week = bundle_week(season.project, season.store, springtails, mites, now=WHEN)
    assert (week.scans, week.skipped) == (2, 0)
    assert (week.candidate["Collembola"], week.champion["Collembola"]) == (2 * EACH, 0)
    assert (week.candidate["Oribatida"], week.champion["Oribatida"]) == (0, 2 * EACH), (
        "the detector's word is not asked"
    )
    assert week.candidate["Arthropoda"] == week.champion["Arthropoda"] == 2 * EACH
    shut = with_week(season.project, season.store, PASSED, springtails, now=WHEN)
    assert not shut.passed and shut.undecided and "Oribatida 24 -> 0" in shut.words and "a person decides" in shut.words
    assert shut.figures["last_week"]["candidate"]["Collembola"] == 2 * EACH
    with pytest.raises(ModelError, match="Oribatida 24 -> 0"):
        promote_bundle(season.store, springtails, shut, NOW)
    assert season.files() == before
    decision = promote_bundle(season.store, springtails, shut, NOW, reason="the mites were springtails", force=True)
    assert decision.forced and decision.figures["last_week"]["champion"]["Oribatida"] == 2 * EACH


def test_a_jump_of_what_is_unknown_is_for_a_person_too(season: Season, tmp_path: Path) -> None:
    known, lost = says(season, tmp_path / "k", "Oribatida"), says(season, tmp_path / "l", "Oribatida", far=True)
    promote_bundle(season.store, known, Verdict(True, "first", {}), NOW)
    published(season, ["Oribatida"] * EACH, named_by=known)
    shut = with_week(season.project, season.store, PASSED, lost, now=WHEN)
    assert f"{UNKNOWN} 0 -> {2 * EACH}" in shut.words and "Oribatida" not in shut.words
    again = with_week(season.project, season.store, PASSED, replace(known), now=WHEN)
    assert again.passed and again.figures["last_week"]["scans"] == 2


def test_what_was_published_by_the_bundle_in_use_is_taken_as_it_stands(season: Season, tmp_path: Path) -> None:
    mites, springtails = says(season, tmp_path / "m", "Oribatida"), says(season, tmp_path / "s", "Collembola")
    published(season, ["Collembola"] * EACH, named_by=mites)  # another word than it would have now
    week = bundle_week(season.project, season.store, springtails, mites, now=WHEN)
    assert week.champion["Collembola"] == week.candidate["Collembola"] == 2 * EACH


def test_the_first_bundle_is_held_against_the_detectors_own_names(season: Season, tmp_path: Path) -> None:
    mites = says(season, tmp_path / "m", "Oribatida")
    published(season, [*["Collembola"] * EACH, "background"])
    week = bundle_week(season.project, season.store, mites, None, now=WHEN)
    assert week.champion["Collembola"] == 2 * EACH and week.candidate["Collembola"] == 0
    assert week.champion["Arthropoda"] == 2 * EACH and week.candidate["Arthropoda"] == 2 * (EACH + 1)
    assert "Oribatida" not in week.candidate, "the detector cannot tell it"
    assert UNKNOWN not in week.candidate, "nor what is unknown"


def test_scans_that_were_not_detected_are_skipped_and_without_any_a_person_decides(
    season: Season, tmp_path: Path
) -> None:
    mites = says(season, tmp_path / "m", "Oribatida")
    verdict = with_week(season.project, season.store, PASSED, mites, now=WHEN)
    assert not verdict.passed and verdict.undecided and "so a person decides" in verdict.words
    assert verdict.figures["last_week"]["scans"] == 0 and verdict.figures["last_week"]["skipped"] == 2
    published(season, ["Acari"])
    assert with_week(season.project, season.store, PASSED, mites, now=WHEN).passed
    season.scan(110_000, scanner_id="A20", size=(64, 96))  # of a clock that was reset
    again = with_week(season.project, season.store, PASSED, mites, now=WHEN)
    assert again.passed and again.figures["last_week"]["scans"] == 2
    failed = Verdict(False, "worse", {})
    assert with_week(season.project, season.store, failed, mites, now=WHEN) is failed, "nothing is computed"


def test_the_page_shows_the_week(season: Season, tmp_path: Path) -> None:
    mites, springtails = says(season, tmp_path / "m", "Oribatida"), says(season, tmp_path / "s", "Collembola")
    published(season, ["Oribatida"] * EACH, named_by=mites)
    week = bundle_week(season.project, season.store, springtails, mites, now=WHEN)
    verdict = with_last_week(PASSED, week)
    record = RefreshRecord(
        run_id="r",
        begun_at=NOW,
        ended_at=NOW + timedelta(hours=1),
        since=None,
        until=NOW,
        begun_from="detector:1",
        encoder="e",
        classifier="c",
        outcome="candidate",
        words=verdict.words,
        figures=verdict.figures,
        corpus={},
        training={},
    )
    page = as_markdown(RefreshRecord.model_validate_json(record.model_dump_json()))
    assert "## The last 7 days" in page and "| Oribatida | 24 | 0 |" in page and "a person decides" in page
    assert "soilpipe models promote e --role encoder --force --reason" in page
    none = record.model_copy(update={"figures": {"last_week": {**asdict(week), "scans": 0}}})
    assert "No published detection of the last 7 days" in as_markdown(none)
