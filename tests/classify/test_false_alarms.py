"""Detections where people saw no animal are background, as often as the field brings them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soilpipe.classify.examples import BACKGROUND
from soilpipe.classify.false_alarms import false_alarms
from soilpipe.classify.label_facts import image_facts
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.detect.coco import read_labels
from soilpipe.labels.taken import write_coco
from tests.classify.drawn_labels import tiny_encoder
from tests.labelled_project import labelled_project

# In px of the scan; the tile is its first 150 px, with labels at x 20 to 37 and 60 to 120, y 40 to 52.
MITE, SPRINGTAIL, PART_OF_IT = (21.0, 41.0, 36.0, 53.0), (58.0, 38.0, 122.0, 54.0), (62.0, 42.0, 80.0, 50.0)
ROOT, ACROSS_THE_EDGE, ELSEWHERE = (
    (100.0, 100.0, 130.0, 110.0),
    (138.0, 120.0, 158.0, 130.0),
    (300.0, 20.0, 320.0, 40.0),
)


def test_what_meets_a_label_or_lies_in_another_tile_is_no_false_alarm(tmp_path: Path) -> None:
    season = labelled_project(tmp_path, days=3, tiles=1)
    scans = sorted(key.rsplit("/", 1)[1].removesuffix(".json") for key in season.store.keys("receipts", ".json"))
    boxes = (MITE, SPRINGTAIL, PART_OF_IT, ROOT, ACROSS_THE_EDGE, ELSEWHERE)
    season.detect(scans[0], [("Acari", 0.9, box) for box in boxes])
    season.detect(scans[1], [])
    path = write_coco(season.project, season.store, tmp_path / "labels")
    assert path is not None
    labels, facts = read_labels(path, path.parent), image_facts(path)
    found = false_alarms(season.store, labels, facts)
    names = {facts[name].scan: name for name in facts}
    assert set(found) == {names[scans[0]], names[scans[1]]}  # the third scan was not detected
    np.testing.assert_allclose(found[names[scans[0]]], [ROOT, (138, 120, 150, 130)])
    assert found[names[scans[1]]].shape == (0, 4)

    crops = labelled_crops(
        labels, tiny_encoder(tmp_path / "encoder"), taxonomy=season.project.taxonomy, facts=facts, false_alarms=found
    )
    counted = [
        (source.scan, source.box)
        for source, taxon in zip(crops.sources, crops.taxa, strict=True)
        if taxon == BACKGROUND and source.as_it_comes
    ]
    # What the tile's edge cuts is left out, as a label would be.
    assert [box for scan, box in counted if scan == scans[0]] == [ROOT]
    assert not [scan for scan, _ in counted if scan == scans[1]]
    assert not [scan for scan, _ in counted if scan == scans[2]]  # there nobody knows how frequent background is
    windows = [s for s, t in zip(crops.sources, crops.taxa, strict=True) if t == BACKGROUND and not s.as_it_comes]
    assert {source.scan for source in windows} == set(scans)
    assert {source.scan for source in crops.sources if source.detected} == {scans[0], scans[1]}
