"""Judging a bundle on the hold-out: what it, or what it comes from, was trained on does not count."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from soilpipe.bundles.gate import compare
from soilpipe.bundles.judging import hold_out_labels, judge
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.encoder.weights import encoder_of_detector
from soilpipe.lineage_crops import LearnedCrops, OfScanner
from soilpipe.taxonomy import SOIL
from tests.labelled_project import labelled_project
from tests.labels.conftest import NOW
from tests.tiny_model import make_model


@pytest.mark.slow
def test_crops_of_images_that_an_ancestor_or_the_classifier_was_trained_on_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    season = labelled_project(folder, scanners=("A20", "B07"), days=10, tiles=1)
    encoder = encoder_of_detector(make_model(tmp_path / "detector"), device="cpu")
    on = hold_out_labels(season.project, season.store, tmp_path / "tiles")
    assert on is not None and on.tiles >= 3
    first, second, *others = sorted(image.file_name for image in on.labels.labelled)
    crops = labelled_crops(on.labels, encoder, taxonomy=SOIL, facts=on.facts)
    fitted = fit_classifier(crops, taxonomy=SOIL, alpha=0.05).classifier

    def judged(version: str, trained_on: list[str], before: list[str], served: tuple[str, ...] = ()) -> dict[str, bool]:
        card = {"encoder": encoder.info.version, "alpha": 0.05, "trained_on": {"image_names": trained_on}}
        card["served"] = {"calibration": {"image_names": served}}
        ancestor = {"name": "a detector", "version": "1", "trained_on": {"simulated": False, "image_names": before}}
        record = judge(
            season.store,
            encoder,
            replace(fitted, card=card),
            version,
            on,
            taxonomy=SOIL,
            ancestors=[ancestor],
            now=NOW,
        )
        records.append(record)
        image_of = {source.scan: source.image for source in crops.sources}
        return {
            image_of[name.split()[0]]: marked for name, marked in zip(record.crops.ids, record.crops.seen, strict=True)
        }

    records: list = []
    assert judged("clean", ["elsewhere.png"], ["elsewhere.png"]) == dict.fromkeys((first, second, *others), False)
    marked = judged("seen", [second], [first])
    assert marked == {first: True, second: True, **dict.fromkeys(others, False)}
    calibrated = judged("calibrated", ["elsewhere.png"], ["elsewhere.png"], (second,))
    assert calibrated == {first: False, second: True, **dict.fromkeys(others, False)}
    missing = compare(records[1], records[0], SOIL).missing
    assert any("do not count, because encoder or classifier, or what they began from" in one for one in missing)


@pytest.mark.slow
def test_crops_where_the_encoder_was_pretrained_do_not_count_and_those_beside_them_do(tmp_path: Path) -> None:
    """Scans come before their labels: of a scan that pretraining read, the places that it never saw are good to judge
    by, and the places that it saw two days before are not."""
    folder = tmp_path / "project"
    folder.mkdir()
    season = labelled_project(folder, scanners=("A20", "B07"), days=10, tiles=2)  # at x 0 and 150 of each scan
    encoder = encoder_of_detector(make_model(tmp_path / "detector"), device="cpu")
    on = hold_out_labels(season.project, season.store, tmp_path / "tiles")
    assert on is not None and on.scanners == {"A20", "B07"}
    crops = labelled_crops(on.labels, encoder, taxonomy=SOIL, facts=on.facts)
    fitted = fit_classifier(crops, taxonomy=SOIL, alpha=0.05).classifier
    scans = sorted({one.scan for one in crops.sources if one.scanner_id == "A20"})
    day_before = {one.scan: str(one.captured_at) for one in crops.sources}[scans[0]]

    def seen(version: str, hours: float, box_mm: tuple[float, ...], **more: dict) -> dict[str, set[int]]:
        at = datetime.fromisoformat(day_before).timestamp() - 3600 * hours
        of_scanner = OfScanner(np.array([box_mm]), np.array([at]), more.get("compared", {}))
        card = {"encoder": encoder.info.version, "alpha": 0.05}
        learned = LearnedCrops({"A20": of_scanner})
        record = judge(
            season.store,
            encoder,
            replace(fitted, card=card),
            version,
            on,
            taxonomy=SOIL,
            learned=lambda: learned,
            now=NOW,
        )
        marked: dict[str, set[int]] = {}
        for name, is_seen in zip(record.crops.ids, record.crops.seen, strict=True):
            scan, box = name.split()
            if is_seen:
                marked.setdefault(scan, set()).add(int(float(box.split(",")[0]) // 150))
        return marked

    mm = 0.02117
    first_tile = (0.0, 0.0, 90 * mm, 150 * mm)
    assert seen("here", 0, first_tile)[scans[0]] == {0}, "of the first tile, and none of the second"
    assert all(scan.startswith("A20") for scan in seen("here", 0, first_tile))
    assert seen("two days before", 48, first_tile)[scans[0]] == {0}
    assert seen("four days before", 96, first_tile) == {}
    assert seen("compared with it", 96, first_tile, compared={scans[0]: np.array([0])}) == {scans[0]: {0}}
    assert seen("elsewhere", 0, (0.0, 200 * mm, 9.0, 9.0)) == {}


def test_where_a_manifest_is_gone_all_may_have_been_learned_from() -> None:
    assert LearnedCrops({}, ("gone",)).meet("A20", "scan", NOW, np.zeros((2, 4))).all()
    assert not LearnedCrops({}).meet("A20", "scan", NOW, np.zeros((2, 4))).any()
