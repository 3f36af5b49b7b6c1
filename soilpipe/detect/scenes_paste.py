"""Pasting a cut-out into a scan, and into the scans before it, with the difference that they would then have.

Edges are soft over a pixel (a matte), and what a cut-out's fringe shows is added to the ground that is there. Of the
blendings tried on pictures of simulated scans, animals pasted like this could not be told from real ones on ground of
their own kind: feathering over more pixels carries a rim of the old ground along, and Poisson blending (Perez et al.
2003) takes the contrast out of pale animals on dark ground and bends their colours.

Of the references only their median is known at this stage, the background. It shows what is in more than half of them,
and of what is in half of them one half: exact to within the noise where the ground itself does not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.detect.scenes_cutouts import Cutout, ground_around

JITTER = 0.1  # px, sd along each axis: how far registration leaves what rests off its place
NUDGED = 0.25  # chance that what rests has moved a leg or turned a little since
NUDGE = 0.4  # px, sd
GAINS = (0.6, 1.6)  # of a cut-out in the light of other ground

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Layer:
    """A cut-out as it lies in a scene: colours (3, h, w), alpha (h, w) 0..1, fringe (3, h, w)."""

    colours: Floats
    alpha: Floats
    fringe: Floats

    def over(self, picture: Floats) -> Floats:
        """Laid over a picture of its size, (3, h, w)."""
        return np.clip(picture + self.fringe + self.alpha * (self.colours - picture - self.fringe), 0, 255)

    def shifted(self, dy: float, dx: float) -> _Layer:
        """Moved by parts of a pixel."""
        size = self.alpha.shape[1], self.alpha.shape[0]
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)

        def moved(planes: Floats) -> Floats:
            picture = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
            return np.moveaxis(cv2.warpAffine(picture, move, size, borderMode=cv2.BORDER_REPLICATE), -1, 0)

        alpha = cv2.warpAffine(self.alpha, move, size, borderMode=cv2.BORDER_REPLICATE)
        return _Layer(moved(self.colours), alpha, moved(self.fringe))


def turned_size(cutout: Cutout, turn: int) -> tuple[int, int]:
    """Height and width of a cut-out after one of the eight turns."""
    height, width = cutout.alpha.shape
    return (width, height) if turn & 4 else (height, width)


def turned_box(cutout: Cutout, turn: int) -> Floats:
    """(4,) the box of a cut-out after one of the eight turns."""
    x0, y0, x1, y1 = cutout.box
    height, width = turned_size(cutout, turn)
    if turn & 4:
        x0, y0, x1, y1 = y0, x0, y1, x1
    if turn & 1:
        x0, x1 = width - x1, width - x0
    if turn & 2:
        y0, y1 = height - y1, height - y0
    return np.array([x0, y0, x1, y1], np.float32)


def present_in_background(scans_before: int, references: int) -> float:
    """How much of what was in the newest so many of the references their median shows: 0, a half or 1."""
    return 0.5 * float(np.sign(2 * scans_before - references) + 1) if references >= 2 else 0.0


def paste(
    window: npt.NDArray[np.uint8],
    cutout: Cutout,
    y: int,
    x: int,
    *,
    turn: int,
    present: float,
    rng: np.random.Generator,
) -> Floats:
    """Lay a cut-out into (7, h, w) pixels of a pass, in place, its top left at y, x; returns its box there, (4,).

    turn: 0 to 7, turned and mirrored. present: how much of it the background shows, as `present_in_background`.
    The light on it is drawn between its own and what keeps its contrast to the ground that it came from.
    """
    height, width = turned_size(cutout, turn)
    part = window[:, y : y + height, x : x + width]
    picture = part[:3].astype(np.float32)
    difference = part[3:6].astype(np.float32) - 128
    layer = _laid(cutout, turn, _gain(cutout, picture, float(rng.random())))
    together = np.rint(layer.over(picture))
    background = picture - difference
    if present > 0:
        spread = np.hypot(JITTER, NUDGE) if rng.random() < NUDGED else JITTER
        before = layer.shifted(*rng.normal(0, spread, 2)).over(picture) - difference
        background += present * (before - background)
    part[:3] = together
    change = np.clip(np.rint(together - background), -127, 127) + 128
    part[3:6] = np.where(part[6] > 0, change, 128)
    return turned_box(cutout, turn) + np.array([x, y, x, y], np.float32)


def _laid(cutout: Cutout, turn: int, gain: float) -> _Layer:
    def turned(planes: npt.NDArray) -> Floats:
        planes = planes.swapaxes(-1, -2) if turn & 4 else planes
        planes = planes[..., ::-1] if turn & 1 else planes
        planes = planes[..., ::-1, :] if turn & 2 else planes
        return np.ascontiguousarray(planes, np.float32)

    strength = np.float32(gain)
    return _Layer(
        turned(cutout.colours) * strength, turned(cutout.alpha) / np.float32(255), turned(cutout.fringe) * strength
    )


def _gain(cutout: Cutout, picture: Floats, share: float) -> float:
    """1 for a `share` of 0; for 1, as much as the ground here is lighter than its own. Colours keep their hue."""
    lighter = (float(ground_around(picture).mean()) + 10) / (float(cutout.ground.mean()) + 10)
    return min(max(lighter**share, GAINS[0]), GAINS[1])
