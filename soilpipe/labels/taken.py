"""All labels of a store as one COCO file with its images, as `soilpipe.detect.coco` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from soilpipe.background import even_contrast
from soilpipe.config import Project
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.clock import at_present
from soilpipe.ingest.receipts import Receipt, read_receipt
from soilpipe.labels.records import (
    LabellingError,
    Place,
    Tile,
    TileLabel,
    all_tiles,
    newest_labels,
    read_draws,
    read_label_files,
)
from soilpipe.labels.references import add_references
from soilpipe.store import Store
from soilpipe.taxonomy import Taxonomy
from soilpipe.tiles import ScanImage, open_image

Which = Literal["all", "random"]


def random_tiles_looked_at(store: Store) -> int:
    """How many tiles of the random halves somebody has looked at; a place that two draws hit counts once."""
    return len(newest_by_place(store, "random"))


def newest_by_place(store: Store, which: Which = "all") -> list[tuple[Tile, TileLabel]]:
    """The newest label of each place, whoever made it, in the order of the places: tiles of a scan come together.

    A place that was looked at as a random tile is one, also when a suggestion led there later or before. "random": only
    what was marked in random tiles.
    """
    tiles = all_tiles(read_draws(store).values())
    newest: dict[Place, TileLabel] = {}
    looked_at_as: dict[Place, Tile] = {}
    for label in newest_labels(store).values():
        tile = tiles.get(label.tile_id)
        if tile is None or (which == "random" and tile.how != "random"):
            continue
        before = newest.get(tile.place)
        if before is None or (before.at, before.by) <= (label.at, label.by):
            newest[tile.place] = label
        if tile.place not in looked_at_as or tile.how == "random":
            looked_at_as[tile.place] = tile
    return [(looked_at_as[place], newest[place]) for place in sorted(newest)]


def looked_at_since(store: Store) -> dict[str, datetime]:
    """The scans of which somebody has looked at a tile, with the time (UTC) at which the first label was imported."""
    tiles = all_tiles(read_draws(store).values())
    since: dict[str, datetime] = {}
    for file in read_label_files(store):
        for label in file.labels:
            tile = tiles.get(label.tile_id)
            if tile is not None:
                since[tile.scan_id] = min(file.imported_at, since.get(tile.scan_id, file.imported_at))
    return since


def image_name(place: Place) -> str:
    """The file that `write_coco` writes of a place."""
    scan_id, x0, y0, x1, y1 = place
    return f"{scan_id}-x{x0}-y{y0}-{x1 - x0}x{y1 - y0}.png"


def write_coco(
    project: Project,
    store: Store,
    folder: Path,
    *,
    which: Which = "all",
    contrast: bool = False,
    difference: bool = True,
) -> Path | None:
    """Write `folder`/labels.json and the PNGs that it names, below `folder`; the path of the labels.

    Read it with ``read_labels(path, path.parent)``. Images are the tiles that somebody has looked at, cut from the
    scans at full resolution; of several labels of one place the newest counts, whoever made it. `which`: all of them,
    or only those of the random halves of the draws, the only ones that figures may be told from. `contrast`: for
    detectors that see evened contrast; what evens each labelled scan is told from the whole scan, and written beside
    its tiles. `difference`: with the earlier scans that each tile is compared with, registered to its whole scan as
    in a run (`labels.references.add_references`), which takes seconds a scan; False where the difference is left out,
    or they are added afterwards for some of the tiles.

    An image entry has `scanner_id` and `date_captured` (UTC, by the present project file), `dpi`, `scan_id`,
    `origin` ([x0, y0]: its corner in the scan, px), `tile_id`, `how`, `inclusion_probability`, `labelled_by`,
    `labelled_at`, `references` (ids of the earlier scans that it was drawn with).

    Returns None where nobody has looked at a tile of that kind. Tiles whose scan has lost its pixels are named in
    `info.left_out`; LabellingError when that leaves none.
    """
    chosen = newest_by_place(store, which)
    if not chosen:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(project, store, folder, contrast)
    for tile, label in chosen:
        writer.add_labelled(tile, label)
    if not writer.images:
        raise LabellingError(
            f"none of the {len(chosen)} labelled tiles can be cut from its scan: {writer.left_out[0]}. Restore the "
            f"image.zarr of the labelled scans in {store.root}"
        )
    path = folder / "labels.json"
    path.write_text(json.dumps(writer.coco(which), indent=1, ensure_ascii=False), encoding="utf-8")
    if difference:
        add_references(project, store, path)
    return path


class _Writer:
    """Gathers the COCO file while tiles are cut; one scan is open at a time."""

    def __init__(self, project: Project, store: Store, folder: Path, contrast: bool) -> None:
        self._project, self._store, self._folder = project, store, folder
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._categories: dict[str, int] = {}
        self._times: set[tuple[Any, ...]] = set()
        self._receipts: dict[str, Receipt] = {}
        self._contrast = contrast
        self._evened: set[str] = set()

    def add_labelled(self, tile: Tile, label: TileLabel) -> None:
        more: dict[str, Any] = {
            "tile_id": tile.tile_id,
            "how": tile.how,
            "inclusion_probability": tile.inclusion_probability,
        }
        more |= {"labelled_by": label.by, "labelled_at": label.at.isoformat(), "references": list(tile.references)}
        why_not = self._image(tile.place, more)
        if why_not is not None:
            self.left_out.append(f"{tile.tile_id}: {why_not}")
            return
        for box in label.boxes:
            name = _first_animal(self._project.taxonomy) if box.crowd else box.name
            x, y = round(box.x_min - tile.x0, 2), round(box.y_min - tile.y0, 2)
            w, h = round(box.x_max - box.x_min, 2), round(box.y_max - box.y_min, 2)
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": len(self.images),
                    "category_id": self._categories.setdefault(name, len(self._categories) + 1),
                    "bbox": [x, y, w, h],
                    "area": round(w * h, 2),
                    "iscrowd": int(box.crowd),
                }
            )

    def _image(self, place: Place, more: Mapping[str, Any]) -> str | None:
        """Cut a window and write it; why not, where its pixels are not to be had."""
        scan_id, x0, y0, x1, y1 = place
        try:
            receipt = self._receipt(scan_id)
            image = open_image(self._store, scan_id, receipt.um_per_px or 1.0)
            pixels = image.levels[0].read(y0, y1, x0, x1)
            if self._contrast:
                more = {**more, "contrast": self._what_evens(scan_id, image)}
        except (FileNotFoundError, ValueError, SoilpipeError) as error:
            return str(error)
        name = image_name(place)
        done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        (self._folder / name).write_bytes(data.tobytes())
        entry = {"id": len(self.images) + 1, "file_name": name, "width": x1 - x0, "height": y1 - y0}
        entry |= {"scan_id": scan_id, "scanner_id": receipt.scanner_id, "origin": [x0, y0], "dpi": receipt.dpi}
        # Two scans of one scanner and time cannot be told apart as images: the second goes without a time.
        key = (receipt.scanner_id, *place[1:], receipt.captured_at)
        if key not in self._times:
            entry["date_captured"] = receipt.captured_at.isoformat()
        self._times.add(key)
        self.images.append(entry | dict(more))
        return None

    def _what_evens(self, scan_id: str, image: ScanImage) -> str:
        """The name of the file that says what evens a scan, written once."""
        name = f"{scan_id}-contrast.npz"
        if scan_id not in self._evened:
            even_contrast(image).save(self._folder / name)
            self._evened.add(scan_id)
        return name

    def _receipt(self, scan_id: str) -> Receipt:
        if scan_id not in self._receipts:
            receipt = read_receipt(self._store, scan_id)
            self._receipts[scan_id] = at_present(receipt, self._project.scanner(receipt.scanner_id))
        return self._receipts[scan_id]

    def coco(self, which: Which) -> dict[str, Any]:
        info = {"description": f"labels of {self._project.project}, {which} tiles", "simulated": False}
        return {
            "info": info | {"left_out": self.left_out},
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": number, "name": name} for name, number in self._categories.items()],
        }


def _first_animal(taxonomy: Taxonomy) -> str:
    """What a crowd is filed under, which the format asks for; nobody said what the animals are."""
    return next(taxon.name for taxon in taxonomy if not taxon.background)
