"""Detections as pictures need them, from whatever shape they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True)
class Marks:
    """boxes: (n, 4) float32, x_min y_min x_max y_max, px at full resolution, half-open, in the file's frame;
    scores: (n,) float32, NaN where unknown; taxa: n names."""

    boxes: np.ndarray
    scores: np.ndarray
    taxa: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.taxa)


def marks_of(detections: Any) -> Marks:
    """Marks from a pyarrow or pandas table, from `Detections`, or from an (n, 4) array."""
    if isinstance(detections, Marks):
        return detections
    if hasattr(detections, "labels") and hasattr(detections, "boxes"):
        names = tuple(detections.taxa[label] for label in detections.labels)
        return _marks(detections.boxes, detections.scores, names)
    if hasattr(detections, "column_names"):
        columns = {name: detections.column(name).to_pylist() for name in detections.column_names}
        return _from_columns(columns, detections.num_rows)
    if hasattr(detections, "columns"):
        return _from_columns({name: list(detections[name]) for name in detections.columns}, len(detections))
    boxes = np.asarray(detections, dtype=np.float32).reshape(-1, 4)
    return _marks(boxes, np.full(len(boxes), np.nan), ("animal",) * len(boxes))


def _from_columns(columns: dict[str, list[Any]], n: int) -> Marks:
    boxes = np.array([columns[name] for name in COLUMNS], dtype=np.float32).T if n else np.zeros((0, 4), np.float32)
    scores = np.array(columns.get("score", [None] * n), dtype=np.float32)
    taxa = columns.get("taxon") or ["animal"] * n
    return _marks(boxes, scores, tuple(taxon if isinstance(taxon, str) else "unknown" for taxon in taxa))


def _marks(boxes: Any, scores: Any, taxa: Sequence[str]) -> Marks:
    return Marks(np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32), tuple(taxa))


def turn_box(box: Sequence[float], size: tuple[int, int], orientation: int) -> tuple[float, float, float, float]:
    """A box of an image of size (height, width), after the image is turned by `orientation` degrees clockwise."""
    height, width = size
    x_min, y_min, x_max, y_max = (float(value) for value in box)
    if orientation == 90:
        return height - y_max, x_min, height - y_min, x_max
    if orientation == 180:
        return width - x_max, height - y_max, width - x_min, height - y_min
    if orientation == 270:
        return y_min, width - x_max, y_max, width - x_min
    return x_min, y_min, x_max, y_max
