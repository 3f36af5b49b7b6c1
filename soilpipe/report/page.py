"""The report: reports/index.html for all scanners, reports/<scanner>.html for each, and their pictures.

Pages are a function of the series, the open quarantine and the project file. Each scanner's page carries a digest of
what it was made from, so that an unchanged scanner costs a few reads and no drawing, and a second run changes no byte.
Nothing on a page comes from elsewhere: no script, no font, no address outside the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from soilpipe import __version__, layout
from soilpipe.config import Project, Scanner
from soilpipe.ingest.clock import at_present
from soilpipe.ingest.quarantine import Quarantined, open_quarantine
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
from soilpipe.report.tables import ReadTable, SeriesKeys, list_series, read_table
from soilpipe.report.words import STATES, banner, validation_note, validation_words
from soilpipe.store import Store
from soilpipe.tiles import open_image

INDEX = "index.html"
NEWEST_SCANS = 2
DETAIL_SLOTS = 56  # a second plot of the newest two weeks, where the whole series is drawn by day or by week
OVERLAY_SIDE = 1200  # px
PAGE_VERSION = 2  # raised when pages change for equal input, so that they are made again


def write_report(project: Project, store: Store, scanners: Collection[str] | None = None) -> list[str]:
    """Write the pages; returns the keys that changed. `scanners`: whose own pages to look at, all when None.

    The index is always written, for all scanners. A file whose bytes would be equal is left alone.
    """
    written: list[str] = []
    keys = list_series(store)
    environment = _environment()
    for scanner in project.scanners:
        if scanners is None or scanner.id in scanners:
            written += _write_scanner(project, scanner, store, keys, environment)
    rows = [_index_row(scanner, store, keys) for scanner in project.scanners]
    validations = {name for row in rows for name in row["summary"].validations}
    page = environment.get_template(INDEX).render(
        project=project, rows=rows, banner=banner(validations), states=STATES, root="", version=__version__
    )
    return written + _put(store, layout.report(INDEX), page.encode())


def page_name(scanner_id: str) -> str:
    """File name of a scanner's page. A scanner called `index` must not take the index's place; ids hold no dot."""
    return f"{scanner_id}.page.html" if scanner_id.lower() == "index" else f"{scanner_id}.html"


def _index_row(scanner: Scanner, store: Store, keys: SeriesKeys) -> dict[str, Any]:
    """A line of the index: all slots, but only the newest year of the far larger counts."""
    slots = read_table(store, "slots", keys.slots.get(scanner.id, ()))
    counts = read_table(store, "counts", keys.counts.get(scanner.id, ())[-1:])
    summary = summarize(slots.frame, counts.frame, slots.as_of, scanner.zone)
    return {
        "scanner": scanner,
        "page": page_name(scanner.id),
        "summary": summary,
        "refused": open_quarantine(store, scanner),
        "validation": validation_words(summary.validations),
    }


def _write_scanner(
    project: Project, scanner: Scanner, store: Store, keys: SeriesKeys, environment: Environment
) -> list[str]:
    slots = read_table(store, "slots", keys.slots.get(scanner.id, ()))
    counts = read_table(store, "counts", keys.counts.get(scanner.id, ()))
    detections = read_table(store, "detections", keys.detections.get(scanner.id, ())[-1:])
    refused = open_quarantine(store, scanner)
    digest = _digest(project, scanner, (slots, counts, detections), refused)
    key = layout.report(page_name(scanner.id))
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
        refused=[(item, local(at_present(item, scanner).captured_at, scanner.zone)) for item in refused],
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


def _digest(project: Project, scanner: Scanner, tables: Sequence[ReadTable], refused: Sequence[Quarantined]) -> str:
    """sha256 over everything that a scanner's page is made from."""
    parts = {
        "page": [PAGE_VERSION, __version__],
        "project": project.project,
        "scanner": json.loads(scanner.model_dump_json(exclude={"inbox", "inbox_options"})),
        "taxa": list(project.taxonomy.names),
        "tables": [[table.digest, table.as_of] for table in tables],
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
