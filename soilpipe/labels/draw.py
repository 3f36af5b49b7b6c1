"""Drawing tiles for people to look at: half at random, half suggested by the stored detections."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from soilpipe.analyses import Analysis, publications, read_analysis
from soilpipe.config import Project, Scanner
from soilpipe.counts.truth import read_detections
from soilpipe.detect.run import suitable_references
from soilpipe.detections import DetectionFile, detected_scans
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.mask_files import read_mask
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import Receipt, list_scan_ids, read_receipt
from soilpipe.ingest.window_mask import USABLE, MaskError
from soilpipe.labels import sampling
from soilpipe.labels.records import Draw, LabellingError, Place, Tile, all_tiles, make_tile_id, read_draws, write_draw
from soilpipe.labels.suggesting import Candidate, candidates_of, suggest
from soilpipe.store import MissingKeyError, Store, canonical_json
from soilpipe.tiles import open_image

TILE_PX = 1024
LEAST_PX, MOST_PX = 128, 4096
MOST_TILES = 10_000
LEAST_USABLE = 0.5
MOST_READ = 4_000
"""Detection files that suggestions are looked for in; of more, a random part is read."""
ONE_SIDED = (
    "suggested tiles come from what the detector found or nearly found; what it passes over altogether shows in the "
    "random half"
)


def draw_tiles(
    project: Project,
    store: Store,
    *,
    tiles: int = 200,
    scanners: Sequence[Scanner] | None = None,
    seed: int = 0,
    tile_px: int = TILE_PX,
) -> tuple[Draw, bool]:
    """Draw tiles and keep the draw; (the draw, whether it is new).

    The first half is a random sample, the other suggested from the detections of the analysis that each scanner shows
    now; where they suggest fewer, so many more are random. The same store and seed give the same draw: asked again, it
    is the one that is there. Places of other draws are not suggested again.

    Raises LabellingError on numbers that make no sense and on a store without scans.
    """
    if not 1 <= tiles <= MOST_TILES:
        raise LabellingError(f"--tiles {tiles}: ask for 1 to {MOST_TILES} tiles")
    if not LEAST_PX <= tile_px <= MOST_PX:
        raise LabellingError(f"--size {tile_px}: a tile has {LEAST_PX} to {MOST_PX} px a side")
    asked_of = tuple(project.scanners if scanners is None else scanners)
    frame = _frame(store, asked_of)
    if not frame:
        names = ", ".join(scanner.id for scanner in asked_of)
        raise LabellingError(f"the store {store.root} has no scan of {names}: `soilpipe run` first")
    analyses = _analyses(store, asked_of)
    detected = {scanner_id: detected_scans(store, analysis.id, scanner_id) for scanner_id, analysis in analyses.items()}
    usable = [scan_id for scan_id, scanner_id in frame if scan_id in detected.get(scanner_id, ())]
    request = {
        "seed": seed,
        "tiles": tiles,
        "tile_px": tile_px,
        "frame": _digest(scan_id for scan_id, _ in frame),
        "analyses": {scanner_id: analysis.id for scanner_id, analysis in analyses.items()},
        "detected": _digest(usable),
    }
    draw_id = hashlib.sha256(canonical_json(request)).hexdigest()[:16]
    before = read_draws(store)
    if draw_id in before:
        return before[draw_id], False
    rng = np.random.default_rng([seed, int(draw_id, 16)])
    notes: list[str] = []
    candidates = _candidates(project, store, usable, analyses, tile_px, rng, notes)
    if not candidates:
        notes.append("no detections are stored for these scans: all tiles are random, none is suggested")
    else:
        notes.append(ONE_SIDED)
    earlier = {tile.place for tile in all_tiles(before.values()).values()}
    # How many can be suggested is known before anything is drawn, so the random tiles keep their chances.
    wanted = len(list(suggest(candidates, tiles // 2, earlier)))
    if candidates and wanted < tiles // 2:
        notes.append(
            f"only {wanted} of {tiles // 2} tiles could be suggested, since no other holds a doubtful or rare "
            f"detection: {tiles - wanted} are random"
        )
    strata = sampling.make_strata(len(frame), tiles - wanted)
    made = _Tiles(project, store, draw_id, tile_px, notes)
    for drawn in sampling.draw_scans(strata, rng):
        made.add_random(frame[drawn.index][0], drawn, strata[drawn.stratum], rng)
    for suggestion in suggest(candidates, wanted, earlier | {tile.place for tile in made.tiles}):
        made.add_suggested(suggestion.place, suggestion.reason)
    if not made.tiles:
        raise LabellingError(f"no tile could be drawn: {notes[0]}")
    draw = Draw(
        draw_id=draw_id,
        seed=seed,
        asked=tiles,
        tile_px=tile_px,
        strata=tuple(strata),
        analyses={scanner_id: analysis.id for scanner_id, analysis in analyses.items()},
        design=sampling.DESIGN,
        estimator=sampling.ESTIMATOR,
        notes=tuple(notes),
        tiles=tuple(sorted(made.tiles, key=lambda tile: tile.tile_id)),
    )
    write_draw(store, draw)
    return draw, True


def _digest(scan_ids: Iterable[str]) -> str:
    """Which scans there were: a list of all of them would be long."""
    digest = hashlib.sha256()
    for scan_id in scan_ids:
        digest.update(f"{scan_id}\n".encode())
    return digest.hexdigest()


def _frame(store: Store, scanners: Iterable[Scanner]) -> list[tuple[str, str]]:
    """(scan_id, scanner_id) of every scan that no decision put aside, by scanner and time."""
    frame: list[tuple[str, str]] = []
    for scanner in sorted(scanners, key=lambda scanner: scanner.id):
        aside = superseded_scans(store, scanner.id)
        ids = [scan_id for scan_id in list_scan_ids(store, scanner.id) if scan_id not in aside]
        times: Mapping[str, datetime] = scan_times(store, scanner, ids)
        frame += [(scan_id, scanner.id) for scan_id in sorted(ids, key=lambda scan_id: (times[scan_id], scan_id))]
    return frame


def _analyses(store: Store, scanners: Iterable[Scanner]) -> dict[str, Analysis]:
    """What each scanner's series shows for its newest scans."""
    found = {}
    for scanner in scanners:
        if published := publications(store, scanner.id):
            found[scanner.id] = read_analysis(store, published[-1].analysis_id)
    return found


