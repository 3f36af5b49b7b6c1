"""Boxes of two sets that lie on each other: the answer of comparing all with all, without doing so."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.detect import decode, scoring, touching
from soilpipe.detect.base import Detections, DetectorInfo
from soilpipe.detect.decode import overlaps, settle_border
from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.meeting import Meeting
from soilpipe.detect.scoring import near
from soilpipe.detect.tally import judge_image
from soilpipe.detect.touching import Likeness, Pairs
from soilpipe.taxonomy import SOIL

MANY, SIDE = 50_000, 3000
MOST_BYTES = 8 * touching.AT_ONCE  # of one array of a comparison


def boxes_of(rng: np.random.Generator, count: int, side: float, longest: float = 20.0) -> np.ndarray:
    """(count, 4) float32, somewhere on side x side px, whole px so that some touch exactly."""
    corner = rng.uniform(0, side - 6, (count, 2)).round()
    return np.concatenate([corner, corner + rng.uniform(2, longest, (count, 2)).round()], axis=1).astype(np.float32)


@pytest.mark.parametrize("centres", [False, True])
@pytest.mark.parametrize(("found", "labels"), [(700, 500), (5, 900), (900, 3), (0, 4), (4, 0)])
def test_the_answer_is_that_of_comparing_all_with_all(
    found: int, labels: int, centres: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touching, "GROUP", 16)
    monkeypatch.setattr(touching, "AT_ONCE", 200)
    rng = np.random.default_rng(found)
    a, b = boxes_of(rng, found, 300), boxes_of(rng, labels, 300)
    b[:1] = (0, 0, 300, 300)  # one as large as the whole
    with monkeypatch.context() as one_group:
        one_group.setattr(touching, "GROUP", 10**9)
        one_group.setattr(touching, "AT_ONCE", 10**9)
        expected = near(a, b, least=0.2, centres=centres)
    answer = near(a, b, least=0.2, centres=centres)
    assert len(answer) == found and (min(found, labels) < 100 or sum(len(columns) for columns, _ in answer) > 50)
    for (columns, likeness), (all_columns, all_likeness) in zip(answer, expected, strict=True):
        np.testing.assert_array_equal(columns, all_columns)
        np.testing.assert_array_equal(likeness, all_likeness)
    if not centres and found and labels:
        whole = overlaps(a, b)
        for row, (columns, _) in zip(whole, answer, strict=True):
            np.testing.assert_array_equal(columns, np.flatnonzero(row >= 0.2))


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs of boxes were compared, piece after piece."""
    noted: list[int] = []

    def counting(boxes: np.ndarray, others: np.ndarray, likeness: Likeness, least: float) -> Pairs:
        def noting(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            noted.append(len(a) * len(b))
            return likeness(a, b)

        return touching.touching(boxes, others, noting, least)

    monkeypatch.setattr(scoring, "touching", counting)
    monkeypatch.setattr(decode, "touching", counting)
    return noted


def assert_few(pieces: list[int], comparisons: int) -> None:
    """Memory of a piece and work of a comparison: all with all would be 2,500 million pairs, 20 GB an array."""
    assert pieces and 8 * max(pieces) < MOST_BYTES
    assert sum(pieces) < comparisons * 200 * MANY


@pytest.mark.slow
def test_the_border_between_two_passes_that_find_tens_of_thousands_is_settled_in_little_memory(
    pieces: list[int],
) -> None:
    rng = np.random.default_rng(2)
    fine = boxes_of(rng, MANY, 20_000)
    fine[:, 2:] = fine[:, :2] + 96
    coarse, scores = fine[rng.permutation(MANY)[: MANY // 2]] + 2, rng.random(MANY)
    kept_fine, kept_coarse = settle_border(fine, scores, coarse, scores[: len(coarse)], border=100.0, tolerance=1.3)
    assert_few(pieces, 1)
    assert kept_fine.sum() + kept_coarse.sum() <= MANY and len(kept_coarse) // 4 < kept_coarse.sum() < len(kept_coarse)


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """(MANY, 4) labels of 12 px on a scan of SIDE x SIDE."""
    boxes = boxes_of(np.random.default_rng(3), MANY, SIDE - 30)
    boxes[:, 2:] = boxes[:, :2] + 12
    return boxes


@pytest.mark.slow
def test_fifty_thousand_detections_are_matched_with_fifty_thousand_labels_of_one_scan(
    crowd: np.ndarray, pieces: list[int]
) -> None:
    """Every question that an evaluation asks, ten IoUs, centres, taxa, and again those at work, in some seconds."""
    meeting = Meeting.of(("Acari",), Crowded.info.taxa, SOIL)
    image = LabelledImage(
        *("crowd.png", Path("crowd.png"), SIDE, SIDE, 1200.0, None, None, True),
        boxes=crowd,
        labels=np.zeros(MANY, np.int64),
        crowd=np.zeros(MANY, bool),
        scans_present=np.full(MANY, -1),
    )
    found = Crowded(crowd).detect(None, (), ())
    answer, _ = meeting.answer(image, found)
    began = time.process_time()
    judged = judge_image(meeting, answer, image, 21.17, np.ones(MANY, bool))
    assert time.process_time() - began < 30
    assert_few(pieces, 4)
    assert 0.95 * MANY < (judged.taken >= 0).sum() <= MANY
    assert len(set(judged.taken[judged.taken >= 0].tolist())) == (judged.taken >= 0).sum()


class Crowded:
    """Finds every animal of the labels, a px aside, and calls a tenth of them otherwise."""

    info = DetectorInfo("crowded", "1", ("Acari", "Collembola"), 21.17, 0.5, "none")

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes

    def detect(self, scan: Any, references: Sequence[Any], registrations: Any, *, threshold: Any = None) -> Detections:
        taxa = np.where(np.arange(MANY) % 10 == 0, 1, 0)
        scores = np.linspace(0.99, 0.51, MANY).astype(np.float32)
        return Detections(np.clip(self.boxes + 1, 0, SIDE), scores, taxa, self.info.taxa)


@pytest.mark.slow
def test_fifty_thousand_labels_are_judged_from_the_file_to_the_figures(crowd: np.ndarray, tmp_path: Path) -> None:
    """With the intervals, which are most of it: a thousand times the average precision at ten IoUs."""
    cv2.imwrite(str(tmp_path / "crowd.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    one = {"image_id": 1, "category_id": 1}
    labels = {
        "images": [{"id": 1, "file_name": "crowd.png", "width": SIDE, "height": SIDE}],
        "categories": [{"id": 1, "name": "Acari"}],
        "annotations": [
            {"id": n, "bbox": [x0, y0, x1 - x0, y1 - y0], **one} for n, (x0, y0, x1, y1) in enumerate(crowd.tolist(), 1)
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    began = time.process_time()
    result = evaluate_detector(Crowded(crowd), tmp_path / "labels.json", tmp_path)
    seconds = time.process_time() - began
    assert result.detections == MANY and 0.95 * MANY < result.any_taxon.animals <= MANY and result.recall > 0.95
    assert result.f1_with_taxon == pytest.approx(0.9 * result.f1, abs=0.02)
    assert seconds < 300, f"{seconds:.0f} s"
