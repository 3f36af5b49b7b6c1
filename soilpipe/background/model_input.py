"""What a detector looks at: the colours of a scan, its difference from the background, and where that is valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.contrast import EvenContrast
from soilpipe.background.median import masked_median, median
from soilpipe.background.registration import Registration
from soilpipe.background.warp import Window, read_shifted, shifts_in
from soilpipe.tiles import CutOut, Pixels, ScanImage, at_scale

CHANNELS = 7
_STRIP = 128  # rows worked on at a time: what belongs together stays in the processor's cache
_OUTSIDE = np.array([0, 0, 0, 128, 128, 128, 0], np.uint8)


class InputWindows(Protocol):
    """Anything that gives a detector's seven channels by windows: what tiled prediction reads from."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def factor(self) -> float: ...
    def read(self, y0: int, y1: int, x0: int, x1: int) -> npt.NDArray[np.uint8]: ...


class ModelInput:
    """The seven channels of a scan at one scale, read by windows.

    Parameters
    ----------
    scan: the scan; or a window that was cut from one, and says where (`ScanImage.cut`). Its references are then read
        by the coordinates of the whole scan, to which they are registered.
    references, registrations: earlier scans and where they lie under it, in the same order. Those that are not `ok`
        do not count; with fewer than two that are, the difference is nowhere valid.
    um_per_px: the scale that is wanted; the pyramid level nearest to it is taken.
    even: what evens the scan's contrast (`contrast.even_contrast`): the colours, and the difference by as much, which
        is then that of evened pictures. None: both are as in the scan.

    Attributes
    ----------
    height, width: size at that scale, px.
    factor: full-resolution px per px here.
    usable: how many references count.
    """

    def __init__(
        self,
        scan: ScanImage,
        references: Sequence[ScanImage],
        registrations: Sequence[Registration],
        um_per_px: float,
        *,
        even: EvenContrast | None = None,
    ) -> None:
        if len(references) != len(registrations):
            raise ValueError(f"{len(references)} references, but {len(registrations)} registrations")
        self._pixels, self.factor = at_scale(scan, um_per_px)
        self.height, self.width = self._pixels.height, self._pixels.width
        cut = scan.cut or CutOut(0, 0, (scan.levels[0].height, scan.levels[0].width))
        self._full = cut.full
        self._corner = int(cut.y0 // self.factor), int(cut.x0 // self.factor)
        self._even = even
        self._um_per_px = scan.um_per_px * self.factor
        usable = [(image, found) for image, found in zip(references, registrations, strict=True) if found.ok]
        if len(usable) < 2:
            usable = []
        # Levels are asked for by the scan's own scale: a reference is never taken at another one.
        self._references: list[tuple[Pixels, Registration]] = []
        for image, found in usable:
            same_scale = ScanImage(levels=image.levels, um_per_px=scan.um_per_px, scan_id=image.scan_id)
            self._references.append((at_scale(same_scale, um_per_px)[0], found))
        self.usable = len(self._references)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> npt.NDArray[np.uint8]:
        """The window, half-open, in px of this scale -> (7, y1 - y0, x1 - x0) uint8.

        R, G, B; 128 + difference for each of them, clipped to 1..255; 255 where that is valid, else 0 (and 128 in the
        three before it). The window may reach beyond the image: 0, 0, 0, 128, 128, 128, 0 there. What is read for a
        pixel does not depend on the window, to the bit.
        """
        out = np.empty((CHANNELS, y1 - y0, x1 - x0), np.uint8)
        top, bottom = max(y0, 0), min(y1, self.height)
        left, right = max(x0, 0), min(x1, self.width)
        if (top, bottom, left, right) != (y0, y1, x0, x1):
            out[:] = _OUTSIDE[:, None, None]
        if left < right:
            for strip in range(top, bottom, _STRIP):
                window = (strip, min(strip + _STRIP, bottom), left, right)
                self._fill(out[:, window[0] - y0 : window[1] - y0, left - x0 : right - x0], window)
        return out

    def _fill(self, out: npt.NDArray[np.uint8], window: Window) -> None:
        """One strip, inside the image."""
        colours = np.ascontiguousarray(self._pixels.read(*window))
        tone = None if self._even is None else self._even.within(window, self.factor, self._um_per_px)
        _planes(colours if tone is None else tone.of_colours(colours), out[:3])
        if not self._references:
            out[3:6].fill(128)
            out[6].fill(0)
            return
        background, valid = self._background(window)
        # 128 + scan - background, clipped, without leaving bytes: one of the two one-sided differences is zero.
        brighter, darker = cv2.subtract(colours, background), cv2.subtract(background, colours)
        difference = np.minimum(brighter, np.uint8(127)) + np.uint8(128)
        difference -= np.minimum(darker, np.uint8(127))
        if valid is not None:
            difference = cv2.copyTo(difference, valid.view(np.uint8), np.full_like(difference, 128))
        _planes(difference if tone is None else tone.of_difference(difference), out[3:6])
        out[6] = 255 if valid is None else np.where(valid, np.uint8(255), np.uint8(0))

    def _background(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
        """Pixel median of the references under a window inside the image, and where two or more have a pixel."""
        pictures, masks = [], []
        y, x = self._corner
        window = (window[0] + y, window[1] + y, window[2] + x, window[3] + x)
        for pixels, found in self._references:
            shifts = shifts_in(found.dy, found.dx, window, self.factor, *self._full)
            picture, mask = read_shifted(pixels, shifts, window)
            pictures.append(found.match_tone(picture, window, self.factor, self._full))
            masks.append(mask)
        if all(mask is None for mask in masks):
            return median(pictures), None
        shape = pictures[0].shape[:2]
        background, count = masked_median(
            pictures, [np.ones(shape, np.bool_) if mask is None else mask for mask in masks]
        )
        return background, count >= 2


class RgbOnly:
    """A model input without its difference: what a scan without references looks like to a detector."""

    def __init__(self, whole: InputWindows) -> None:
        self._whole = whole
        self.height, self.width, self.factor = whole.height, whole.width, whole.factor

    def read(self, y0: int, y1: int, x0: int, x1: int) -> npt.NDArray[np.uint8]:
        """As `ModelInput.read`, with 128 for the difference and 0 for valid."""
        window = self._whole.read(y0, y1, x0, x1).copy()
        window[3:6] = 128
        window[6] = 0
        return window


def rgb_only(whole: InputWindows) -> RgbOnly:
    """The same input with the difference dropped (128) and valid nowhere (0)."""
    return RgbOnly(whole)


def _planes(picture: npt.NDArray[np.uint8], planes: npt.NDArray[np.uint8]) -> None:
    """(h, w, 3) -> its three planes, (3, h, w), which are rows of a larger array."""
    for plane, into in zip(cv2.split(picture, [*planes]), planes, strict=True):
        if plane.ctypes.data != into.ctypes.data:  # OpenCV writes into what it is given where its layout allows
            into[:] = plane
