"""Labels for detectors: a COCO file and a folder of images, read strictly.

Beyond plain COCO an image entry may carry `scanner_id` and `date_captured` (ISO, with its offset; UTC where none is
given), by which earlier images of the same scanner become references; `dpi`; and `labelled: false` for an image that
nobody has looked at, which then only serves as a reference. A window of a scan carries `origin`: [x, y], its corner in
px of the scan, since only windows of one place are compared; one that was drawn at random `inclusion_probability`, the
chance that it had. An annotation may carry `scans_present`: in how many
scans before this one the animal sat at this very place. `info.simulated: true` says that the scenes are simulated.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.doubles import find_doubles
from soilpipe.detect.label_taxa import is_background, nearest_taxon, taxa_with_examples, with_taxa
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet, Outline, Where, only
from soilpipe.detect.masks import MaskError, outline_of

__all__ = [
    "LabelError",
    "LabelSet",
    "LabelledImage",
    "Outline",
    "Where",
    "is_background",
    "nearest_taxon",
    "only",
    "read_labels",
    "taxa_with_examples",
    "with_taxa",
]


def read_labels(labels: Path | str, images: Path | str) -> LabelSet:
    """Read a COCO file; LabelError when it is no COCO file or anything in it cannot be meant.

    Boxes are clipped to their image; boxes that are not finite, have no area or lie wholly outside are refused with
    the id of the annotation, as are images without a file, unknown categories and unknown images. An annotation with
    a mask (`segmentation`: polygons or run lengths) and no `bbox` gets the box around it; run lengths that are not
    those of an image of its size are refused. Two labels on one animal (boxes with an
    IoU of 0.9 or more): of one category, the first counts and `notes` says so; of two, they are refused.
    """
    labels, folder = Path(labels), Path(images)
    data = _load(labels)
    problems: list[str] = []
    categories, category_index = _categories(data["categories"], problems)
    told = data.get("info")
    info: dict[str, Any] = told if isinstance(told, dict) else {}
    simulated = bool(info.get("simulated", "generator" in info))
    entries = {entry.get("id"): entry for entry in data["images"]}
    if len(entries) < len(data["images"]):
        problems.append("several images share an id")
    names = Counter(str(entry.get("file_name")) for entry in entries.values())
    problems += [f"image {name} comes {count} times" for name, count in names.items() if count > 1]
    _find_missing(data["images"], folder, problems)
    by_image: dict[Any, list[Mapping[str, Any]]] = {key: [] for key in entries}
    for annotation in data["annotations"]:
        if annotation.get("image_id") in by_image:
            by_image[annotation["image_id"]].append(annotation)
        else:
            problems.append(f"annotation {annotation.get('id')}: no image has the id {annotation.get('image_id')!r}")
    found = [
        image
        for key, entry in entries.items()
        if (image := _image(entry, folder, by_image[key], category_index, problems, simulated)) is not None
    ]
    notes: list[str] = []
    if not simulated:  # a simulation knows how many animals there are
        found = [_without_doubles(image, categories, problems, notes) for image in found]
    if problems:
        told = "; ".join(problems[:10])
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise LabelError(f"{labels.name}: {told}{more}")
    return LabelSet(labels.name, categories, tuple(found), simulated, tuple(notes))


def _load(labels: Path) -> dict[str, Any]:
    try:
        data = json.loads(labels.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LabelError(f"{labels}: there is no such label file") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LabelError(f"{labels}: not readable as JSON ({error})") from error
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise LabelError(
            f"{labels}: not COCO: a JSON object with the lists images, annotations and categories is needed"
        )
    for key in ("images", "annotations", "categories"):
        strange = [entry for entry in data[key] if not isinstance(entry, dict)]
        if strange:
            raise LabelError(f"{labels}: not COCO: {key} holds {strange[0]!r}, where an object is needed")
    return data


def _categories(entries: list[Any], problems: list[str]) -> tuple[tuple[str, ...], dict[Any, int]]:
    names: list[str] = []
    index: dict[Any, int] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            problems.append(f"category {entry.get('id')!r} has no name")
        elif entry.get("id") in index or name in names:
            problems.append(f"category {name!r} (id {entry.get('id')!r}) comes twice")
        else:
            index[entry.get("id")] = len(names)
            names.append(name)
    return tuple(names), index


def _find_missing(entries: list[Any], folder: Path, problems: list[str]) -> None:
    missing = [str(entry.get("file_name")) for entry in entries if not (folder / str(entry.get("file_name"))).is_file()]
    if missing:
        told = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        problems.append(f"{len(missing)} of {len(entries)} images are not in {folder.name or folder}: {told}")


def _image(
    entry: Mapping[str, Any],
    folder: Path,
    annotations: list[Mapping[str, Any]],
    category_index: Mapping[Any, int],
    problems: list[str],
    simulated: bool,
) -> LabelledImage | None:
    name = str(entry.get("file_name"))
    width, height = entry.get("width"), entry.get("height")
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        problems.append(f"image {name}: width {width!r} and height {height!r} must be whole numbers of px")
        return None
    boxes, labels, crowd, present, outlines = [], [], [], [], []
    for annotation in annotations:
        told = f"annotation {annotation.get('id')} ({name})"
        if annotation.get("category_id") not in category_index:
            known = ", ".join(map(str, list(category_index)[:20]))
            problems.append(f"{told}: unknown category {annotation.get('category_id')!r}; the file declares {known}")
            continue
        try:
            outline, around = outline_of(annotation.get("segmentation"), width, height)
        except MaskError as error:
            problems.append(f"{told}: {error}")
            continue
        box = _box(annotation.get("bbox") or around, width, height)
        if isinstance(box, str):
            problems.append(f"{told}: {box}")
            continue
        boxes.append(box)
        labels.append(category_index[annotation["category_id"]])
        crowd.append(bool(annotation.get("iscrowd", 0)))
        scans = annotation.get("scans_present", -1)
        present.append(scans if isinstance(scans, int) else -1)
        outlines.append(outline)
    return LabelledImage(
        file_name=name,
        path=folder / name,
        width=width,
        height=height,
        dpi=_dpi(entry, name, problems),
        scanner_id=None if entry.get("scanner_id") is None else str(entry["scanner_id"]),
        captured_at=_time(entry, name, problems),
        labelled=bool(entry.get("labelled", True)),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        crowd=np.array(crowd, bool),
        scans_present=np.array(present, np.int64),
        outlines=tuple(outlines) if any(outlines) else (),
        origin=_origin(entry, name, problems),
        simulated=simulated,
        inclusion_probability=_probability(entry, name, problems),
    )


def _without_doubles(
    image: LabelledImage, categories: tuple[str, ...], problems: list[str], notes: list[str]
) -> LabelledImage:
    """The image with one label an animal; two categories on one animal are a problem."""
    single = np.flatnonzero(~image.crowd)
    keep = np.ones(len(image.boxes), bool)
    for first, later in find_doubles(image.boxes[single]):
        one, other = single[first], single[later]
        if image.labels[one] != image.labels[other]:
            x, y = image.boxes[other][:2]
            problems.append(
                f"image {image.file_name}: the animal at x {x:g}, y {y:g} has two labels, "
                f"{categories[image.labels[one]]} and {categories[image.labels[other]]}; leave one"
            )
        keep[other] = False
    if keep.all():
        return image
    notes.append(
        f"{image.file_name}: {int((~keep).sum())} of {len(keep)} labels were on an animal that had one already"
    )
    return image.select(keep)


def _box(given: Any, width: int, height: int) -> tuple[float, float, float, float] | str:
    """x_min y_min x_max y_max of x y width height, clipped, or what is wrong with it."""
    try:
        x, y, w, h = (float(value) for value in given)
    except (TypeError, ValueError):
        return f"bbox {given!r} is not x, y, width, height"
    if not all(math.isfinite(value) for value in (x, y, w, h)):
        return f"bbox {given!r} holds values that are not numbers"
    if w <= 0 or h <= 0:
        return f"bbox {given!r} has no area"
    box = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if box[2] <= box[0] or box[3] <= box[1]:
        return f"bbox {given!r} lies outside the image of {width} x {height} px"
    return box


def _dpi(entry: Mapping[str, Any], name: str, problems: list[str]) -> float | None:
    dpi = entry.get("dpi")
    if dpi is None:
        return None
    if isinstance(dpi, bool) or not isinstance(dpi, (int, float)) or not math.isfinite(dpi) or dpi <= 0:
        problems.append(f"image {name}: dpi {dpi!r} is not a number above 0")
        return None
    return float(dpi)


def _probability(entry: Mapping[str, Any], name: str, problems: list[str]) -> float | None:
    value = entry.get("inclusion_probability")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or not math.isfinite(value):
        problems.append(f"image {name}: inclusion_probability {value!r} is not a number above 0")
        return None
    return float(value)


def _origin(entry: Mapping[str, Any], name: str, problems: list[str]) -> tuple[int, int] | None:
    origin = entry.get("origin")
    if origin is None:
        return None
    if not (isinstance(origin, list) and len(origin) == 2 and all(isinstance(value, int) for value in origin)):
        problems.append(f"image {name}: origin {origin!r} is not [x, y] in whole px")
        return None
    return origin[0], origin[1]


def _time(entry: Mapping[str, Any], name: str, problems: list[str]) -> datetime | None:
    text = entry.get("date_captured")
    if not text or not entry.get("scanner_id"):
        return None  # plain COCO fills date_captured with whatever its tool writes; it counts beside a scanner only
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        problems.append(f"image {name}: date_captured {text!r} is not an ISO time")
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
