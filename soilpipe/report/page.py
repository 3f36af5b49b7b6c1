"""The report: reports/index.html for all scanners, reports/<scanner>.html for each, and their pictures.

Pages are a function of the series, the open quarantine and the project file. Each scanner's page carries a digest of
what it was made from, so that an unchanged scanner costs a few reads and no drawing, and a second run changes no byte.
Nothing on a page comes from elsewhere: no script, no font, no address outside the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from soilpipe import __version__, layout
from soilpipe.config import Project, Scanner
from soilpipe.counts import series_state
from soilpipe.counts.series_state import SeriesState
from soilpipe.ingest.clock import at_present
from soilpipe.ingest.quarantine import Quarantined, open_quarantine
from soilpipe.report.lines import IndexLine, line_of, load_line, save_line
from soilpipe.report.overlay import overlay_picture
from soilpipe.report.plots import counts_figure, timeline
from soilpipe.report.summary import (
    ScannerSummary,
    local,
    never_found,
    newest_scans,
    slot_rows,
    summarize,
    taxon_rows,
)
from soilpipe.report.tables import (
    ReadTable,
    SeriesKeys,
    digest_of,
    known_series,
    list_series,
    newest_counted,
    read_table,
)
from soilpipe.report.words import STATES, banner, validation_note, validation_words
from soilpipe.store import Store
from soilpipe.tiles import open_image

INDEX = "index.html"
NEWEST_SCANS = 2
DETAIL_SLOTS = 56  # a second plot of the newest two weeks, where the whole series is drawn by day or by week
OVERLAY_SIDE = 1200  # px
PAGE_VERSION = 4  # raised when pages change for equal input, so that they are made again


def write_report(
    project: Project, store: Store, scanners: Collection[str] | None = None, *, known: bool = False
) -> list[str]:
    """Write the pages; returns the keys that changed. `scanners`: whose own pages to look at, all when None.

    The index is always written, for all scanners. A file whose bytes would be equal is left alone. `known`: what the
    last run of each scanner noted of its series is believed, so that a run with nothing new reads and lists none.
    """
    written: list[str] = []
    listed = _Listed(store)
    environment = _environment()
    rows: list[dict[str, Any]] = []
    for scanner in project.scanners:
        line = load_line(store, scanner.id) if known else None
        looked_at = scanners is None or scanner.id in scanners
        # Of the others, what their own last run noted is enough.
        state = series_state.load(store, scanner.id) if known and (looked_at or line is None) else None
        if looked_at:
            written += _write_scanner(project, scanner, store, listed, state, environment)
        rows.append(_index_row(scanner, store, listed, state, line))
    validations = {name for row in rows for name in row["summary"].validations}
    page = environment.get_template(INDEX).render(
        project=project, rows=rows, banner=banner(validations), states=STATES, root="", version=__version__
    )
    return written + _put(store, layout.report(INDEX), page.encode())


class _Listed:
    """The keys of all series, listed at most once, and only when asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def keys(self) -> SeriesKeys:
        return list_series(self._store)


def page_name(scanner_id: str) -> str:
    """File name of a scanner's page. A scanner called `index` must not take the index's place; ids hold no dot."""
    return f"{scanner_id}.page.html" if scanner_id.lower() == "index" else f"{scanner_id}.html"


def _index_row(
    scanner: Scanner, store: Store, listed: _Listed, state: SeriesState | None, line: IndexLine | None
) -> dict[str, Any]:
    """A line of the index: all slots, but only the newest counted year of the far larger counts."""
    made_from = "" if state is None else digest_of([*state.files("slots").values(), *state.files("counts").values()])
    if state is not None and (line is None or (line.made_from, list(line.refused)) != (made_from, state.refused)):
        line = None
    if line is None:
        keys = listed.keys if state is None else known_series(state, scanner.id)
        slots = read_table(store, "slots", keys.slots.get(scanner.id, ()))
        counts = newest_counted(store, keys.counts.get(scanner.id, ()))
        summary = summarize(slots.frame, counts.frame, slots.as_of, scanner.zone)
        line = line_of(made_from, summary, open_quarantine(store, scanner) if state is None else state.refused)
        save_line(store, scanner.id, line)
    return {
        "scanner": scanner,
        "page": page_name(scanner.id),
        "summary": line.summary,
        "refused": line.refused,
        "validation": validation_words(line.summary.validations),
    }


