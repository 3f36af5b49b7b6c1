"""Masks of annotations: polygons and run lengths, checked against the reference implementation's encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.detect.coco import LabelError, read_labels
from soilpipe.detect.masks import MaskError, outline_of

Labelled = Callable[..., Path]


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """As COCO files have it: compressed run lengths."""
    told = reference.encode(np.asfortranarray(mask))
    counts = told["counts"]
    return {"size": list(mask.shape), "counts": counts.decode() if isinstance(counts, bytes) else counts}


def runs_of(mask: np.ndarray) -> list[int]:
    """Uncompressed: down the columns, outside first."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def drawn(outline: tuple[np.ndarray, ...], shape: tuple[int, int]) -> np.ndarray:
    """The outline filled, on pixels sixteen times finer, and seen at their middles."""
    fine = np.zeros((shape[0] * 16, shape[1] * 16), np.uint8)
    cv2.fillPoly(fine, [np.round(ring * 16 - 0.5).astype(np.int32) for ring in outline], 1)
    return fine[8::16, 8::16]


def without_holes(mask: np.ndarray) -> np.ndarray:
    outside = np.pad(1 - mask, 1, constant_values=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2, np.uint8)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(5, 60), width=st.integers(5, 60))
@settings(max_examples=40, deadline=None)
def test_run_lengths_give_the_box_and_an_outline_that_fills_the_same_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(3):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        axes = (int(rng.integers(1, 12)), int(rng.integers(1, 12)))
        cv2.ellipse(mask, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    for told in (encoded(mask), {"size": [height, width], "counts": runs_of(mask)}):
        outline, around = outline_of(told, width, height)
        assert around == box
        assert (drawn(outline, mask.shape) != without_holes(mask)).sum() <= 2  # where parts touch at a corner alone


def test_a_mask_in_a_whole_scan_is_drawn_only_where_it_is() -> None:
    height, width = 28_063, 19_842
    inside = [width // 2 * height + 700]
    told = {"size": [height, width], "counts": [*inside, 30, height - 30, 30, height * width - inside[0] - height - 30]}
    _, box = outline_of(told, width, height)
    assert box == (width // 2, 700, 2, 30)


def test_a_mask_too_large_to_draw_is_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((30, 40), np.uint8)
        for _ in range(3):
            y, x = int(rng.integers(26)), int(rng.integers(36))
            mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 9)] = 1
        told = {"size": [30, 40], "counts": runs_of(mask)}
        drawn_box = outline_of(told, 40, 30)[1]
        with monkeypatch.context() as patched:
            patched.setattr("soilpipe.detect.masks.MOST_DRAWN", 0)
            assert outline_of(told, 40, 30) == ((), drawn_box)


def test_rings_that_are_none_and_empty_masks_are_passed_over() -> None:
    ring = [10, 20, 30, 20, 30, 44]
    odd: list[Any] = [None, 7, "1234", [10**400] * 6, [float("nan")] * 6, [1, 2, 3], {}, [[1], [2, 3]]]
    outline, box = outline_of([*odd, ring], 50, 50)
    assert [points.tolist() for points in outline] == [[[10, 20], [30, 20], [30, 44]]] and box == (10, 20, 20, 24)
    nothings: list[Any] = [None, [], {}, ""]
    assert [outline_of(nothing, 50, 50) for nothing in nothings] == [((), None)] * 4


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"size": [40, 50], "counts": [2000]}, "is empty"),
        ({"size": [50, 40], "counts": [900, 10, 1090]}, r"of an image of \[50, 40\]"),
        ({"size": [40, 50], "counts": [900, 10]}, "of 910 px, not 2000"),
        ({"size": [40, 50], "counts": [900, -10, 1110]}, "below 0"),
        ({"size": [40, 50], "counts": "ä"}, "not in COCO's format"),
        ({"size": [40, 50], "counts": "P"}, "break off"),
        ({"size": [40, 50], "counts": None}, "whole numbers|of 0 px"),
        ({"size": [40, 50], "counts": ["a"]}, "not whole numbers"),
        ({"size": [40, 50], "counts": ["900", "10", "1090"]}, "not whole numbers"),
        ({"size": [40, 50], "counts": [900.5, 9.5, 1090]}, "not whole numbers"),
        ({"size": [40, 50], "counts": {}}, "not whole numbers"),
        ({"size": [40, 50], "counts": [2**63 - 1, 2**63 - 1, 2002]}, "px, not 2000"),
        ({"size": 2000, "counts": [900, 10, 1090]}, "of an image of 2000"),
        ({"size": None}, "of an image of None"),
        ("mask", "segmentation 'mask' is neither a list of polygons nor run lengths"),
        (True, "segmentation True is neither"),
        ([[1, 1, 9, 1, 9, 1e30]], "far outside the image of 50 x 40 px"),
    ],
)
def test_masks_that_cannot_be_meant_are_told(told: Any, words: str) -> None:
    with pytest.raises(MaskError, match=words):
        outline_of(told, 50, 40)


def test_an_annotation_with_run_lengths_alone_gets_box_and_outline(labelled: Labelled) -> None:
    mask = np.zeros((160, 224), np.uint8)
    mask[30:40, 50:70] = 1

    def change(data: dict[str, Any]) -> None:
        data["annotations"][0].update(segmentation=encoded(mask))
        del data["annotations"][0]["bbox"]

    path = labelled(images=1, change=change)
    image = read_labels(path, path.parent).images[0]
    assert image.boxes[0].tolist() == [50, 30, 70, 40]
    assert (drawn(image.outlines[0], mask.shape) == mask).all() and image.outlines[1] == ()


def test_a_mask_of_another_image_is_refused_with_the_id(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["annotations"][0].update(segmentation={"size": [10, 10], "counts": [50, 10, 40]})

    path = labelled(images=1, change=change)
    with pytest.raises(LabelError, match=r"annotation 1 \(image_0.png\): its mask is of an image of \[10, 10\]"):
        read_labels(path, path.parent)
