"""The record of an evaluation: how it was made, and what the detector's card says it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.evaluate import evaluate_detector
from soilpipe.detect.kept_matches import of_images, record_of, unpack
from soilpipe.evaluations import Sample
from tests.detect.test_evaluate import Oracle, told, truth
from tests.evaluation_records import NOW

Labelled = Callable[..., Path]
INFO = Oracle([]).info


def test_the_record_of_an_evaluation_says_how_it_was_made(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 2})
    answers = [told(boxes, [0.9] * 6, names) for boxes, names in (truth(path, image) for image in (1, 2))]
    found = evaluate_detector(Oracle(answers), path, path.parent)
    info = Oracle([]).info
    kept = record_of(found, info, {}, sample="random", now=NOW)
    assert (kept.version, kept.labels_sha256, kept.images, kept.animals) == ("1", found.labels_sha256, 2, 12)
    assert kept.as_used and kept.trained_on == 0 and kept.figures["ap50"] == 1.0
    assert [image.day for image in kept.matches.images] == ["A 2024-03-06"] * 2
    assert set(kept.matches.taxa) == {"Collembola", "Acari"}
    assert not record_of(found, info, {}, sample="random", now=NOW, whole=False).as_used
    strict = evaluate_detector(Oracle(answers), path, path.parent, threshold=0.9)
    assert not record_of(strict, info, {}, sample="random", now=NOW).as_used


@pytest.mark.parametrize(
    ("trained_on", "sample", "expected"),
    [
        ({"image_names": ["A_0.png", "elsewhere.png"]}, "hold-out", 1),
        ({"image_names": ["A_0.png", "elsewhere.png"]}, "random", 2),  # the other may have chosen its threshold
        ({"image_names": None}, "random", 2),
        ({"image_names": None}, "hold-out", 0),
        ({"simulated": True}, "random", 0),
        ({}, "random", 0),
    ],
)
def test_what_was_trained_on_is_told_by_the_card(
    labelled: Labelled, trained_on: Any, sample: Sample, expected: int
) -> None:
    path = labelled(scanners={"A": 2})
    found = evaluate_detector(Oracle([told([], [], [])] * 2), path, path.parent)
    kept = record_of(found, Oracle([]).info, {"trained_on": trained_on}, sample=sample, now=NOW)
    assert kept.trained_on == expected


def test_the_matches_of_some_images_are_those_of_judging_them_alone(labelled: Labelled) -> None:
    path = labelled(scanners={"A": 1, "B": 2})
    answers = [told(boxes, [0.9] * 6, names) for boxes, names in (truth(path, image) for image in (1, 2, 3))]
    answers[1] = answers[1].select(np.arange(6) < 4)
    whole = unpack(
        record_of(evaluate_detector(Oracle(answers), path, path.parent), INFO, {}, sample="file", now=NOW).matches
    )
    two = evaluate_detector(Oracle(answers[1:]), path, path.parent, where=lambda image: image.scanner_id == "B")
    alone = unpack(record_of(two, INFO, {}, sample="file", now=NOW).matches)
    part = of_images(whole, {"B_0.png", "B_1.png"})
    assert (part.names, part.days) == (alone.names, alone.days) and alone.names == ("B_0.png", "B_1.png")
    for claims, expected in ((part.animals, alone.animals), (part.taxa["Acari"], alone.taxa["Acari"])):
        assert sorted(zip(claims.unit, claims.outcome, strict=True)) == sorted(
            zip(expected.unit, expected.outcome, strict=True)
        )
        assert claims.truths.tolist() == expected.truths.tolist()
    for name in ("day", "area_cm2", "length_mm", "label_image", "label_found"):
        assert np.array_equal(getattr(part, name), getattr(alone, name)), name
