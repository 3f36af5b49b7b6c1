"""Taking back what people marked: a file of a labelling tool becomes labels of the store, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import numpy as np

from soilpipe.config import Project
from soilpipe.detect.doubles import ALIKE, find_doubles
from soilpipe.labels import coco, cvat, label_studio
from soilpipe.labels.interchange import CROWD, LOOKED_AT, XYXY, Problems, ReadTile, ToolBox
from soilpipe.labels.records import (
    Format,
    LabelFile,
    LabelledBox,
    LabellingError,
    Tile,
    TileLabel,
    all_tiles,
    newest_labels,
    read_draws,
    read_label_files,
    write_label_file,
)
from soilpipe.store import Store
from soilpipe.taxonomy import Taxonomy, TaxonomyError, split_stage

SAME_ANIMAL = ALIKE - 0.005
"""Intersection over union from which two boxes are two labels on one animal: a little below what training refuses, so
that what was imported can always be trained on."""
MOST_BYTES = 512 * 2**20
READERS = {"coco": coco.read, "cvat": cvat.read, "label-studio": label_studio.read}


@dataclass(frozen=True)
class Taken:
    """What an import did, in tiles.

    `taken`: of these `empty` have nothing in them, and all together `boxes`. `unchanged`: the same person has said
    just that before. `older`: the same person has said something newer than the file's own time, or than when it first
    came. `not_looked_at`: left out; `with_boxes` of them hold boxes all the same. `key`: the file in the store, None
    where nothing was new.
    """

    format: Format
    by: tuple[str, ...]
    taken: int
    empty: int
    boxes: int
    unchanged: int
    older: int
    not_looked_at: int
    with_boxes: int
    key: str | None


def take_labels(
    project: Project,
    store: Store,
    file: Path,
    now: datetime,
    *,
    format_: Format | None = None,
    by: str | None = None,
    all_looked_at: bool = False,
) -> Taken:
    """Read a file that a labelling tool wrote, check all of it, and add its labels to the store.

    Only tiles that somebody says to have looked at are taken; `all_looked_at` says so for every tile of the file.
    `by`: who, instead of what the file tells. When: what the file tells; else when this file first came with labels of
    this person, so that an old file which comes again takes back no later correction; else `now`.

    LabellingError names the file and every entry that cannot be meant; nothing is written then.
    """
    data = _read(file)
    format_, text = _format_of(data, file.name, format_)
    read = READERS[format_](text, file.name)
    problems = Problems(file.name)
    tiles = all_tiles(read_draws(store).values())
    if not tiles:
        raise LabellingError(f"the store {store.root} has no draw of tiles yet: `soilpipe label draw` first")
    looked = [one for one in read if one.looked_at or all_looked_at]
    labels: dict[tuple[str, str], TileLabel] = {}
    sha256 = hashlib.sha256(data).hexdigest()
    came = _came_before(store, sha256)
    for one in read:
        tile = _tile(one, tiles, problems)
        if tile is not None and (one.looked_at or all_looked_at):
            _add(labels, _label(one, tile, project.taxonomy, by, came, now, problems), one.where, format_, problems)
    if looked and any(one.by is None for one in looked) and by is None:
        problems.add("who", 'the file does not say who labelled: add --by "Your Name"')
    problems.raise_if_any()
    skipped = [one for one in read if not (one.looked_at or all_looked_at)]
    before = newest_labels(store)
    told = {pair: before[pair].at for pair in labels if pair in before}
    unchanged = [pair for pair, label in labels.items() if pair in before and before[pair].boxes == label.boxes]
    older = [pair for pair, at in told.items() if labels[pair].at < at and pair not in unchanged]
    new = [labels[pair] for pair in sorted(labels.keys() - {*unchanged, *older})]
    key = None
    if new:
        kept = LabelFile(
            imported_at=now, source_name=file.name, source_sha256=sha256, format=format_, labels=tuple(new)
        )
        key = write_label_file(store, kept)
    return Taken(
        format=format_,
        by=tuple(sorted({label.by for label in labels.values()})),
        taken=len(new),
        empty=sum(not label.boxes for label in new),
        boxes=sum(len(label.boxes) for label in new),
        unchanged=len(unchanged),
        older=len(older),
        not_looked_at=len(skipped),
        with_boxes=sum(bool(one.boxes) for one in skipped),
        key=key,
    )


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise LabellingError(f"{file}: {file.stat().st_size} bytes are no labels. Export without images")
        return file.read_bytes()
    except OSError as error:
        raise LabellingError(f"{file} cannot be read ({error.strerror or error})") from error


def _format_of(data: bytes, source: str, told: Format | None) -> tuple[Format, bytes]:
    """The format, and the file itself where it came in an archive."""
    if data[:4] == b"PK\x03\x04":
        data = _unpacked(data, source)
    begin = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not begin:
        raise LabellingError(f"{source} is empty. Nothing was imported")
    looks: Format = "cvat" if begin == b"<" else "label-studio" if begin == b"[" else "coco"
    if told is not None and told != looks:
        raise LabellingError(f"{source} looks like {looks}, not {told}; leave --format out. Nothing was imported")
    if begin not in (b"<", b"[", b"{"):
        raise LabellingError(f"{source}: neither JSON nor XML. Export COCO, CVAT for images 1.1 or Label Studio JSON")
    return looks, data


def _unpacked(data: bytes, source: str) -> bytes:
    """The one file with labels in an archive, as CVAT makes them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [info for info in archive.infolist() if info.filename.lower().endswith((".xml", ".json"))]
            if len(names) != 1:
                found = ", ".join(info.filename for info in names[:5]) or "none"
                raise LabellingError(f"{source}: one file with labels is needed in the archive; it has {found}")
            if names[0].file_size > MOST_BYTES:
                raise LabellingError(f"{source}: {names[0].filename} unpacks to {names[0].file_size} bytes: no labels")
            return archive.read(names[0])
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise LabellingError(
            f"{source}: not a whole archive ({error}); export it again. Nothing was imported"
        ) from error


