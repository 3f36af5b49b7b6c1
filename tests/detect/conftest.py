"""Small labelled images to train and judge on: bright discs ("mite") and bars ("springtail") on grey noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest


def draw(rng: np.random.Generator, height: int, width: int, animals: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """A picture and its annotations without ids."""
    picture = rng.normal(90, 6, (height, width, 3)).clip(0, 255).astype(np.uint8)
    annotations = []
    for index in range(animals):
        y, x = int(rng.integers(24, height - 24)), int(rng.integers(24, width - 24))
        if index % 2:
            cv2.rectangle(picture, (x - 16, y - 4), (x + 15, y + 3), (220, 210, 160), -1)
            annotations.append({"bbox": [x - 16, y - 4, 32, 8], "category_id": 2})
        else:
            cv2.circle(picture, (x, y), 8, (230, 90, 70), -1)
            annotations.append({"bbox": [x - 8, y - 8, 17, 17], "category_id": 1})
    return picture, annotations


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., Path]:
    """Writes images and labels.json into a folder and returns the path of the labels.

    `scanners` (id, number of scans) get scanner_id and times six hours apart; `change` may edit the COCO object.
    """

    def write(
        images: int = 3,
        *,
        scanners: dict[str, int] | None = None,
        size: tuple[int, int] = (160, 224),
        animals: int = 6,
        change: Callable[[dict[str, Any]], None] | None = None,
        seed: int = 0,
    ) -> Path:
        rng = np.random.default_rng(seed)
        entries: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        names: list[tuple[str, dict[str, Any]]] = [(f"image_{index}.png", {}) for index in range(images)]
        if scanners:
            names = [
                (f"{scanner}_{scan}.png", {"scanner_id": scanner, "date_captured": f"2024-03-06T{6 * scan:02}:00:00Z"})
                for scanner, count in scanners.items()
                for scan in range(count)
            ]
        for name, more in names:
            picture, found = draw(rng, *size, animals)
            cv2.imwrite(str(tmp_path / name), picture[..., ::-1])
            entries.append({"id": len(entries) + 1, "file_name": name, "width": size[1], "height": size[0], **more})
            for one in found:
                annotations.append({"id": len(annotations) + 1, "image_id": len(entries), "iscrowd": 0, **one})
        data = {
            "info": {},
            "images": entries,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "mite"}, {"id": 2, "name": "springtail"}],
        }
        if change:
            change(data)
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(data))
        return path

    return write
