"""What pretraining takes its crops from, and the rules that every batch obeys.

A fixed scanner shows the same ground again and again. Two crops of one place are alike whatever the encoder does, so
they are no negative pair; and what differs between them is the animals, so they are no positive pair either: an encoder
that is told to see them as the same learns not to see animals. They carry the same `place`, by which learning masks
them, and no batch holds two of them.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np


class CropSource(Protocol):
    """Crops to learn from. The arrays have one entry a crop and stay as they are.

    scanner  (n,) str
    place    (n,) int64, equal for crops of the same scanner and place, whenever they were taken (`place_id`)
    is_new   (n,) bool: from the scans since the last refresh; the others are the replay memory
    """

    @property
    def scanner(self) -> np.ndarray: ...
    @property
    def place(self) -> np.ndarray: ...
    @property
    def is_new(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """(k, 7, s, s) uint8 of the crops asked for, in that order; a copy."""
        ...

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Indices of a batch, as `draw_batch` draws them."""
        ...


def place_id(scanner_id: str, um_per_px: float, side: int, y0: int, x0: int) -> int:
    """The number of a place of a scanner; 63 bits, the same in every refresh.

    A place is the cell, as large as a crop, in which a crop of `side` px with the corner y0, x0 (px of `um_per_px`)
    mostly lies, counted from the corner of the window: so it is the same in scans that are a pixel larger or smaller,
    or whose scale is told a little differently. Crops of another size in mm have places of their own.
    """
    row, column = (max(0, round(start / side)) for start in (y0, x0))
    told = f"{scanner_id}/{side * um_per_px / 1000:.1f} mm/{row}/{column}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1


def draw_batch(place: np.ndarray, is_new: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """A batch of at most `batch` crops, no two of one place: (k,) int64 indices, k >= 1.

    Half is new (the larger half, of an odd number) and half from memory, each drawn at random without replacement.
    Where one of the two has too few places, the other fills up; fewer than `batch` are drawn only where there are not
    so many places, as with a single scanner of a small window. ValueError without any crop.
    """
    if len(place) == 0 or batch < 1:
        raise ValueError(f"a batch of {batch} cannot be drawn from {len(place)} crops")
    taken: set[int] = set()
    new = _Walk(np.flatnonzero(is_new), place, rng)
    memory = _Walk(np.flatnonzero(~np.asarray(is_new, bool)), place, rng)
    first = new.take(batch - batch // 2, taken)
    second = memory.take(batch // 2, taken)
    drawn = first + second
    drawn += new.take(batch - len(drawn), taken)
    drawn += memory.take(batch - len(drawn), taken)
    return np.array(drawn, np.int64)


class _Walk:
    """Crops in random order, each looked at once."""

    def __init__(self, indices: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> None:
        self._left = iter(rng.permutation(indices).tolist())
        self._place = place

    def take(self, most: int, taken: set[int]) -> list[int]:
        """The next ones whose place is not taken yet; those of taken places are passed over for good."""
        found: list[int] = []
        while len(found) < most:
            index = next(self._left, None)
            if index is None:
                break
            place = int(self._place[index])
            if place not in taken:
                taken.add(place)
                found.append(index)
        return found
