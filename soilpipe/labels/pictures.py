"""A tile as people see it: the scan as it is, and beside it what changed since the scans before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

from soilpipe.background import ModelInput, register
from soilpipe.ingest.receipts import read_receipt
from soilpipe.labels.records import LabellingError, Tile
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, image_from_array, open_image

GREY = 128
CONTRAST = 2
"""The difference is shown this many times as strong: an animal differs from the soil behind it by 10 to 60 levels."""
GROUND = 60.0
"""Grey level that the ground of a darker scan is brought to: real soil behind glass often lies below 20."""
STEEPEST = 0.45
"""The least exponent of that curve; below it, one sees the noise of the sensor."""
MARGIN = 512
"""Px around a tile in which its references are registered to it: a fortieth of the work that a whole A4 scan takes."""
ASSUMED_UM_PER_PX = 25_400 / 1200
"""Where a scan's resolution is unknown; the difference does not depend on it."""


@dataclass(frozen=True)
class TilePicture:
    """scan, difference: (h, w, 3) uint8 RGB. `missing`: in words why there is no difference, which is grey then.

    `exponent` of the curve by which the scan is shown brighter; 1: as it is.
    """

    tile: Tile
    scan: np.ndarray
    difference: np.ndarray
    um_per_px: float | None
    missing: str | None
    exponent: float


def tile_pictures(store: Store, tiles: Iterable[Tile], *, as_scanned: bool = False) -> Iterator[TilePicture]:
    """The pictures of some tiles, those of one scan together.

    Dark scans are shown brighter, by one curve for all of a scan that lets no detail go; not when `as_scanned`. The
    difference is made as for detectors: the scan minus the median of the registered references, around grey. References
    are registered around the tile; where too few are found that way (bare ground), to the whole scan.
    LabellingError names a scan whose pixels are no longer stored.
    """
    in_order = sorted(tiles, key=lambda tile: (tile.scan_id, tile.tile_id))
    for scan_id, group in groupby(in_order, key=lambda tile: tile.scan_id):
        um_per_px = read_receipt(store, scan_id).um_per_px
        scale = um_per_px or ASSUMED_UM_PER_PX
        try:
            scan = open_image(store, scan_id, scale)
        except FileNotFoundError as error:
            raise LabellingError(
                f"{error}; they have expired or were removed. Restore its image.zarr, or draw other tiles"
            ) from error
        wanted = list(group)
        references = list(_stored(store, wanted[0].references, scale))
        exponent = 1.0 if as_scanned else brightening(scan)
        for tile in wanted:
            colours, changed, missing = _windows(scan, references, tile)
            difference = _shown(changed[:3], changed[3])
            if missing:
                _write_across(difference, missing)
            if um_per_px is not None:
                _draw_scale(difference, um_per_px)
            yield TilePicture(tile, brightened(colours, exponent), difference, um_per_px, missing, exponent)


def _windows(scan: ScanImage, references: Sequence[ScanImage], tile: Tile) -> tuple[np.ndarray, np.ndarray, str | None]:
    """The tile as scanned, (h, w, 3); its difference with where it is valid, (4, h, w); why there is none."""
    y0, y1 = max(0, tile.y0 - MARGIN), min(scan.height, tile.y1 + MARGIN)
    x0, x1 = max(0, tile.x0 - MARGIN), min(scan.width, tile.x1 + MARGIN)
    near, *others = (_cut(image, y0, y1, x0, x1) for image in (scan, *references))
    whole, usable = _input(near, others)
    place = (tile.y0 - y0, tile.y1 - y0, tile.x0 - x0, tile.x1 - x0)
    if usable < 2 <= len(references):
        whole, usable = _input(scan, references)
        place = (tile.y0, tile.y1, tile.x0, tile.x1)
    window = whole.read(*place)
    missing = None if whole.usable else _why_missing(len(references), usable)
    return np.ascontiguousarray(window[:3].transpose(1, 2, 0)), window[3:], missing


def _cut(image: ScanImage, y0: int, y1: int, x0: int, x1: int) -> ScanImage:
    return image_from_array(image.levels[0].read(y0, y1, x0, x1), image.um_per_px, image.scan_id)


def _input(scan: ScanImage, references: Sequence[ScanImage]) -> tuple[ModelInput, int]:
    """The scan beside its background, at full resolution, and how many references could be registered."""
    registrations = [register(scan, reference) for reference in references]
    return ModelInput(scan, references, registrations, scan.um_per_px), sum(found.ok for found in registrations)


def brightening(scan: ScanImage) -> float:
    """The exponent that brings the middle of a dark scan's values to `GROUND`, told from its smallest level."""
    level = scan.levels[-1]
    middle = float(np.median(level.read(0, level.height, 0, level.width).max(axis=-1)))
    if middle >= GROUND:
        return 1.0
    return max(STEEPEST, float(np.log(GROUND / 255) / np.log(max(middle, 1.0) / 255)))


def brightened(picture: np.ndarray, exponent: float) -> np.ndarray:
    """(h, w, 3) uint8 with its values (the greatest of R, G, B) raised by a power; the colours keep their hue.

    Nothing is clipped: what was brighter stays brighter.
    """
    if exponent == 1.0:
        return picture
    values = np.arange(256) / 255
    gain = np.ones(256, np.float32)
    gain[1:] = values[1:] ** (exponent - 1)
    return np.rint(picture * gain[picture.max(axis=-1)][..., None]).astype(np.uint8)


def _stored(store: Store, scan_ids: Sequence[str], um_per_px: float) -> Iterator[ScanImage]:
    for scan_id in scan_ids:
        try:
            yield open_image(store, scan_id, um_per_px)
        except FileNotFoundError:
            continue


def _why_missing(stored: int, usable: int) -> str:
    if stored < 2:
        return f"no difference: {'no earlier scan' if stored == 0 else 'only one earlier scan'} to compare with"
    return f"no difference: {stored - usable} of {stored} earlier scans show other ground"


def _shown(difference: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(3, h, w) around 128 -> (h, w, 3), stronger; plain grey where it is not valid."""
    strong = np.clip((difference.astype(np.int16) - GREY) * CONTRAST + GREY, 0, 255).astype(np.uint8)
    strong[:, valid == 0] = GREY
    return np.ascontiguousarray(strong.transpose(1, 2, 0))


def _write_across(picture: np.ndarray, words: str) -> None:
    """Words in the middle, as large as fits, black on the grey."""
    height, width = picture.shape[:2]
    (across, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    size = min(1.0, 0.9 * width / across)
    place = (int((width - across * size) / 2), height // 2)
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 2 if size > 0.6 else 1, cv2.LINE_AA)


def _draw_scale(picture: np.ndarray, um_per_px: float) -> None:
    """A bar of 1 mm in the lower left corner. The scan itself is left as it is: nothing may hide an animal there."""
    height, length = picture.shape[0], round(1000 / um_per_px)
    top = height - 14
    cv2.rectangle(picture, (8, top), (8 + length, top + 4), (0, 0, 0), -1)
    cv2.putText(picture, "1 mm", (8, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)


def png(picture: np.ndarray) -> bytes:
    """(h, w, 3) uint8 RGB as a PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise LabellingError(f"a picture of {picture.shape} could not be written as PNG")
    return bytes(data.tobytes())
