"""Training leaves out the hold-out, and what shows the same ground as the hold-out where enough is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect.coco import LabelError, LabelledImage, LabelSet, read_labels
from soilpipe.detect.holdout import HoldOut, hold_out_of
from soilpipe.training_labels import outside_hold_out

Labelled = Callable[..., Path]


def dated(labelled: Labelled, days: dict[str, list[float]], animals: int = 1) -> LabelSet:
    def change(data: dict[str, Any]) -> None:
        times = [day for scans in days.values() for day in scans]
        for entry, day in zip(data["images"], times, strict=True):
            entry["date_captured"] = (datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=day)).isoformat()

    scanners = {scanner: len(scans) for scanner, scans in days.items()}
    path = labelled(scanners=scanners, size=(64, 64), animals=animals, change=change)
    return read_labels(path, path.parent)


def told_of(labels: LabelSet) -> tuple[HoldOut, Callable[[LabelledImage], bool]]:
    """The hold-out, all labels having come at once, and whether it holds an image."""
    hold_out = hold_out_of([[(str(one.scanner_id), one.captured_at) for one in labels.labelled if one.captured_at]])
    return hold_out, lambda image: bool(image.captured_at and hold_out.holds(str(image.scanner_id), image.captured_at))


def test_the_hold_out_and_its_neighbours_are_left_out(labelled: Labelled) -> None:
    labels = dated(labelled, {scanner: [0.0, 2, 4, 6, 8, 10, 12, 14, 16, 18] for scanner in "ABC"})
    hold_out, holds = told_of(labels)
    whole = hold_out.scanner
    taken, told = outside_hold_out(labels, holds)
    others = [scanner for scanner in "ABC" if scanner != whole]
    assert taken == {f"{scanner}_{scan}.png" for scanner in others for scan in range(7)}  # 7 is 48 h before 8
    assert (
        told == "14 of 30 labelled tiles are of the hold-out and left out, as are 2 others within 72 h of one of them"
    )


def test_neighbours_are_trained_on_where_too_few_others_are_left_and_that_is_told(labelled: Labelled) -> None:
    labels = dated(labelled, {"A": [0.0, 0.25, 0.5, 0.75, 1.0]})
    taken, told = outside_hold_out(labels, told_of(labels)[1])
    assert taken == {f"A_{scan}.png" for scan in range(4)}
    assert "4 others, within 72 h of one of them, are trained on: too few would be left" in told
    assert "Tiles of the hold-out that near do not count when a detector is judged that was trained so" in told


def test_a_single_time_holds_nothing_out(labelled: Labelled) -> None:
    labels = dated(labelled, {"A": [0.0]})
    assert outside_hold_out(labels, told_of(labels)[1])[0] == {"A_0.png"}


def test_labels_that_are_all_of_the_hold_out_are_told(labelled: Labelled) -> None:
    labels = dated(labelled, {"A": [0.0], "B": [0.0]})
    with pytest.raises(LabelError, match=r"all 2 labelled tiles are of the hold-out .* of earlier scans"):
        outside_hold_out(labels, lambda image: True)
