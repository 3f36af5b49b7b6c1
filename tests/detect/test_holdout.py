"""What is held out to judge candidates: one scanner whole, and every scanner's last fifth in time."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from soilpipe.detect.coco import LabelledImage
from soilpipe.detect.holdout import hold_out_of

FIRST = datetime(2024, 3, 6, tzinfo=UTC)
NOTHING = np.zeros(0, np.int64)


def image(scanner: str | None, scan: int, tile: int = 0) -> LabelledImage:
    """Tile `tile` of the scan of slot `scan`."""
    name = f"{scanner}_{scan}_{tile}.png"
    time = FIRST + scan * timedelta(hours=6)
    boxes = np.zeros((0, 4), np.float32)
    return LabelledImage(
        name, Path(name), 64, 64, 1200.0, scanner, time, True, boxes, NOTHING, NOTHING.astype(bool), NOTHING
    )


def held(images: list[LabelledImage]) -> set[str]:
    hold_out = hold_out_of(images)
    return {one.file_name for one in images if hold_out.holds(one)}


def test_of_two_scanners_the_last_fifth_of_the_times_is_held_out() -> None:
    images = [image(scanner, scan) for scanner in "AB" for scan in range(10)]
    assert held(images) == {"A_8_0.png", "A_9_0.png", "B_8_0.png", "B_9_0.png"}
    assert hold_out_of(images).scanner is None


def test_of_three_scanners_one_is_held_out_whole_whatever_their_order() -> None:
    images = [image(scanner, scan) for scanner in "ABC" for scan in range(5)]
    whole = min("ABC", key=lambda scanner: hashlib.sha256(scanner.encode()).hexdigest())
    expected = {f"{whole}_{scan}_0.png" for scan in range(5)} | {f"{one}_4_0.png" for one in "ABC"}
    assert held(images) == held(images[::-1]) == expected


def test_tiles_of_one_scan_are_never_parted() -> None:
    images = [image("A", scan, tile) for scan in range(3) for tile in range(4)]
    assert held(images) == {f"A_2_{tile}.png" for tile in range(4)}


def test_a_single_time_and_what_names_no_scanner_are_not_held_out() -> None:
    assert held([image("A", 0, tile) for tile in range(9)]) == set()
    assert held([image(None, scan) for scan in range(9)]) == set()


def test_images_that_nobody_looked_at_do_not_move_the_cut() -> None:
    looked_at = [image("A", scan) for scan in range(10)]
    waiting = [replace(image("A", scan), labelled=False) for scan in range(10, 40)]
    assert hold_out_of(looked_at + waiting) == hold_out_of(looked_at)


def test_later_labels_never_hold_back_less_of_what_was_held_out_in_time() -> None:
    """What was trained on before stays on the training side of the cut."""
    before, after = ([image("A", scan) for scan in range(count)] for count in (10, 25))
    assert hold_out_of(before).since["A"] < hold_out_of(after).since["A"]