def _came_before(store: Store, sha256: str) -> dict[str, datetime]:
    """By person, when this very file first brought labels of theirs."""
    came: dict[str, datetime] = {}
    for file in read_label_files(store):
        if file.source_sha256 == sha256:
            for who in {label.by for label in file.labels}:
                came[who] = min(file.imported_at, came.get(who, file.imported_at))
    return came


def _tile(one: ReadTile, tiles: dict[str, Tile], problems: Problems) -> Tile | None:
    stem = Path(one.name).name.removesuffix(".png")
    tile = tiles.get(stem)
    if tile is None:
        # Tools put an upload number before a name, or their own words behind it.
        held = [tile_id for tile_id in tiles if tile_id in one.name]
        tile = tiles[held[0]] if len(held) == 1 else None
    if tile is None:
        problems.add(one.where, "no draw of this store has such a tile; was it exported from another store?")
        return None
    if (one.width, one.height) not in ((None, None), (tile.width, tile.height)):
        problems.add(
            one.where,
            f"is {one.width} x {one.height} px there, and {tile.width} x {tile.height} px here: a picture that was "
            "scaled or cut has its boxes elsewhere",
        )
        return None
    return tile


def _label(
    one: ReadTile,
    tile: Tile,
    taxonomy: Taxonomy,
    by: str | None,
    came: Mapping[str, datetime],
    now: datetime,
    problems: Problems,
) -> TileLabel:
    boxes: list[LabelledBox] = []
    shapes: list[tuple[ToolBox, XYXY]] = []
    for box in one.boxes:
        clipped = _clipped(box, tile, problems)
        named = _named(box, taxonomy, problems)
        if clipped is None or named is None:
            continue
        if named[0] is not None:
            shapes.append((box, clipped))
        x0, y0, x1, y1 = clipped
        boxes.append(
            LabelledBox(
                x_min=round(tile.x0 + x0, 2),
                y_min=round(tile.y0 + y0, 2),
                x_max=round(tile.x0 + x1, 2),
                y_max=round(tile.y0 + y1, 2),
                taxon=named[0],
                stage=named[1],
                crowd=named[0] is None,
            )
        )
    for one_place, other_place in find_doubles(np.array([shape for _, shape in shapes]).reshape(-1, 4), SAME_ANIMAL):
        first, second = shapes[one_place][0], shapes[other_place][0]
        names = first.name if first.name == second.name else f"{first.name} and {second.name}"
        problems.add(second.where, f"is the animal of {first.where} once more ({names}): keep one of them")
    boxes.sort(key=lambda box: (box.y_min, box.x_min, box.y_max, box.x_max, str(box.taxon)))
    who = by or one.by or "?"
    at = min(one.at, now) if one.at is not None else came.get(who, now)
    return TileLabel(tile_id=tile.tile_id, by=who, at=at.astimezone(UTC), boxes=tuple(boxes))


def _clipped(one: ToolBox, tile: Tile, problems: Problems) -> XYXY | None:
    """The box within its tile: one drawn over the edge is cut there, one outside or without area is an error."""
    x0, y0, x1, y1 = one.box
    if not all(isfinite(value) for value in one.box):
        problems.add(one.where, f"the box {_shown(one.box)} holds values that are not numbers")
    elif x1 <= x0 or y1 <= y0:
        problems.add(one.where, f"the box {_shown(one.box)} has no area")
    else:
        cut = max(x0, 0.0), max(y0, 0.0), min(x1, float(tile.width)), min(y1, float(tile.height))
        # Labels are kept to a hundredth of a pixel: what is thinner is nothing.
        if cut[2] - cut[0] >= 0.01 and cut[3] - cut[1] >= 0.01:
            return cut
        problems.add(one.where, f"the box {_shown(one.box)} lies outside its tile of {tile.width} x {tile.height} px")
    return None


def _shown(box: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"


def _named(one: ToolBox, taxonomy: Taxonomy, problems: Problems) -> tuple[str | None, str | None] | None:
    """Taxon and stage; (None, None) for a crowd."""
    if one.name == CROWD:
        return None, None
    if one.name == LOOKED_AT:
        problems.add(one.where, f"{LOOKED_AT!r} is said of a picture, not of a box: set it as a tag")
        return None
    try:
        return taxonomy.find(one.name).name, split_stage(one.name)[1]
    except TaxonomyError as error:
        problems.add(one.where, f"{error}. Correct the label, or name the taxon in the project file")
        return None


def _add(
    labels: dict[tuple[str, str], TileLabel], label: TileLabel, where: str, format_: Format, problems: Problems
) -> None:
    """One label a tile and person: of several annotations of one task the newest."""
    before = labels.get((label.tile_id, label.by))
    if before is not None and format_ != "label-studio":
        problems.add(where, "the tile comes twice in the file: keep one of them")
    elif before is None or before.at <= label.at:
        labels[label.tile_id, label.by] = label
