"""Samples made up without files: soil, and ellipses on it that are labelled with boxes and masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from soilpipe.detect.coco import LabelledImage
from soilpipe.detect.dataset import Sample, SamplePass

SIDE, UM = 240, 25400 / 1200


def ground(seed: int = 0) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 with the texture of soil."""
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.normal(80, 40, (SIDE, SIDE, 3)), (0, 0), 2).clip(0, 255).astype(np.uint8)


def sample_of(
    picture: np.ndarray,
    background: np.ndarray,
    boxes: list[list[float]],
    *,
    references: int = 4,
    masks: bool = True,
    labelled: bool = True,
) -> Sample:
    """A sample at 1200 dpi whose labels are ellipses in their boxes; both passes read the same pixels."""
    pixels = np.zeros((7, *picture.shape[:2]), np.uint8)
    pixels[:3] = np.moveaxis(picture, -1, 0)
    pixels[3:6] = 128
    if references >= 2:
        change = picture.astype(int) - background + 128
        pixels[3:6], pixels[6] = np.moveaxis(change.clip(1, 255), -1, 0), 255
    n = len(boxes)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outlines = tuple(
        (
            np.stack(
                [(a + c) / 2 + (c - a) / 2 * np.cos(angles), (b + d) / 2 + (d - b) / 2 * np.sin(angles)], axis=1
            ).astype(np.float32),
        )
        for a, b, c, d in boxes
    )
    image = LabelledImage(
        file_name="A.png",
        path=Path("A.png"),
        width=picture.shape[1],
        height=picture.shape[0],
        dpi=1200.0,
        scanner_id="A",
        captured_at=None,
        labelled=labelled,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.zeros(n, np.int64),
        crowd=np.zeros(n, bool),
        scans_present=np.zeros(n, np.int64),
        outlines=outlines if masks else (),
    )
    return Sample(image, {"fine": SamplePass(pixels, 1.0), "coarse": SamplePass(pixels, 1.0)}, UM, references)


def with_animal(picture: np.ndarray, box: list[float], colour: tuple[int, int, int] = (230, 210, 160)) -> np.ndarray:
    """An ellipse that fills a box."""
    x0, y0, x1, y1 = box
    shown = picture.copy()
    middle = round(16 * ((x0 + x1) / 2 - 0.5)), round(16 * ((y0 + y1) / 2 - 0.5))
    axes = round(8 * (x1 - x0)), round(8 * (y1 - y0))
    cv2.ellipse(shown, middle, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, shift=4)
    return shown
