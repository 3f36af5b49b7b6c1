"""The median of a few pictures, pixel by pixel, in closed forms on bytes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def _mean(a: Bytes, b: Bytes) -> Bytes:
    """(a + b) / 2 rounded up, without leaving bytes."""
    return (a | b) - ((a ^ b) >> np.uint8(1))


def median(pictures: Sequence[Bytes]) -> Bytes:
    """Median of two or more pictures of one shape; of an even number, the mean of the middle two, rounded up."""
    if len(pictures) == 2:
        return _mean(pictures[0], pictures[1])
    if len(pictures) == 3:
        a, b, c = pictures
        return cv2.max(cv2.min(a, b), cv2.min(cv2.max(a, b), c))
    if len(pictures) == 4:
        a, b, c, d = pictures
        low = cv2.max(cv2.min(a, b), cv2.min(c, d))
        high = cv2.min(cv2.max(a, b), cv2.max(c, d))
        return _mean(low, high)
    ordered = np.sort(np.stack(pictures), axis=0)
    return _mean(ordered[(len(pictures) - 1) // 2], ordered[len(pictures) // 2])


def masked_median(pictures: Sequence[Bytes], masks: Sequence[npt.NDArray[np.bool_]]) -> tuple[Bytes, Bytes]:
    """Median over those pictures whose mask is True, and how many they are, uint8; 0 where there is none.

    pictures: (h, w, 3) each; masks: (h, w) each. The same numbers as `median` where every mask is True.
    """
    count = masks[0].astype(np.uint8)
    for mask in masks[1:]:
        count += mask
    # Nearly all pixels have every mask: they are all done at once, and the few others again.
    alone = len(pictures) == 1
    result = np.zeros_like(pictures[0]) if alone else median(pictures)
    some = np.nonzero(count > 0) if alone else np.nonzero(count < len(pictures))
    if some[0].size:
        absent = 256  # sorts behind every byte
        stack = np.stack(
            [
                np.where(mask[some][:, None], picture[some].astype(np.int16), absent)
                for picture, mask in zip(pictures, masks, strict=True)
            ]
        )
        stack.sort(axis=0)
        n = count[some].astype(np.intp)
        at = np.arange(n.size)
        low, high = stack[(np.maximum(n, 1) - 1) // 2, at], stack[n // 2, at]
        result[some] = np.where(n[:, None] > 0, (low + high + 1) >> 1, 0)
    return result, count