def _candidates(
    project: Project,
    store: Store,
    usable: list[str],
    analyses: Mapping[str, Analysis],
    tile_px: int,
    rng: np.random.Generator,
    notes: list[str],
) -> list[Candidate]:
    if len(usable) > MOST_READ:
        notes.append(f"suggestions were looked for in {MOST_READ} of {len(usable)} detected scans, drawn at random")
        usable = [usable[place] for place in sorted(rng.choice(len(usable), MOST_READ, replace=False).tolist())]
    of = {scan_id: analyses[scan_id.rsplit("-", 2)[0]] for scan_id in usable}
    candidates: list[Candidate] = []
    for scan_id, found in read_detections(store, [(of[scan_id].id, scan_id) for scan_id in usable]):
        if isinstance(found, DetectionFile):
            size = _size(store, scan_id, found.metadata)
            candidates += candidates_of(scan_id, found, size, of[scan_id], tile_px, project.taxonomy)
        else:
            notes.append(str(found))
    return candidates


def _size(store: Store, scan_id: str, metadata: Mapping[str, Any]) -> tuple[int, int]:
    if "width_px" in metadata and "height_px" in metadata:
        return int(metadata["width_px"]), int(metadata["height_px"])
    receipt = read_receipt(store, scan_id)
    return receipt.width_px, receipt.height_px


def usable_windows(store: Store, receipt: Receipt, windows: Sequence[sampling.Window]) -> list[sampling.Window]:
    """Those of which half or more is not masked: what lies in the masked part of a scan's window is not counted."""
    try:
        mask = read_mask(store, receipt)
    except (MissingKeyError, MaskError):
        mask = None  # `soilpipe verify` tells; a tile too many costs a person a look
    cell = receipt.quality.mask_cell_px
    if mask is None or cell is None:
        return list(windows)
    usable = mask == USABLE

    def share(window: sampling.Window) -> float:
        x0, y0, x1, y1 = window
        cells = usable[y0 // cell : -(-y1 // cell), x0 // cell : -(-x1 // cell)]
        return float(cells.mean()) if cells.size else 1.0

    return [window for window in windows if share(window) >= LEAST_USABLE]


class _Tiles:
    """The tiles drawn so far; of each scan receipt and references are looked up once."""

    def __init__(self, project: Project, store: Store, draw_id: str, tile_px: int, notes: list[str]) -> None:
        self._project, self._store, self._draw_id, self._tile_px = project, store, draw_id, tile_px
        self._notes = notes
        self._known: dict[str, tuple[Receipt, tuple[str, ...]] | None] = {}
        self.tiles: list[Tile] = []

    def add_random(
        self, scan_id: str, drawn: sampling.DrawnScan, stratum: sampling.Stratum, rng: np.random.Generator
    ) -> None:
        known = self._scan(scan_id)
        if known is None:
            return
        receipt = known[0]
        windows = sampling.tile_windows(receipt.width_px, receipt.height_px, self._tile_px)
        windows = usable_windows(self._store, receipt, windows)
        if not windows:
            self._notes.append(f"{scan_id} was drawn, but nothing of its window can be used: no tile of it")
            return
        probability = sampling.inclusion_probability(stratum, len(windows))
        if len(windows) < drawn.tiles:
            self._notes.append(f"{scan_id} has {len(windows)} tiles, {drawn.tiles} were wanted of it")
        for window in sampling.draw_windows(windows, drawn.tiles, rng):
            self._add((scan_id, *window), "random", inclusion_probability=probability, stratum=drawn.stratum)

    def add_suggested(self, place: Place, reason: str) -> None:
        known = self._scan(place[0])
        if known is not None and usable_windows(self._store, known[0], [place[1:]]):
            self._add(place, "suggested", reason=reason)

    def _add(self, place: Place, how: str, **more: Any) -> None:
        scan_id, x0, y0, x1, y1 = place
        known = self._scan(scan_id)
        assert known is not None
        tile_id = make_tile_id(scan_id, x0, y0, self._draw_id)
        given = {"tile_id": tile_id, "scan_id": scan_id, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "how": how}
        self.tiles.append(Tile.model_validate({**given, "references": known[1], **more}))

    def _scan(self, scan_id: str) -> tuple[Receipt, tuple[str, ...]] | None:
        """Receipt and references; None when the pixels are gone."""
        if scan_id not in self._known:
            self._known[scan_id] = self._look_up(scan_id)
        return self._known[scan_id]

    def _look_up(self, scan_id: str) -> tuple[Receipt, tuple[str, ...]] | None:
        receipt = read_receipt(self._store, scan_id)
        scale = receipt.um_per_px or 1.0
        try:
            open_image(self._store, scan_id, scale)
        except FileNotFoundError:
            self._notes.append(f"{scan_id} was drawn, but its pixels are no longer stored: no tile of it")
            return None
        scanner = self._project.scanner(receipt.scanner_id)
        images = suitable_references(self._store, scanner, receipt, scale)
        return receipt, tuple(str(image.scan_id) for image in images)
