"""Label Studio's JSON tasks, with the boxes to begin with as predictions, and its labelling interface.

Here "looked at" has a place of its own: a person who is done with a task submits an annotation, which may be empty. A
skipped task (`was_cancelled`), a draft and a prediction are no annotation: nobody has looked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

from soilpipe.labels.cvat import colour
from soilpipe.labels.interchange import (
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
    turned,
    whole,
)
from soilpipe.labels.records import LabellingError


def interface(names: Sequence[str]) -> str:
    """The labelling interface (Settings, Labeling Interface, Code): scan and difference side by side."""
    labels = "\n".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(colour(place))}/>"
        for place, name in enumerate(names)
    )
    return f"""<View>
  <Text name="tile" value="$told"/>
  <Filter name="filter" toName="label" minlength="0" placeholder="type the first letters of a taxon"/>
  <RectangleLabels name="label" toName="image" showInline="true" canRotate="false">
{labels}
  </RectangleLabels>
  <View style="display: flex; gap: 8px">
    <View style="flex: 1">
      <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true"
             contrastControl="true" gammaControl="true"/>
    </View>
    <View style="flex: 1">
      <Image name="difference" value="$difference" zoom="true" zoomControl="true" contrastControl="true"/>
    </View>
  </View>
</View>
"""


def write(tiles: Iterable[TileToLabel], names: Sequence[str], title: str, prefix: str) -> str:
    """tasks.json. `prefix`: what stands before images/<tile_id>.png for the server, as a URL."""
    tasks = []
    for tile in in_order(tiles):
        file = quote(f"{tile.tile_id}.png")
        scale = "" if tile.dpi is None else f" ({25_400 / tile.dpi:.1f} µm a px)"
        data = {"tile_id": tile.tile_id, "image": f"{prefix}images/{file}", "difference": f"{prefix}difference/{file}"}
        data |= {"told": f"{tile.tile_id}{scale}", "how": tile.how, "draw": title}
        result = [_region(tile, one, place) for place, one in enumerate(tile.boxes)]
        scores = [one.score for one in tile.boxes if one.score is not None]
        prediction = {"model_version": tile.boxes_from, "score": min(scores, default=0.0), "result": result}
        tasks.append({"data": data, "predictions": [prediction] if result else []})
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def _region(tile: TileToLabel, one: ToolBox, place: int) -> dict[str, Any]:
    x0, y0, x1, y1 = one.box
    value: dict[str, Any] = {
        "x": 100 * x0 / tile.width,
        "y": 100 * y0 / tile.height,
        "width": 100 * (x1 - x0) / tile.width,
        "height": 100 * (y1 - y0) / tile.height,
        "rotation": 0,
        "rectanglelabels": [one.name],
    }
    region: dict[str, Any] = {
        "id": f"box{place}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "value": value,
    }
    region |= {"original_width": tile.width, "original_height": tile.height, "image_rotation": 0}
    return region | ({} if one.score is None else {"score": round(one.score, 4)})


def read(data: bytes, source: str) -> list[ReadTile]:
    """One tile for each submitted annotation, and one not looked at for each task without any."""
    tasks = parsed(data, source)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise LabellingError(f'{source}: not a list of tasks; export as "JSON" from Label Studio. Nothing was imported')
    problems = Problems(source)
    tiles = []
    for place, task in enumerate(tasks, start=1):
        where = f"task {task.get('id', place)}"
        given = task.get("data")
        if not isinstance(given, dict) or not (name := _name(given)):
            problems.add(where, "names no tile_id and no image; JSON_MIN and CSV leave out what is needed: export JSON")
            continue
        annotations = task.get("annotations")
        if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations or ()):
            problems.add(where, 'has no list of annotations; export as "JSON" from Label Studio')
            continue
        submitted = [one for one in annotations if not one.get("was_cancelled")]
        tiles += [_tile(name, where, one, problems) for one in submitted]
        if not submitted:
            tiles.append(ReadTile(name, where, None, None, False, ()))
    problems.raise_if_any()
    return tiles


def _name(data: Mapping[str, Any]) -> str:
    if isinstance(data.get("tile_id"), str):
        return str(data["tile_id"])
    image = data.get("image")
    return unquote(image.rsplit("/", 1)[-1]) if isinstance(image, str) else ""


def _tile(name: str, where: str, annotation: Mapping[str, Any], problems: Problems) -> ReadTile:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    by = None if who is None else who if isinstance(who, str) else f"user {who}"
    at = moment(annotation.get("updated_at")) or moment(annotation.get("created_at"))
    result = annotation.get("result")
    sizes: list[tuple[int | None, int | None]] = []
    boxes: list[ToolBox] = []
    if not isinstance(result, list):
        problems.add(where, f"annotation {annotation.get('id')} has no list of results")
    else:
        boxes = list(_boxes(result, f"{where} ({name})", sizes, problems))
    width, height = sizes[0] if sizes else (None, None)
    return ReadTile(name, where, width, height, True, tuple(boxes), by, at)


def _boxes(
    result: list[Any], where: str, sizes: list[tuple[int | None, int | None]], problems: Problems
) -> Iterator[ToolBox]:
    for place, region in enumerate(result, start=1):
        told = f"{where}, region {region.get('id', place) if isinstance(region, dict) else place}"
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            problems.add(told, "has no value")
            continue
        kind = str(region.get("type"))
        if kind not in ("rectanglelabels", "polygonlabels"):
            problems.add(told, f"{kind} is no box: draw rectangles or polygons with a label")
            continue
        names = value.get(kind)
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            problems.add(told, f"needs exactly one label, not {names!r}")
            continue
        size = whole(region.get("original_width")), whole(region.get("original_height"))
        if not size[0] or not size[1]:
            problems.add(told, "does not say original_width and original_height, px")
            continue
        sizes.append(size)
        yield ToolBox(_box(kind, value, size[0], size[1]), names[0], where=told)


def _box(kind: str, value: Mapping[str, Any], width: int, height: int) -> XYXY:
    """From per cent of the picture to px."""
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not points or not all(isinstance(p, list) and len(p) == 2 for p in points):
            return around([(number(None), number(None))])
        return around([(number(x) * width / 100, number(y) * height / 100) for x, y in points])
    x, y, w, h = (number(value.get(key)) for key in ("x", "y", "width", "height"))
    x0, y0 = x * width / 100, y * height / 100
    box = (x0, y0, x0 + w * width / 100, y0 + h * height / 100)
    return turned(box, number(value.get("rotation", 0)), (x0, y0))
