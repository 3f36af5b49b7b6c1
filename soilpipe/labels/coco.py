"""COCO JSON as labelling tools exchange it.

COCO cannot say "looked at, nothing there". Two marks are understood: `"looked_at": true` in the entry of an image, and
an annotation of the category `looked at` anywhere in the picture, for tools that drop keys they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soilpipe.labels.interchange import (
    CROWD,
    LOOKED_AT,
    XYXY,
    Problems,
    ReadTile,
    TileToLabel,
    ToolBox,
    around,
    in_order,
    moment,
    number,
    parsed,
    whole,
)
from soilpipe.labels.records import LabellingError


def write(tiles: Iterable[TileToLabel], names: Sequence[str], title: str) -> str:
    """One COCO file; pictures are called images/<tile_id>.png."""
    categories = {name: index for index, name in enumerate((*names, LOOKED_AT), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for tile in in_order(tiles):
        entry = {"id": len(images) + 1, "file_name": f"{tile.tile_id}.png", "width": tile.width, "height": tile.height}
        images.append(entry | {"looked_at": False, "how": tile.how, "dpi": tile.dpi, "boxes_from": tile.boxes_from})
        for one in tile.boxes:
            x0, y0, x1, y1 = one.box
            w, h = round(x1 - x0, 2), round(y1 - y0, 2)
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": len(images),
                "category_id": categories[one.name],
            }
            annotation |= {"bbox": [round(x0, 2), round(y0, 2), w, h], "area": round(w * h, 2), "iscrowd": 0}
            annotations.append(annotation | ({} if one.score is None else {"score": round(one.score, 4)}))
    made = {
        "info": {"description": title},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name, "supercategory": ""} for name, index in categories.items()],
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def read(data: bytes, source: str) -> list[ReadTile]:
    """The tiles of a COCO file; LabellingError names the entries that cannot be meant."""
    document = _document(data, source)
    problems = Problems(source)
    names = _names(document["categories"], problems)
    boxes: dict[Any, list[ToolBox]] = {}
    images: dict[Any, Mapping[str, Any]] = {}
    for image in document["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            problems.add(f"image {image.get('id') if isinstance(image, dict) else image!r}", "has no file_name")
        elif _key(image.get("id")) in images:
            problems.add(f"image {image['file_name']}", f"its id {image.get('id')!r} is that of another image too")
        else:
            images[_key(image.get("id"))] = image
            boxes[_key(image.get("id"))] = []
    for annotation in document["annotations"]:
        if not isinstance(annotation, dict):
            problems.add(f"annotation {annotation!r}", "is no annotation")
            continue
        where = f"annotation {annotation.get('id')}"
        owner = _key(annotation.get("image_id"))
        if owner not in images:
            problems.add(where, f"no image of the file has the id {annotation.get('image_id')!r}")
        elif _key(annotation.get("category_id")) not in names:
            problems.add(where, f"no category of the file has the id {annotation.get('category_id')!r}")
        elif (box := _box(annotation)) is None:
            problems.add(where, f"bbox {annotation.get('bbox')!r} is not [x, y, width, height]")
        else:
            name = CROWD if annotation.get("iscrowd") else names[_key(annotation.get("category_id"))]
            where = f"{where} ({images[owner]['file_name']})"
            boxes[owner].append(ToolBox(box, name, where=where))
    problems.raise_if_any()
    return [_tile(image, boxes[key]) for key, image in images.items()]


def _document(data: bytes, source: str) -> dict[str, Any]:
    document = parsed(data, source)
    lists = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in lists):
        raise LabellingError(
            f"{source}: not COCO, which is a JSON object with the lists images, annotations and categories. "
            "Nothing was imported"
        )
    return document


def _names(categories: list[Any], problems: Problems) -> dict[str, str]:
    names: dict[str, str] = {}
    for category in categories:
        if not isinstance(category, dict) or not isinstance(category.get("name"), str):
            problems.add(f"category {category!r}", "has no name")
        elif _key(category.get("id")) in names:
            problems.add(f"category {category['name']}", f"its id {category.get('id')!r} is that of another one too")
        else:
            names[_key(category.get("id"))] = category["name"]
    return names


def _key(value: Any) -> str:
    """Ids are compared as JSON writes them: some tools write numbers, some strings, none mixes them."""
    return json.dumps(value, sort_keys=True)


def _box(annotation: Mapping[str, Any]) -> XYXY | None:
    given = annotation.get("bbox")
    if isinstance(given, list) and len(given) == 4:
        x, y, w, h = (number(value) for value in given)
        return x, y, x + w, y + h
    rings = annotation.get("segmentation")
    if given or not isinstance(rings, list) or not rings or not all(isinstance(ring, list) for ring in rings):
        return None
    points = [(number(ring[at]), number(ring[at + 1])) for ring in rings for at in range(0, len(ring) - 1, 2)]
    return around(points) if points else None


def _tile(image: Mapping[str, Any], boxes: list[ToolBox]) -> ReadTile:
    marked = image.get("looked_at") is True or any(box.name == LOOKED_AT for box in boxes)
    by = image.get("labelled_by")
    return ReadTile(
        name=image["file_name"],
        where=f"image {image['file_name']}",
        width=whole(image.get("width")),
        height=whole(image.get("height")),
        looked_at=marked,
        boxes=tuple(box for box in boxes if box.name != LOOKED_AT),
        by=by if isinstance(by, str) and by.strip() else None,
        at=moment(image.get("labelled_at")),
    )