def _write_scanner(
    project: Project,
    scanner: Scanner,
    store: Store,
    listed: _Listed,
    state: SeriesState | None,
    environment: Environment,
) -> list[str]:
    key = layout.report(page_name(scanner.id))
    found = open_quarantine(store, scanner) if state is None else state.refused
    refused = [at_present(item, scanner) for item in found]
    if state is not None:
        files = [list(state.files(table).values()) for table in ("slots", "counts", "detections")]
        digests = [digest_of(files[0]), digest_of(files[1]), digest_of(files[2][-1:])]
        if _made_from(store, key) == _digest(project, scanner, digests, refused):
            return []
    keys = listed.keys if state is None else known_series(state, scanner.id)
    slots = read_table(store, "slots", keys.slots.get(scanner.id, ()))
    counts = read_table(store, "counts", keys.counts.get(scanner.id, ()))
    detections = read_table(store, "detections", keys.detections.get(scanner.id, ())[-1:])
    digest = _digest(project, scanner, [table.digest for table in (slots, counts, detections)], refused)
    if _made_from(store, key) == digest:
        return []
    summary = summarize(slots.frame, counts.frame, slots.as_of, scanner.zone)
    # Pictures first: a page never points at one that is not there.
    plots, written = _write_plots(project, scanner, store, slots, counts)
    overlays, drawn = _write_overlays(project, scanner, store, slots, counts, detections, summary)
    page = environment.get_template("scanner.html").render(
        project=project,
        scanner=scanner,
        summary=summary,
        banner=banner(summary.validations),
        states=STATES,
        plots=plots,
        overlays=overlays,
        refused=[(item, local(item.captured_at, scanner.zone)) for item in refused],
        taxa=taxon_rows(counts.frame, _depths(project)),
        never=never_found(counts.frame),
        slots=slot_rows(slots.frame, counts.frame, scanner.zone),
        dpis=sorted({f"{dpi:g}" for dpi in slots.frame["dpi"].dropna()}),
        digest=digest,
        version=__version__,
    )
    return written + drawn + _put(store, key, page.encode())


def _write_plots(
    project: Project, scanner: Scanner, store: Store, slots: ReadTable, counts: ReadTable
) -> tuple[list[dict[str, str]], list[str]]:
    """The whole series, and where that is too long to show each slot, the newest two weeks as well."""
    whole = {"file": f"{scanner.id}/counts.png", "caption": "Counts through time"}
    plots, frames = [whole], [slots.frame]
    if len(slots.frame) > 4 * DETAIL_SLOTS:
        plots.append({"file": f"{scanner.id}/newest.png", "caption": "The newest slots, scan by scan"})
        frames.append(slots.frame.tail(DETAIL_SLOTS))
    written: list[str] = []
    for plot, frame in zip(plots, frames, strict=True):
        shown = counts.frame[counts.frame["slot"].isin(frame["slot"])]
        picture = counts_figure(frame, shown, zone=scanner.timezone, title=scanner.id, taxonomy=project.taxonomy)
        written += _put(store, layout.report(plot["file"]), picture)
        plot["alt"] = _alt_text(frame, shown)
    return plots, written


def _alt_text(slots: Any, counts: Any) -> str:
    found = timeline(slots, counts).reported[:3]
    most = f"; found most: {', '.join(found)}" if found else ""
    return f"Plot of the counts of {len(slots)} slots{most}. The numbers are in series/counts."


def _write_overlays(
    project: Project,
    scanner: Scanner,
    store: Store,
    slots: ReadTable,
    counts: ReadTable,
    detections: ReadTable,
    summary: ScannerSummary,
) -> tuple[list[dict[str, str]], list[str]]:
    overlays: list[dict[str, str]] = []
    written: list[str] = []
    for place, row in enumerate(newest_scans(slots.frame, counts.frame, NEWEST_SCANS), start=1):
        found = detections.frame[detections.frame["scan_id"] == row["scan_id"]]
        n = int(counts.frame.loc[counts.frame["slot"] == row["slot"], "n"].sum())
        if n and not len(found):
            continue  # it is of a year whose detections were not read
        try:
            image = open_image(store, row["scan_id"], 25400 / row["dpi"] if row["dpi"] > 0 else 0.0)
        except FileNotFoundError:
            continue  # its pixels have expired
        when = local(row["captured_at"], scanner.zone)
        picture = overlay_picture(
            image,
            found,
            max_side=OVERLAY_SIDE,
            orientation=scanner.orientation,
            title=f"{scanner.id} · {when} ({scanner.timezone})",
            note=f"{len(found)} boxes · {validation_note(summary.validations)} · {row['scan_id']}",
            taxonomy=project.taxonomy,
        )
        file = f"{scanner.id}/overlay-{place}.png"
        written += _put(store, layout.report(file), picture)
        overlays.append({"file": file, "when": when, "boxes": str(len(found)), "scan_id": row["scan_id"]})
    return overlays, written


def _depths(project: Project) -> dict[str, int]:
    taxonomy = project.taxonomy
    return {name: len(taxonomy.ancestors(name)) for name in taxonomy.names}


def _digest(project: Project, scanner: Scanner, tables: Sequence[str], refused: Sequence[Quarantined]) -> str:
    """sha256 over everything that a scanner's page is made from."""
    parts = {
        "page": [PAGE_VERSION, __version__],
        "project": project.project,
        "scanner": json.loads(scanner.model_dump_json(exclude={"inbox", "inbox_options"})),
        "taxa": list(project.taxonomy.names),
        "tables": list(tables),
        "refused": [json.loads(item.model_dump_json()) for item in refused],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _made_from(store: Store, key: str) -> str | None:
    """The digest that the page in the store carries."""
    if not store.exists(key):
        return None
    _, found, rest = store.read_bytes(key)[:4000].partition(b'name="soilpipe-made-from" content="')
    return rest[:64].decode("ascii", "replace") if found else None


def _put(store: Store, key: str, data: bytes) -> list[str]:
    return [key] if store.write_if_changed(key, data) else []


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("soilpipe.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["page_name"] = page_name
    return environment
