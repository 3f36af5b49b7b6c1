"""The few facts soilpipe takes from EXIF: when, at what resolution, which way up. Damaged EXIF is no EXIF."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime

from soilpipe.ingest.readers.base import plausible_dpi

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _DATE_TIME, _EXIF_IFD = 0x011A, 0x011B, 0x0128, 0x0132, 0x8769
_ORIENTATION = 0x0112
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}


@dataclass(frozen=True)
class Exif:
    """``captured``: naive, the device's clock. ``dpi`` None where unknown. ``orientation`` 1 to 8, 1 as it lies."""

    captured: datetime | None = None
    dpi: float | None = None
    orientation: int = 1


def read_exif(data: bytes) -> Exif:
    """EXIF as it stands after its ``Exif\\0\\0`` mark: a small TIFF."""
    try:
        order = {b"II": "<", b"MM": ">"}[data[:2]]
        (first,) = struct.unpack_from(order + "I", data, 4)
        main = _directory(data, order, first)
        inner = _directory(data, order, int(main[_EXIF_IFD])) if _EXIF_IFD in main else {}
    except (struct.error, KeyError, ValueError, ZeroDivisionError, OverflowError):
        return Exif()
    times = [inner.get(_ORIGINAL), inner.get(_DIGITIZED), main.get(_DATE_TIME)]
    captured = next((time for time in map(exif_time, times) if time), None)
    x, y = main.get(_X_RESOLUTION), main.get(_Y_RESOLUTION, main.get(_X_RESOLUTION))
    return Exif(captured, resolution(x, y, main.get(_RESOLUTION_UNIT, 2)), orientation(main.get(_ORIENTATION)))


def orientation(value: object) -> int:
    """EXIF's and TIFF's tag 274, 1 to 8; anything else is 1."""
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def resolution(x: object, y: object, unit: object) -> float | None:
    """dpi from TIFF's X and Y resolution and its unit (2 inch, 3 cm, anything else unknown)."""
    if unit not in (2, 3) or not isinstance(x, int | float) or not isinstance(y, int | float):
        return None
    factor = 1.0 if unit == 2 else 2.54
    return plausible_dpi(x * factor, y * factor)


def exif_time(text: object) -> datetime | None:
    """``2024:03:06 06:00:00`` as a naive time; None for zeros, blanks and anything else."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - the device's own clock
    except ValueError:
        return None


def _directory(data: bytes, order: str, offset: int) -> dict[int, float | str]:
    (count,) = struct.unpack_from(order + "H", data, offset)
    values: dict[int, float | str] = {}
    for index in range(min(count, 500)):
        at = offset + 2 + 12 * index
        tag, kind, length = struct.unpack_from(order + "HHI", data, at)
        if kind not in _SIZES:
            continue
        size = _SIZES[kind] * length
        place = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        if kind == 2:
            values[tag] = data[place : place + min(length, 64)].decode("ascii", "replace")
        elif kind == 5:
            above, below = struct.unpack_from(order + "II", data, place)
            values[tag] = above / below if below else 0.0
        elif kind in (3, 4):
            values[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place)[0]
    return values
