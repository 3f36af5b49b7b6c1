"""The folder that a person gets: pictures, the file for the labelling tool, and how to go on."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from uuid import uuid4

from soilpipe.analyses import publications
from soilpipe.config import Project
from soilpipe.detections import DamagedDetectionsError, DetectionFile, read_detection_file
from soilpipe.ingest.receipts import read_receipt
from soilpipe.labels import coco, cvat, label_studio
from soilpipe.labels.guide import guide
from soilpipe.labels.interchange import CROWD, TileToLabel, ToolBox
from soilpipe.labels.pictures import TilePicture, png, tile_pictures
from soilpipe.labels.records import Draw, Format, LabellingError, Tile, TileLabel, newest_labels
from soilpipe.store import Store
from soilpipe.taxonomy import Taxonomy

LOCAL_FILES = "/data/local-files/?d="
"""How Label Studio names files below its document root."""

Progress = Callable[[int, int], None]  # done, of


def export_draw(
    project: Project,
    store: Store,
    draw: Draw,
    folder: Path,
    format_: Format,
    *,
    boxes: bool = True,
    open_only: bool = False,
    as_scanned: bool = False,
    prefix: str | None = None,
    progress: Progress | None = None,
) -> list[TileToLabel]:
    """Write the tiles of a draw for a labelling tool into a new folder; the tiles written.

    Each tile comes as its scan shows it (dark ones brighter, unless `as_scanned`), with its difference, and with boxes
    to begin with: the newest labels of the tile where it has some, else what the analysis that its scanner shows now
    found. Not `boxes`: without any. `open_only`: leave out what somebody has looked at. `prefix`: what stands before
    the names of the pictures in Label Studio's tasks; its local files below a folder of this folder's name if left out.

    LabellingError when the folder holds something, nothing is left to look at, or a scan has lost its pixels.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LabellingError(f"{folder} is there and not empty. Name a new folder: labels must not be written over")
    newest = _newest_by_tile(newest_labels(store).values())
    tiles = [tile for tile in draw.tiles if not (open_only and tile.tile_id in newest)]
    if not tiles:
        raise LabellingError(f"all {len(draw.tiles)} tiles of draw {draw.draw_id} have been looked at; draw others")
    found = _Found(project, store)
    made: list[TileToLabel] = []
    unfinished = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    try:
        pictures = _Pictures(unfinished, format_)
        for picture in tile_pictures(store, tiles, as_scanned=as_scanned):
            tile = picture.tile
            started = _of_person(tile, newest[tile.tile_id]) if tile.tile_id in newest else found.boxes(tile)
            started = started if boxes else ((), "none: begun without boxes")
            dpi = read_receipt(store, tile.scan_id).dpi
            made.append(TileToLabel(tile.tile_id, tile.width, tile.height, tile.how, dpi, *started))
            pictures.add(picture)
            if progress:
                progress(len(made), len(tiles))
        pictures.close()
        title = f"{project.project}, draw {draw.draw_id}"
        prefix = f"{LOCAL_FILES}{folder.name}/" if prefix is None else prefix
        names = label_names(project.taxonomy, made)
        for name, text in _texts(format_, made, names, title, prefix).items():
            (unfinished / name).write_text(text, encoding="utf-8")
        (unfinished / "README.md").write_text(guide(format_, draw, made, folder.name), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        unfinished.replace(folder)
    except OSError as error:
        raise LabellingError(f"{folder} cannot be written ({error.strerror or error}). Name another place") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def label_names(taxonomy: Taxonomy, tiles: Iterable[TileToLabel] = ()) -> list[str]:
    """What can be said of a box: every taxon of the project, background included, the stages in use, and the crowd."""
    used = {one.name for tile in tiles for one in tile.boxes}
    return [*taxonomy.names, *sorted(used - {*taxonomy.names, CROWD}), CROWD]


def _texts(format_: Format, made: list[TileToLabel], names: list[str], title: str, prefix: str) -> Mapping[str, str]:
    if format_ == "coco":
        return {"annotations.json": coco.write(made, names, title)}
    if format_ == "cvat":
        return {"annotations.xml": cvat.write(made, names, title), "labels.json": cvat.label_list(names)}
    return {
        "tasks.json": label_studio.write(made, names, title, prefix),
        "interface.xml": label_studio.interface(names),
    }


class _Pictures:
    """Where the pictures go: two folders; for CVAT one archive, in which the difference is the context of its scan."""

    def __init__(self, folder: Path, format_: Format) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._archive = zipfile.ZipFile(folder / "images.zip", "w") if format_ == "cvat" else None
        if self._archive is None:
            (folder / "images").mkdir()
            (folder / "difference").mkdir()

    def add(self, picture: TilePicture) -> None:
        name = picture.tile.tile_id
        if self._archive is None:
            (self._folder / "images" / f"{name}.png").write_bytes(png(picture.scan))
            (self._folder / "difference" / f"{name}.png").write_bytes(png(picture.difference))
        else:
            self._archive.writestr(f"{name}.png", png(picture.scan))
            self._archive.writestr(f"related_images/{name}_png/difference.png", png(picture.difference))

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()


class _Found:
    """What the detectors found, as boxes to begin with; each detection file is read once."""

    def __init__(self, project: Project, store: Store) -> None:
        self._project, self._store = project, store
        self._analyses: dict[str, str | None] = {}
        self._last: tuple[str, DetectionFile | None] = ("", None)

    def boxes(self, tile: Tile) -> tuple[tuple[ToolBox, ...], str]:
        """Those with their centre in the tile, clipped to it; and what they are from."""
        found = self._file(tile.scan_id)
        if found is None:
            return (), "none: the scan has not been detected"
        columns = ("x_min", "y_min", "x_max", "y_max", "score", "taxon", "stage")
        boxes = []
        for x0, y0, x1, y1, score, taxon, stage in zip(
            *(found.table[name].to_pylist() for name in columns), strict=True
        ):
            if tile.x0 <= (x0 + x1) / 2 < tile.x1 and tile.y0 <= (y0 + y1) / 2 < tile.y1:
                clipped = (max(x0, tile.x0), max(y0, tile.y0), min(x1, tile.x1), min(y1, tile.y1))
                boxes.append(ToolBox(_in_tile(tile, clipped), self._name(taxon, stage), score))
        return tuple(boxes), f"detector {found.metadata.get('detector', 'unknown')}"

    def _name(self, taxon: str | None, stage: str | None) -> str:
        """As the list of labels has it; an animal of no name where the taxonomy does not know the detector's."""
        if taxon is not None and taxon in self._project.taxonomy:
            name = self._project.taxonomy.find(taxon).name
            return f"{name} ({stage})" if stage else name
        return next(known.name for known in self._project.taxonomy if not known.background)

    def _file(self, scan_id: str) -> DetectionFile | None:
        if self._last[0] != scan_id:
            self._last = (scan_id, self._read(scan_id))
        return self._last[1]

    def _read(self, scan_id: str) -> DetectionFile | None:
        scanner_id = read_receipt(self._store, scan_id).scanner_id
        if scanner_id not in self._analyses:
            published = publications(self._store, scanner_id)
            self._analyses[scanner_id] = published[-1].analysis_id if published else None
        analysis_id = self._analyses[scanner_id]
        try:
            return None if analysis_id is None else read_detection_file(self._store, analysis_id, scan_id)
        except (FileNotFoundError, DamagedDetectionsError):
            return None  # `soilpipe verify` tells; there is nothing to begin from in this scan


def _of_person(tile: Tile, label: TileLabel) -> tuple[tuple[ToolBox, ...], str]:
    """What was marked before, to be looked at again."""
    boxes = [
        ToolBox(_in_tile(tile, (box.x_min, box.y_min, box.x_max, box.y_max)), CROWD if box.crowd else box.name)
        for box in label.boxes
    ]
    return tuple(boxes), f"labels by {label.by}, {label.at:%Y-%m-%d %H:%M} UTC"


def _in_tile(tile: Tile, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return box[0] - tile.x0, box[1] - tile.y0, box[2] - tile.x0, box[3] - tile.y0


def _newest_by_tile(labels: Iterable[TileLabel]) -> dict[str, TileLabel]:
    newest: dict[str, TileLabel] = {}
    for label in labels:
        before = newest.get(label.tile_id)
        if before is None or (before.at, before.by) <= (label.at, label.by):
            newest[label.tile_id] = label
    return newest
