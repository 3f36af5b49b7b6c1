"""Single values of a COCO file, checked: each is what it must be, or the message says what is needed instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

MOST_PX = 1_200_000_000  # of an image: files of more are not read, see `pictures.MAX_PIXELS`
THINNEST_PX = 0.01  # a box that is thinner, once it is clipped to its image, is a slip of the hand or of rounding
DPI = (1.0, 1e6)
MOST_WHOLE = 2**31 - 1

Box = tuple[float, float, float, float]


class LabelValueError(ValueError):
    """A value that cannot be meant; the message shows it and says what is needed. File and entry are the caller's."""


def shown(value: Any) -> str:
    """A value of the file for a message: short, on one line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested as deep as JSON may be, or an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(value: Any) -> float | None:
    """A finite number as a float64; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        told = float(value)
    except OverflowError:
        return None
    return told if math.isfinite(told) else None


def is_whole(value: Any, least: int = 0, most: int = MOST_WHOLE) -> bool:
    """Whether it is a whole number, written as one, in a closed range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_text(value: Any) -> bool:
    """Whether it is a text with something in it that any file may hold (JSON can name half a character)."""
    return isinstance(value, str) and bool(value.strip()) and value.encode("utf-8", "replace").decode() == value


def id_of(value: Any) -> int | str | None:
    """An id, a whole number or a text; None: it is none."""
    if isinstance(value, float) and value.is_integer():  # as tables write ids
        value = int(value)
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    return None


def box_of(given: Any, width: int, height: int) -> Box:
    """x_min y_min x_max y_max, px, of x y width height, clipped to an image of that size."""
    if not isinstance(given, list) or len(given) != 4:
        raise LabelValueError(f"bbox {shown(given)} is not x, y, width, height: a list of four numbers")
    x, y, w, h = (number(value) for value in given)
    if x is None or y is None or w is None or h is None:
        raise LabelValueError(f"bbox {shown(given)} holds values that are not numbers")
    if w <= 0 or h <= 0:
        raise LabelValueError(f"bbox {shown(given)} has no area")
    box = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise LabelValueError(f"bbox {shown(given)} lies outside the image of {width} x {height} px")
    across, down = box[2] - box[0], box[3] - box[1]
    kept = np.array(box, np.float32)
    if min(across, down) < THINNEST_PX or kept[2] <= kept[0] or kept[3] <= kept[1]:
        raise LabelValueError(
            f"bbox {shown(given)} has no area: {across:.3g} x {down:.3g} px of it lie in the image of "
            f"{width} x {height} px"
        )
    return box


def crowd_of(annotation: Mapping[str, Any]) -> bool:
    """Of an annotation: whether it is a region of animals not told apart."""
    value = annotation.get("iscrowd", 0)
    if not isinstance(value, bool) and not is_whole(value, 0, 1):
        raise LabelValueError(f"iscrowd {shown(value)} is not 0, 1, true or false")
    return bool(value)


def scans_present_of(annotation: Mapping[str, Any]) -> int:
    """Of an annotation: in how many scans before this one the animal sat there; -1 unknown."""
    value = annotation.get("scans_present")
    if value is None:
        return -1
    if not is_whole(value, -1):
        raise LabelValueError(f"scans_present {shown(value)} is not a whole number from 0 on (-1: unknown)")
    return int(value)


def licence_of(data: Mapping[str, Any]) -> str | None:
    """Of a whole file: the names of the licences that its images have, else of all it lists, else what `info` says;
    None where it says nothing. A licence is a text, or an object with its `name`, or a `url` at least."""
    listed = data.get("licenses")
    if listed is not None and not isinstance(listed, list):
        raise LabelValueError(f"licenses {shown(listed)} is not a list")
    images = [id_of(entry.get("license")) for entry in data["images"]]
    named = {number for number in images if number is not None}
    of_images = [one for one in listed or () if isinstance(one, Mapping) and id_of(one.get("id")) in named]
    names = [_licence(one) for one in of_images or listed or ()]
    if not any(names) and isinstance(data.get("info"), Mapping):
        names = [_licence(data["info"].get("license"))]
    return "; ".join(dict.fromkeys(name for name in names if name)) or None


def _licence(told: Any) -> str:
    texts = [told.get("name"), told.get("url")] if isinstance(told, Mapping) else [told]
    if not all(text is None or text == "" or is_text(text) for text in texts):
        raise LabelValueError(f"the licence {shown(told)} has no name that is a text")
    return next((" ".join(text.split()) for text in texts if text), "")


def image_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an image entry says of its image, but for its file: as the fields of `LabelledImage` are."""
    width, height = entry.get("width"), entry.get("height")
    if not (is_whole(width, 1) and is_whole(height, 1)):
        raise LabelValueError(f"width {shown(width)} and height {shown(height)} must be whole numbers of px")
    assert isinstance(width, int) and isinstance(height, int)
    if width * height > MOST_PX:
        raise LabelValueError(f"width {width} x height {height} px are more than the {MOST_PX:.3g} px that are read")
    scanner = _scanner_id(entry.get("scanner_id"))
    return {
        "width": width,
        "height": height,
        "dpi": _dpi(entry.get("dpi")),
        "scanner_id": scanner,
        # Plain COCO fills date_captured with whatever its tool writes; it counts beside a scanner only.
        "captured_at": None if scanner is None else _time(entry.get("date_captured")),
        "labelled": _labelled(entry.get("labelled", True)),
        "origin": _origin(entry.get("origin")),
        "contrast": _of_the_scan("contrast", entry),
        "registered": _of_the_scan("registered", entry),
        "inclusion_probability": _probability(entry.get("inclusion_probability")),
    }


def _labelled(value: Any) -> bool:
    if not isinstance(value, bool):
        raise LabelValueError(f"labelled {shown(value)} is not true or false")
    return value


def _dpi(value: Any) -> float | None:
    dpi = number(value)
    if value is not None and (dpi is None or not DPI[0] <= dpi <= DPI[1]):
        raise LabelValueError(f"dpi {shown(value)} is not a number above 0, from {DPI[0]:g} to {DPI[1]:.7g}")
    return dpi


def _probability(value: Any) -> float | None:
    told = number(value)
    if value is not None and (told is None or told <= 0):
        raise LabelValueError(f"inclusion_probability {shown(value)} is not a number above 0")
    return told


def _origin(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(is_whole(one, -MOST_WHOLE) for one in value)):
        raise LabelValueError(f"origin {shown(value)} is not [x, y] in whole px")
    return value[0], value[1]


def _of_the_scan(key: str, entry: Mapping[str, Any]) -> str | None:
    """The name of a file that says something of the whole scan that a window was cut from."""
    value = entry.get(key)
    if value is None:
        return None
    if not is_text(value) or Path(value).name != value:
        raise LabelValueError(f"{key} {shown(value)} is not the name of a file beside the label file")
    if entry.get("origin") is None:
        raise LabelValueError(f"{key} {value} is that of a scan, and no origin says where in it the image lies")
    return str(value)


def _scanner_id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if is_whole(value, -MOST_WHOLE):
        return str(value)
    if not is_text(value):
        raise LabelValueError(f"scanner_id {shown(value)} is not a text")
    return str(value)


def _time(value: Any) -> datetime | None:
    """Of a time with its offset, UTC where it gives none."""
    if value is None or value == "":
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):  # no text, no time, or none that is left after its offset
        raise LabelValueError(f"date_captured {shown(value)} is not an ISO time like 2024-03-06T06:00:00Z") from None
