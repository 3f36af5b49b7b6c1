"""Labelled images, as training and judging see them, wherever the labels came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from soilpipe.errors import SoilpipeError


class LabelError(SoilpipeError):
    """A label file that cannot be used: every problem with its id, in one message."""


Outline = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class LabelledImage:
    """One image and the animals that people, or the simulation, marked in it.

    boxes          (n, 4) float32, x_min y_min x_max y_max, px of the file, half-open, clipped to the image
    labels         (n,) int64, index into the categories of its `LabelSet`
    crowd          (n,) bool: a region of animals not told apart: neither right nor wrong
    scans_present  (n,) int64: consecutive scans before this one in which it sat at this place; -1 unknown
    captured_at    UTC, or None
    outlines       for each animal the polygons of its mask, (k, 2) float32, x y, px of the file; none where the label
                   is a box alone. Empty altogether where no label came with a mask
    origin         of a window of a scan: its corner, x y, px of the scan; None: a whole scan, or unknown
    contrast       of a window of a scan: the file that says what evens the contrast of the scan; None: it is told from
                   the image itself
    registered     of a window of a scan: the file with the earlier scans that it is compared with, registered to the
                   whole scan; None: they are other images of the label file, registered to this one
    simulated      made from nothing, by a generator
    inclusion_probability   of a tile drawn at random: the chance that it had; None for others
    """

    file_name: str
    path: Path
    width: int
    height: int
    dpi: float | None
    scanner_id: str | None
    captured_at: datetime | None
    labelled: bool
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    scans_present: np.ndarray
    outlines: tuple[Outline, ...] = ()
    origin: tuple[int, int] | None = None
    contrast: Path | None = None
    registered: Path | None = None
    simulated: bool = False
    inclusion_probability: float | None = None

    def select(self, keep: np.ndarray) -> LabelledImage:
        """The same image with those of its animals for which `keep`, (n,) bool, says so."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            crowd=self.crowd[keep],
            scans_present=self.scans_present[keep],
            outlines=tuple(outline for outline, kept in zip(self.outlines, keep, strict=False) if kept),
        )


@dataclass(frozen=True)
class LabelSet:
    """All images of one label file, in its order; `source` is the file's name.

    simulated  every image is; `notes`: what was mended or passed over in reading, in words.
    licence    of the images, as the file tells it, in words; None: it does not
    """

    source: str
    categories: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    simulated: bool
    notes: tuple[str, ...] = ()
    licence: str | None = None

    @property
    def labelled(self) -> tuple[LabelledImage, ...]:
        """The images that somebody has looked at."""
        return tuple(image for image in self.images if image.labelled)


Where = Callable[[LabelledImage], bool]


def only(labels: LabelSet, where: Where | None) -> LabelSet:
    """The images that `where` keeps stay labelled; the others still serve as references."""
    if where is None:
        return labels
    return replace(
        labels,
        images=tuple(image if where(image) else replace(image, labelled=False) for image in labels.images),
    )
