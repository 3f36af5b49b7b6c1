"""Two labels on one animal: boxes so nearly the same that no two animals could fill them."""

from __future__ import annotations

import numpy as np

ALIKE = 0.9  # IoU from which two boxes are of one animal


def find_doubles(boxes: np.ndarray, like: float = ALIKE) -> list[tuple[int, int]]:
    """Pairs of rows (first, later) of (n, 4) boxes that overlap by an IoU of `like` or more.

    Each box is compared with those that begin near it, from left to right; of many equal boxes each is paired with the
    first of them only, so that 50,000 boxes take a second or less.
    """
    if len(boxes) < 2:
        return []
    unique, first, which = np.unique(boxes, axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    pairs = [(int(first[group]), row) for row, group in enumerate(which.tolist()) if first[group] != row]
    corners = unique.astype(np.float64)  # sorted by x_min
    width = corners[:, 2] - corners[:, 0]
    for apart in range(1, len(corners)):
        a, b = corners[:-apart], corners[apart:]
        near = b[:, 0] - a[:, 0] <= (1 - like) * np.maximum(width[:-apart], width[apart:])
        if not near.any():
            break
        rows = np.flatnonzero(near)
        alike = rows[_iou(a[rows], b[rows]) >= like]
        pairs += [(int(min(first[row], first[row + apart])), int(max(first[row], first[row + apart]))) for row in alike]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k, 4) and (k, 4) boxes to their (k,) overlaps."""
    shared = np.prod(np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None), axis=1)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-12))
