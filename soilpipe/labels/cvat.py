"""CVAT's own format, "CVAT for images 1.1" (XML), and the list of labels for a new task.

The format cannot say "looked at, nothing there": an image without boxes may be one or the other. CVAT has tags, marks
on a whole image, so the label `looked at` is a tag that the annotator sets on each picture when done with it.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as Xml

from soilpipe.labels.interchange import (
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
    turned,
    whole,
)
from soilpipe.labels.records import LabellingError

GUESSED = "auto"
"""CVAT's word for the source of a box that no person drew."""


def colour(place: int) -> str:
    """A colour for the label at a place of the list, far from those of its neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(place * 0.618034 % 1, 0.75, 0.95)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def label_list(names: Sequence[str]) -> str:
    """What is pasted into "Raw" when a CVAT task or project is made."""
    labels = [
        {"name": name, "color": colour(place), "type": "rectangle", "attributes": []}
        for place, name in enumerate(names)
    ]
    mark = {"name": LOOKED_AT, "color": "#ffffff", "type": "tag", "attributes": []}
    return json.dumps([mark, *labels], indent=1, ensure_ascii=False) + "\n"


def write(tiles: Iterable[TileToLabel], names: Sequence[str], title: str) -> str:
    """annotations.xml; pictures are called <tile_id>.png and stand in the order in which CVAT lists them."""
    ordered = in_order(tiles)
    root = Xml.Element("annotations")
    Xml.SubElement(root, "version").text = "1.1"
    task = Xml.SubElement(Xml.SubElement(root, "meta"), "task")
    for tag, text in (("name", title), ("size", str(len(ordered))), ("mode", "annotation")):
        Xml.SubElement(task, tag).text = text
    labels = Xml.SubElement(task, "labels")
    for name in (LOOKED_AT, *names):
        label = Xml.SubElement(labels, "label")
        Xml.SubElement(label, "name").text = name
        Xml.SubElement(label, "type").text = "tag" if name == LOOKED_AT else "rectangle"
        Xml.SubElement(label, "attributes")
    for place, tile in enumerate(ordered):
        given = {"id": str(place), "name": f"{tile.tile_id}.png", "width": str(tile.width), "height": str(tile.height)}
        image = Xml.SubElement(root, "image", given)
        for one in tile.boxes:
            corners = {key: f"{value:.2f}" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), one.box, strict=True)}
            more = {"label": one.name, "source": GUESSED, "occluded": "0"}
            Xml.SubElement(image, "box", {**more, **corners, "z_order": "0"})
    Xml.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def read(data: bytes, source: str) -> list[ReadTile]:
    """The images of an annotations.xml; LabellingError names the entries that cannot be meant."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise LabellingError(f"{source}: CVAT writes no DOCTYPE; this file is not from CVAT. Nothing was imported")
    try:
        root = Xml.fromstring(data)  # without a DOCTYPE there are no entities to expand
    except (Xml.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that it cannot read
        raise LabellingError(f"{source}: not whole XML ({error}); export it again. Nothing was imported") from error
    if root.tag != "annotations":
        raise LabellingError(f"{source}: not an annotations.xml of CVAT, but <{root.tag}>. Nothing was imported")
    if root.find("track") is not None:
        raise LabellingError(
            f'{source}: this is "CVAT for video"; export the task as "CVAT for images 1.1". Nothing was imported'
        )
    problems = Problems(source)
    at = moment(root.findtext("meta/dumped", ""))
    assignees = {(element.text or "").strip() for element in root.findall("meta/*/assignee/username")} - {""}
    by = assignees.pop() if len(assignees) == 1 else None
    tiles = []
    for image in root.findall("image"):
        name = image.get("name", "")
        where = f"image {name or image.get('id')}"
        if not name:
            problems.add(where, "has no name")
            continue
        boxes = tuple(_shapes(image, where, problems))
        marked = any(tag.get("label") == LOOKED_AT for tag in image.findall("tag"))
        size = whole(image.get("width")), whole(image.get("height"))
        tiles.append(ReadTile(name, where, *size, marked, boxes, by, at))
    problems.raise_if_any()
    return tiles


def _shapes(image: Xml.Element, where: str, problems: Problems) -> Iterable[ToolBox]:
    place = 0
    for shape in image:
        if shape.tag == "tag":
            continue
        place += 1
        told = f"{where}, {shape.tag} {place}"
        label = shape.get("label")
        box = _box(shape)
        if label is None:
            problems.add(told, "has no label")
        elif box is None:
            problems.add(told, f"a {shape.tag} is no box: draw rectangles, polygons or masks")
        else:
            yield ToolBox(box, label, where=told)


def _box(shape: Xml.Element) -> XYXY | None:
    """The box around a shape; None for shapes that enclose nothing."""
    if shape.tag == "box":
        x0, y0, x1, y1 = (number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        return turned((x0, y0, x1, y1), number(shape.get("rotation", "0")), ((x0 + x1) / 2, (y0 + y1) / 2))
    if shape.tag == "mask":
        x, y, w, h = (number(shape.get(key)) for key in ("left", "top", "width", "height"))
        return x, y, x + w, y + h
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        return around([(number(pair[0]), number(pair[-1])) for pair in pairs])
    return None
