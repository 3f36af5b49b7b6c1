"""Labelled crops as an encoder sees them, with where each one is from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soilpipe.errors import SoilpipeError

BACKGROUND = "background"
"""The class of what is no animal, in whatever taxonomy."""


class ClassifierError(SoilpipeError):
    """A classifier that cannot be made, read or used; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """Where a labelled crop is from.

    scan: the scan's id, or the name of the image file where there is none. box: x_min y_min x_max y_max, px of that
    scan at full resolution, half-open. captured_at: ISO, UTC. as_it_comes: the crop lies in a scan, or a tile, that was
    not chosen for what is in it; only those say how frequent the classes are. um_per_px: of the crop's picture. image:
    the name of the labelled image, which is the scan or a tile of it. detected: what a detector took for animals in
    that image is known, so that it says how frequent background is.
    """

    scan: str
    box: tuple[float, float, float, float]
    scanner_id: str | None
    captured_at: str | None
    as_it_comes: bool
    um_per_px: float
    image: str
    detected: bool = False


@dataclass(frozen=True)
class Examples:
    """Labelled crops, row by row.

    embeddings  (n, d) float32, by one encoder, unit length
    sizes_mm    (n,) float32, the longer side of the box
    taxa        n names: the taxon by the project's taxonomy, `background` for windows without an animal
    sources     n
    thumbnails  n pictures of the crop for people, JPEG; b"" where there is none
    rows        (n,) int64: where the crops' pixels lie (`crop_pixels`), None where they were not kept
    """

    embeddings: np.ndarray
    sizes_mm: np.ndarray
    taxa: tuple[str, ...]
    sources: tuple[Source, ...]
    thumbnails: tuple[bytes, ...]
    rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.taxa)
        if self.embeddings.ndim != 2 or not (
            len(self.embeddings) == len(self.sizes_mm) == len(self.sources) == len(self.thumbnails) == n
        ):
            told = f"{self.embeddings.shape}, {self.sizes_mm.shape}, {n}, {len(self.sources)}, {len(self.thumbnails)}"
            raise ValueError(f"embeddings, sizes, taxa, sources and thumbnails ({told}) do not belong together")

    def __len__(self) -> int:
        return len(self.taxa)

    def select(self, which: np.ndarray) -> Examples:
        """Those that `which` (a mask or indices) names, in its order."""
        rows = np.arange(len(self))[which].tolist()
        return Examples(
            self.embeddings[rows],
            self.sizes_mm[rows],
            tuple(self.taxa[row] for row in rows),
            tuple(self.sources[row] for row in rows),
            tuple(self.thumbnails[row] for row in rows),
            None if self.rows is None else self.rows[rows],
        )

    def counts(self) -> dict[str, int]:
        """Examples of each taxon, in the order of their names."""
        return dict(sorted(Counter(self.taxa).items()))

    @property
    def scanners(self) -> tuple[str, ...]:
        """The scanner of each example; the scan itself where no scanner is known."""
        return tuple(source.scanner_id or source.scan for source in self.sources)


def joined(parts: Sequence[Examples], dim: int) -> Examples:
    """All examples of some parts, in order; `dim`: length of an embedding, for when there is no part."""
    rows = [part.rows for part in parts if part.rows is not None]
    return Examples(
        np.concatenate([part.embeddings for part in parts] or [np.zeros((0, dim), np.float32)]),
        np.concatenate([part.sizes_mm for part in parts] or [np.zeros(0, np.float32)]),
        tuple(taxon for part in parts for taxon in part.taxa),
        tuple(source for part in parts for source in part.sources),
        tuple(thumbnail for part in parts for thumbnail in part.thumbnails),
        np.concatenate(rows) if rows and len(rows) == len(parts) else None,
    )
