"""The references of a window that was cut out of a scan, as the whole scan has them.

Registration needs ground to hold on to. A window may show too little of it where the scan shows plenty, and would lose
references that a run uses. So references are registered to the whole scan, and what a window needs of them is cut out
with it: pixels with room for their shifts, and the registration, which keeps the coordinates of the scan. At full
resolution the difference of such a window is that of the scan, to the bit; on higher levels as near as pixels allow
that are averaged from another corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt

from soilpipe.background.registration import Registration
from soilpipe.background.registration_file import from_parts, to_parts
from soilpipe.tiles import ScanImage, halve

LEVELS = 6
"""Of a cut reference. Its corner lies a multiple of the coarsest level's px from the window's, so that the pixels of
both are averaged alike on each."""
_ALIGN = 2 ** (LEVELS - 1)
_SPARE = 2  # px beyond the shifts, which interpolation reaches over

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CutReference:
    """What a window needs of one reference of its scan.

    pixels: (h, w, 3) uint8 with the corner y0, x0, px of the reference; it may lie outside, where the outermost pixels
    are repeated. None where the registration is not `ok`. full: height and width of the scan, px.
    """

    scan_id: str | None
    um_per_px: float
    full: tuple[int, int]
    registration: Registration
    pixels: Bytes | None
    y0: int = 0
    x0: int = 0

    def image(self) -> ScanImage:
        """The reference, to be read by the coordinates of the whole scan: near the window alone it has its pixels."""
        piece = np.zeros((1, 1, 3), np.uint8) if self.pixels is None else self.pixels
        levels = []
        for level in range(LEVELS):
            height, width = (-(-side // 2**level) for side in self.full)
            levels.append(_Placed(piece, self.y0 // 2**level, self.x0 // 2**level, height, width))
            piece = halve(piece)
        return ScanImage(tuple(levels), self.um_per_px, self.scan_id)


class _Placed:
    """A piece of a level, read by the coordinates of the whole level; beyond it its outermost pixels are repeated."""

    def __init__(self, piece: Bytes, top: int, left: int, height: int, width: int) -> None:
        self._piece, self._top, self._left = piece, top, left
        self.height, self.width = height, width

    def read(self, y0: int, y1: int, x0: int, x1: int) -> Bytes:
        """As `tiles.Pixels`."""
        rows = np.clip(np.arange(y0, y1) - self._top, 0, self._piece.shape[0] - 1)
        columns = np.clip(np.arange(x0, x1) - self._left, 0, self._piece.shape[1] - 1)
        if rows.size and columns.size and rows[-1] - rows[0] == y1 - y0 - 1 and columns[-1] - columns[0] == x1 - x0 - 1:
            return self._piece[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return self._piece[rows[:, None], columns]


def cut_references(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    window: tuple[int, int, int, int],
) -> list[CutReference]:
    """What a window of the scan, y0, y1, x0, x1, px of full resolution, needs of each reference.

    references, registrations: as `register_all` takes and gives them, of the whole scan. ModelInput reads the window
    with its `ScanImage.cut` set beside `CutReference.image` and its registration.
    """
    full = (scan.height, scan.width)
    cut = []
    for reference, found in zip(references, registrations, strict=True):
        part = CutReference(reference.scan_id, scan.um_per_px, full, found, None)
        if found.ok:
            rows, columns = _near(found, window, full)
            y0, y1 = _reach(found.dy[rows, columns], window[0], window[1])
            x0, x1 = _reach(found.dx[rows, columns], window[2], window[3])
            part = replace(part, registration=_only(found, rows), pixels=_read(reference, y0, y1, x0, x1), y0=y0, x0=x0)
        cut.append(part)
    return cut


def _near(found: Registration, window: tuple[int, int, int, int], full: tuple[int, int]) -> tuple[slice, slice]:
    """The nodes of its lattice that shifts in the window, or up to the coarsest px beside it, are told from."""
    slices = []
    for first, last, side, nodes in zip(window[::2], window[1::2], full, found.dy.shape, strict=True):
        start = math.floor((first - _ALIGN) * nodes / side - 0.5)
        stop = math.ceil((last + _ALIGN) * nodes / side - 0.5) + 1
        slices.append(slice(min(max(start, 0), nodes - 1), min(max(stop, 1), nodes)))
    return slices[0], slices[1]


def _reach(shifts: npt.NDArray[np.float32], first: int, last: int) -> tuple[int, int]:
    """From where to where the reference is needed along one side; aligned with `first`."""
    before = math.floor((float(shifts.min()) - _SPARE) / _ALIGN) * _ALIGN
    after = math.ceil((float(shifts.max()) + _SPARE) / _ALIGN) * _ALIGN
    return first + before, last + after


def _only(found: Registration, rows: slice) -> Registration:
    """The registration with these rows of nodes; the others are as the outermost of them, which take little room."""
    beside = ((rows.start, found.dy.shape[0] - rows.stop), (0, 0))
    dy, dx = (np.pad(shifts[rows], beside, mode="edge") for shifts in (found.dy, found.dx))
    return replace(found, dy=dy, dx=dx)


def _read(reference: ScanImage, y0: int, y1: int, x0: int, x1: int) -> Bytes:
    """A window that may reach beyond the reference; the outermost pixels are repeated there."""
    pixels = reference.levels[0]
    top, left = min(max(y0, 0), pixels.height - 1), min(max(x0, 0), pixels.width - 1)
    bottom, right = max(min(y1, pixels.height), top + 1), max(min(x1, pixels.width), left + 1)
    block = pixels.read(top, bottom, left, right)
    return _Placed(block, top, left, 0, 0).read(y0, y1, x0, x1)


def save_references(path: Path, references: Sequence[CutReference]) -> None:
    """Write them as .npz; pixels are held as PNG."""
    kept: dict[str, Any] = {"count": np.array(len(references))}
    for number, one in enumerate(references):
        parts: dict[str, Any] = {
            "scan_id": np.array(one.scan_id or ""),
            "place": np.array([one.y0, one.x0, *one.full]),
            "um_per_px": np.array(one.um_per_px),
            **to_parts(one.registration),
        }
        if one.pixels is not None:
            parts["png"] = _png(one.pixels)
        kept |= {f"{number}_{name}": value for name, value in parts.items()}
    np.savez_compressed(path, **kept)


def load_references(path: Path) -> list[CutReference]:
    """What `save_references` wrote. OSError, ValueError or KeyError where it is not that."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return [_loaded(kept, str(number)) for number in range(int(kept["count"]))]
    except (BadZipFile, EOFError) as error:  # cut short, empty
        raise ValueError(str(error)) from error


def _loaded(kept: Any, number: str) -> CutReference:
    def of(name: str) -> Any:
        return kept[f"{number}_{name}"]

    found = from_parts(of, lambda name: f"{number}_{name}" in kept)
    y0, x0, height, width = of("place").tolist()
    pixels = _from_png(of("png")) if f"{number}_png" in kept else None
    return CutReference(str(of("scan_id")), float(of("um_per_px")), (height, width), found, pixels, y0, x0)


def _png(picture: Bytes) -> Bytes:
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return np.asarray(data, np.uint8).ravel()


def _from_png(data: Bytes) -> Bytes:
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the pixels of a reference are no PNG")
    return np.ascontiguousarray(picture[..., ::-1])
