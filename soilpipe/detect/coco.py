"""Labels for detectors: a COCO file and a folder of images, read strictly.

Beyond plain COCO an image entry may carry `scanner_id` and `date_captured` (ISO, with its offset; UTC where none is
given), by which earlier images of the same scanner become references; `dpi`; and `labelled: false` for an image that
nobody has looked at, which then only serves as a reference. A window of a scan carries `origin`: [x, y], its corner in
px of the scan, since only windows of one place are compared, and may carry `contrast`: the name of a file beside the
label file that says what evens the contrast of the whole scan (`background.contrast`), and `registered`: that of one
with its earlier scans as the whole scan has them (`background.cut_references`), which then takes the place of other
images of the file. One that was drawn at random carries `inclusion_probability`, the chance that it had. An annotation
may carry `scans_present`: in how many scans before this one the animal sat at this very place. `info.simulated: true`
says that the scenes are simulated. Of COCO's `licenses` those are taken that images name (`license`), else all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from soilpipe.detect.doubles import find_doubles
from soilpipe.detect.label_taxa import is_background, nearest_taxon, taxa_with_examples, with_taxa
from soilpipe.detect.label_values import (
    Box,
    LabelValueError,
    box_of,
    crowd_of,
    id_of,
    image_facts,
    is_text,
    licence_of,
    scans_present_of,
    shown,
)
from soilpipe.detect.labelled import LabelError, LabelledImage, LabelSet, Outline, Where, only
from soilpipe.detect.masks import outline_of

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

LISTS = ("images", "annotations", "categories")

Id = int | str


def read_labels(labels: Path | str, images: Path | str) -> LabelSet:
    """Read a COCO file; LabelError when it is no COCO file or anything in it cannot be meant, with the entries.

    Boxes are clipped to their image; boxes that are no four numbers, have no area (thinner than 0.01 px once they are
    clipped) or lie wholly outside are refused with the id of the annotation, as are images without a file, unknown
    categories and unknown images. An annotation with a mask (`segmentation`: polygons or run lengths) and no `bbox`
    gets the box around it; run lengths that are not those of an image of its size are refused. Two labels on one
    animal (boxes with an IoU of 0.9 or more): of one category, the first counts and `notes` says so; of two, they are
    refused.
    """
    labels, folder = Path(labels), Path(images)
    data = _load(labels)
    problems: list[str] = []
    categories, category_index = _categories(data["categories"], problems)
    simulated = _simulated(data.get("info"), labels)
    entries = _images(data["images"], problems)
    _find_missing(entries, folder, problems)
    by_image: dict[Id, list[Mapping[str, Any]]] = {key: [] for key in entries}
    for annotation in data["annotations"]:
        key = id_of(annotation.get("image_id"))
        if key is not None and key in by_image:
            by_image[key].append(annotation)
        else:
            told = shown(annotation.get("image_id"))
            problems.append(f"annotation {shown(annotation.get('id'))}: no image has the id {told}")
    found = [
        image
        for key, entry in entries.items()
        if (image := _image(entry, folder, by_image[key], category_index, problems, simulated)) is not None
    ]
    licence = _licence(data, problems)
    notes: list[str] = []
    if not simulated:  # a simulation knows how many animals there are
        found = [_without_doubles(image, categories, problems, notes) for image in found]
    if problems:
        listed = "; ".join(problems[:10])
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise LabelError(f"{labels.name}: {listed}{more}. Mend these entries in the file, or take them out")
    return LabelSet(labels.name, categories, tuple(found), simulated, tuple(notes), licence)


def _load(labels: Path) -> dict[str, Any]:
    try:
        data = json.loads(labels.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise LabelError(f"{labels}: there is no such label file") from error
    except OSError as error:
        raise LabelError(f"{labels}: cannot be read ({error.strerror}); name a COCO file") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, endless numbers, lists within lists within lists
        raise LabelError(f"{labels}: not readable as JSON ({error}); write it out again") from error
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in LISTS):
        raise LabelError(
            f"{labels}: not COCO: a JSON object with the lists images, annotations and categories is needed"
        )
    for key in LISTS:
        strange = [entry for entry in data[key] if not isinstance(entry, dict)]
        if strange:
            raise LabelError(f"{labels}: not COCO: {key} holds {shown(strange[0])}, where an object is needed")
    return data


def _simulated(info: Any, labels: Path) -> bool:
    if info in (None, "", []):  # as tools write that they have nothing to say
        return False
    told = info.get("simulated", "generator" in info) if isinstance(info, dict) else None
    if not isinstance(told, bool):
        raise LabelError(
            f"{labels}: info {shown(info)} must be an object, and what it says of `simulated` true or false"
        )
    return told


def _licence(data: Mapping[str, Any], problems: list[str]) -> str | None:
    try:
        return licence_of(data)
    except LabelValueError as error:
        problems.append(str(error))
        return None


def _categories(entries: list[Any], problems: list[str]) -> tuple[tuple[str, ...], dict[Id, int]]:
    names: list[str] = []
    index: dict[Id, int] = {}
    for entry in entries:
        name, key = entry.get("name"), id_of(entry.get("id"))
        if not is_text(name):
            problems.append(f"category {shown(entry.get('id'))} has no name that is a text, but {shown(name)}")
        elif key is None:
            problems.append(f"category {name!r}: its id {shown(entry.get('id'))} is neither a whole number nor a text")
        elif key in index or name in names:
            problems.append(f"category {name!r} (id {shown(key)}) comes twice")
        else:
            index[key] = len(names)
            names.append(name)
    return tuple(names), index


def _images(entries: list[Any], problems: list[str]) -> dict[Id, Mapping[str, Any]]:
    """Image entries by their ids; those that have a name and an id."""
    found: dict[Id, Mapping[str, Any]] = {}
    for entry in entries:
        name, key = entry.get("file_name"), id_of(entry.get("id"))
        if not is_text(name):
            problems.append(f"image {shown(entry.get('id'))}: file_name {shown(name)} is not the name of a file")
        elif key is None:
            problems.append(f"image {name}: its id {shown(entry.get('id'))} is neither a whole number nor a text")
        elif key in found:
            problems.append(f"images {found[key]['file_name']} and {name} share the id {shown(key)}")
        else:
            found[key] = entry
    names = Counter(entry["file_name"] for entry in found.values())
    problems += [f"image {name} comes {count} times" for name, count in names.items() if count > 1]
    return found


def _find_missing(entries: Mapping[Id, Mapping[str, Any]], folder: Path, problems: list[str]) -> None:
    missing = [entry["file_name"] for entry in entries.values() if not _is_there(folder / entry["file_name"])]
    if missing:
        told = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        problems.append(f"{len(missing)} of {len(entries)} images are not in {folder.name or folder}: {told}")


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no name that this file system could hold
        return False


def _image(
    entry: Mapping[str, Any],
    folder: Path,
    annotations: list[Mapping[str, Any]],
    category_index: Mapping[Id, int],
    problems: list[str],
    simulated: bool,
) -> LabelledImage | None:
    name = entry["file_name"]
    try:
        facts = image_facts(entry)
    except LabelValueError as error:
        problems.append(f"image {name}: {error}")
        return None
    boxes, labels, crowd, present, outlines = [], [], [], [], []
    for annotation in annotations:
        told = f"annotation {shown(annotation.get('id'))} ({name})"
        category = id_of(annotation.get("category_id"))
        if category is None or category not in category_index:
            known = ", ".join(map(str, list(category_index)[:20]))
            given = shown(annotation.get("category_id"))
            problems.append(f"{told}: unknown category {given}; the file declares {known}")
            continue
        try:
            box, outline = _box_and_outline(annotation, facts["width"], facts["height"])
            is_crowd, scans = crowd_of(annotation), scans_present_of(annotation)
        except LabelValueError as error:
            problems.append(f"{told}: {error}")
            continue
        boxes.append(box)
        crowd.append(is_crowd)
        present.append(scans)
        labels.append(category_index[category])
        outlines.append(outline)
    for key in ("contrast", "registered"):
        beside = facts[key]
        if beside is not None and not (folder / beside).is_file():
            problems.append(f"image {name}: its file {beside} is not in {folder}")
            return None
        facts[key] = None if beside is None else folder / beside
    return LabelledImage(
        file_name=name,
        path=folder / name,
        **facts,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        crowd=np.array(crowd, bool),
        scans_present=np.array(present, np.int64),
        outlines=tuple(outlines) if any(outlines) else (),
        simulated=simulated,
    )


def _box_and_outline(annotation: Mapping[str, Any], width: int, height: int) -> tuple[Box, Outline]:
    outline, around = outline_of(annotation.get("segmentation"), width, height)
    given = annotation.get("bbox")
    if around is not None and given in (None, []):
        given = list(around)
    return box_of(given, width, height), outline


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
