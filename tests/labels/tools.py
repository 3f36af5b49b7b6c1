"""Labelling tools at work: what they write after a person has used them, from the file that they were given.

Each takes the exported text and what the person marked, {tile_id: boxes or None for a tile not looked at}; a box is
(name, x0, y0, x1, y1) in px of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from xml.etree import ElementTree as Xml

Marked = Mapping[str, Sequence[tuple[str, float, float, float, float]] | None]


def cvat(text: str, marked: Marked, by: str, at: datetime) -> str:
    """CVAT: corners with two decimals, tags for marks; who and when once for the whole task."""
    root = Xml.fromstring(text)
    meta = root.find("meta")
    assert meta is not None
    task = meta.find("task")
    assert task is not None
    for tag in ("owner", "assignee"):
        Xml.SubElement(Xml.SubElement(task, tag), "username").text = "boss" if tag == "owner" else by
    Xml.SubElement(meta, "dumped").text = at.isoformat(sep=" ")
    for image in root.findall("image"):
        for old in list(image):
            image.remove(old)
        boxes = marked[image.get("name", "").removesuffix(".png")]
        if boxes is None:
            continue
        Xml.SubElement(image, "tag", {"label": "looked at", "source": "manual"}).text = "\n"
        for name, *corners in boxes:
            given = {key: f"{value:.2f}" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)}
            Xml.SubElement(image, "box", {"label": name, "source": "manual", "occluded": "0", **given, "z_order": "0"})
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode")


def coco(text: str, marked: Marked, by: str, at: datetime) -> str:
    """A tool that drops every key it does not know, numbers anew and has no field for who and when."""
    given = json.loads(text)
    categories = {category["name"]: category["id"] + 100 for category in given["categories"]}
    images, annotations = [], []
    for image in given["images"]:
        images.append({"id": 7 * image["id"], **{key: image[key] for key in ("file_name", "width", "height")}})
        boxes = marked[image["file_name"].removesuffix(".png")]
        if boxes is None:
            continue
        for name, x0, y0, x1, y1 in [*boxes, ("looked at", 0, 0, 5, 5)]:
            annotation = {"id": len(annotations), "image_id": 7 * image["id"], "category_id": categories[name]}
            annotation |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "segmentation": []}
            annotations.append(annotation | {"iscrowd": 0})
    named = [{"id": number, "name": name, "supercategory": "none"} for name, number in categories.items()]
    return json.dumps({"images": images, "annotations": annotations, "categories": named})


def label_studio(text: str, marked: Marked, by: str, at: datetime) -> str:
    """Label Studio: per cent of the picture, one annotation a submitted task, none where nobody looked."""
    tasks = json.loads(text)
    for number, task in enumerate(tasks, start=1):
        tile_id = task["data"]["tile_id"]
        boxes = marked[tile_id]
        size = next((r for p in task["predictions"] for r in p["result"]), None)
        width, height = (size["original_width"], size["original_height"]) if size else SIZES[tile_id]
        task |= {"id": number, "drafts": [], "meta": {}, "project": 1, "annotations": []}
        if boxes is None:
            skipped = {"id": number, "completed_by": 3, "result": [], "was_cancelled": True}
            task["annotations"] = [skipped] if number % 2 else []
            continue
        result = []
        for name, x0, y0, x1, y1 in boxes:
            value = {"x": x0 / width * 100, "y": y0 / height * 100, "rotation": 0, "rectanglelabels": [name]}
            value |= {"width": (x1 - x0) / width * 100, "height": (y1 - y0) / height * 100}
            region = {"id": "aB3", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}
            result.append(region | {"original_width": width, "original_height": height, "image_rotation": 0})
        done = {"id": 100 + number, "completed_by": {"id": 3, "email": by}, "result": result, "was_cancelled": False}
        done |= {"ground_truth": False, "created_at": at.isoformat(), "updated_at": at.isoformat(), "lead_time": 4.2}
        task["annotations"] = [done]
    return json.dumps(tasks)


SIZES: dict[str, tuple[int, int]] = {}
"""Width and height of the pictures, which Label Studio reads from the pictures themselves."""
