"""Motion-informed enhancement, the rival of the difference in `ablation.py`."""

from __future__ import annotations

import cv2
import numpy as np

from soilpipe.background import ModelInput, Registration
from soilpipe.tiles import ScanImage


def enhanced(picture: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> np.ndarray:
    """Motion-informed enhancement of one picture, (h, w, 3) uint8 RGB, by the pictures before and after it.

    With g(I) the grey picture under a 5 x 5 Gaussian (sigma 1.1 px) and D_k = |g(I_k) - g(I_k-1)|, the picture

        E_R = min(255, D_k + D_k+1)      E_G = I_G      E_B = (I_R + I_B) / 2

    is looked at in place of I: green stays, blue takes red and blue, and red tells where something moved, now or next.
    These are the channels and weights of the first author's published program. A neighbour that is not there (None)
    adds nothing to E_R. The neighbour after is six hours of waiting that the other variants do without.
    """
    motion = np.zeros(picture.shape[:2], np.uint8)
    for other in (before, after):
        if other is not None:
            motion = cv2.add(motion, cv2.absdiff(_blurred(picture), _blurred(other)))
    red, green, blue = cv2.split(picture)
    return cv2.merge([motion, green, ((red.astype(np.uint16) + blue) // 2).astype(np.uint8)])


def _blurred(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (5, 5), 0)


def under(scan: ScanImage, other: ScanImage, found: Registration) -> np.ndarray | None:
    """Another scan laid under this one and matched to its tone, (h, w, 3) uint8; None where that did not succeed.

    Fixed cameras do without. A scanner's carriage is unsteady by parts of a pixel, so without it every edge would move:
    this is to the advantage of `mie`. Of a median of two equal pictures is taken what a reference looks like; changes
    of more than 127 grey levels count as 127.
    """
    if not found.ok:
        return None
    both = ModelInput(scan, (other, other), (found, found), scan.um_per_px).read(0, scan.height, 0, scan.width)
    return np.clip(both[:3].astype(np.int16) - both[3:6] + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0)
