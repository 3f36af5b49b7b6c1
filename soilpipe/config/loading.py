"""From the project file to a `Project`: every key read where it stands, every problem found before one is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from soilpipe.config import places, values
from soilpipe.config.checks import Block, check_scanners, check_sites
from soilpipe.config.clock import read_clock
from soilpipe.config.document import Document, Findings, read_document
from soilpipe.config.errors import ConfigError, Where, suggestion
from soilpipe.config.models import Project, Scanner, Site
from soilpipe.config.refresh import read_refresh
from soilpipe.config.slot_plans import WrittenPlans, parse_slot_plans
from soilpipe.config.taxa import read_taxa

Parser = Callable[[object], Any]

SITE_KEYS: Mapping[str, Parser] = {
    "id": values.parse_id,
    "latitude": values.parse_latitude,
    "longitude": values.parse_longitude,
}
MAY_BE_EMPTY = ("latitude", "longitude", "dpi", "window_cm2", "depth_cm", "done_marker", "from", "until", "taxa")


def parse_options(value: object) -> dict[str, Any]:
    """A free-form mapping for s3fs; it may hold secrets, so its errors show nothing of it."""
    if not isinstance(value, dict):
        raise ValueError("is no mapping. Write {} or options of s3fs, such as {anon: true}")
    return value


def scanner_keys(folder: Path) -> Mapping[str, Parser]:
    """The keys of a scanner, all but `id` also allowed at the top as defaults; `folder` is the project file's."""
    return {
        "id": values.parse_id,
        "site": values.parse_id,
        "inbox": partial(places.parse_place, folder=folder),
        "inbox_options": parse_options,
        "filename": places.parse_filename,
        "dpi": values.parse_dpi,
        "window_cm2": values.parse_window,
        "depth_cm": values.parse_depth,
        "orientation": values.parse_orientation,
        "colours": values.parse_colours,
        "timezone": values.parse_timezone,
        "slots": parse_slot_plans,
        "late_after": values.parse_duration,
        "missing_after": values.parse_duration,
        "settle": values.parse_duration,
        "done_marker": places.parse_done_marker,
        "from": values.parse_moment,
        "until": values.parse_moment,
    }


def project_keys(folder: Path) -> Mapping[str, Parser]:
    """The keys that stand only at the top, without the lists (sites, scanners, taxa)."""
    return {
        "project": values.parse_id,
        "store": partial(places.parse_place, folder=folder),
        "storage_options": parse_options,
        "max_pixels": values.parse_pixels,
        "max_memory": values.parse_size,
        "detector": places.parse_detector,
        "keep_originals": values.parse_boolean,
        "dask": places.parse_scheduler,
    }


NEEDED = ("project", "store", "id", "site", "inbox", "timezone")
LIST_KEYS = ("sites", "scanners", "taxa", "clock")
BLOCK_KEYS = ("refresh",)


def load_project(path: str | Path) -> Project:
    """Read and check a project file; ConfigError with every problem of it."""
    file = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would leave the folder of a link
    document = read_document(file)
    findings = Findings(document)
    project = _read_project(document, findings)
    if project is None or findings.problems:
        raise ConfigError(file, sorted(findings.problems, key=lambda problem: problem.line or 0))
    return project


def _read_project(document: Document, findings: Findings) -> Project | None:
    top, folder = document.value, document.file.parent
    if not isinstance(top, dict):
        findings.tell((), "is no list of `key: value` lines. `soilpipe init` writes a file to start from")
        return None
    of_project, of_scanner = project_keys(folder), scanner_keys(folder)
    defaults = {key: parser for key, parser in of_scanner.items() if key != "id"}
    _tell_unknown(top, (), (*of_project, *LIST_KEYS, *BLOCK_KEYS, *defaults), findings)
    own = _read_keys(top, (), of_project, findings)
    default = _read_keys(top, (), defaults, findings)
    for key in ("project", "store"):
        if key not in top:
            findings.tell((), f"`{key}` is missing. Write {key}: {'my_project' if key == 'project' else './store'}")
    taxonomy = read_taxa(top.get("taxa"), findings)
    sites = _read_sites(top, findings)
    scanners = _read_scanners(top, default, own, of_scanner, findings)
    check_sites(sites, findings)
    check_scanners(scanners, sites, own.get("store"), findings, sites_declared="sites" in top)
    known = {scanner.parsed["id"]: _zone(scanner.parsed) for scanner in scanners if "id" in scanner.parsed}
    clock = read_clock(top.get("clock"), known, findings)
    refresh = read_refresh(top.get("refresh"), findings)
    if findings.problems or taxonomy is None:
        return None
    zones = {scanner.parsed["timezone"] for scanner in scanners}
    return Project(
        **own,
        path=document.file,
        timezone=default.get("timezone") or (zones.pop() if len(zones) == 1 else "UTC"),
        sites=tuple(Site(**site.parsed) for site in sites),
        scanners=tuple(Scanner(**scanner.parsed, clock=clock.get(scanner.parsed["id"], ())) for scanner in scanners),
        taxonomy=taxonomy,
        refresh=refresh,
    )


def _read_sites(top: Mapping[str, Any], findings: Findings) -> list[Block]:
    blocks = []
    for where, mapping in _mappings(top, "sites", "{id: my_site, latitude: 43.61, longitude: 3.87}", findings):
        _tell_unknown(mapping, where, SITE_KEYS, findings)
        if "id" not in mapping:
            findings.tell(where, "`id` is missing. Write id: and the name of the site")
        blocks.append(Block(where, mapping, _read_keys(mapping, where, SITE_KEYS, findings)))
    return blocks


def _read_scanners(
    top: Mapping[str, Any],
    default: Mapping[str, Any],
    own: Mapping[str, Any],
    keys: Mapping[str, Parser],
    findings: Findings,
) -> list[Block]:
    blocks = []
    # `storage_options` in a scanner is how the design spells the options of its inbox.
    known = {**keys, "storage_options": parse_options}
    needed = {"id": "A20", "site": "my_site", "inbox": "./inbox/A20", "timezone": "Europe/Paris"}
    for where, mapping in _mappings(top, "scanners", "{id: A20, site: my_site, inbox: ./inbox/A20}", findings):
        _tell_unknown(mapping, where, known, findings, elsewhere=(*project_keys(Path()), *LIST_KEYS, *BLOCK_KEYS))
        for key, example in needed.items():
            if key not in mapping and (key == "id" or key not in top):
                further = "" if key == "id" else ", here or at the top for all scanners"
                findings.tell(where, f"`{key}` is missing. Write {key}: {example}{further}")
        if "storage_options" in mapping and "inbox_options" in mapping:
            findings.tell((*where, "storage_options"), "says the same as inbox_options. Keep one of them")
        read = _read_keys(mapping, where, known, findings)
        options = read.pop("storage_options", None)
        merged = {**default, **read}
        if options is not None:
            merged["inbox_options"] = options
        if "inbox_options" not in merged and str(merged.get("inbox")).startswith("s3://"):
            merged["inbox_options"] = own.get("storage_options", {})
        _settle_moments(merged, where, mapping, findings)
        blocks.append(Block(where, mapping, merged))
    return blocks


def _settle_moments(merged: dict[str, Any], where: Where, mapping: Mapping[str, Any], findings: Findings) -> None:
    """Turn `from`, `until` and the beginnings of plans into UTC, in the scanner's own zone.

    A date as `until` means the end of that day.
    """
    zone = _zone(merged)
    for key in ("from", "until"):
        moment = merged.get(key)
        if isinstance(moment, date):
            try:
                merged[key] = values.in_zone(moment, zone, end_of_day=key == "until")
            except ValueError as error:
                findings.tell((*where, key) if key in mapping else (key,), str(error))
                del merged[key]
    plans = merged.get("slots")
    if isinstance(plans, WrittenPlans):
        try:
            merged["earlier_slots"], merged["slots"] = plans.in_zone(zone)
        except ValueError as error:
            findings.tell((*where, "slots") if "slots" in mapping else ("slots",), str(error))
            del merged["slots"]


def _zone(scanner: Mapping[str, Any]) -> ZoneInfo:
    """The zone of a scanner as far as it could be read; UTC where that was wrong, which is told elsewhere."""
    return ZoneInfo(scanner.get("timezone", "UTC"))


def _mappings(
    top: Mapping[str, Any], key: str, example: str, findings: Findings
) -> list[tuple[Where, Mapping[str, Any]]]:
    """The blocks of a list of mappings, with where they stand."""
    items = top.get(key)
    if items is None or items == []:
        findings.tell((key,) if key in top else (), f"there are no {key}. Write {key}: [{example}]")
        return []
    if not isinstance(items, list):
        findings.tell((key,), f"is no list. Begin each of the {key} with a dash: - {example}")
        return []
    blocks: list[tuple[Where, Mapping[str, Any]]] = []
    for i, item in enumerate(items):
        if isinstance(item, dict):
            blocks.append(((key, i), item))
        else:
            findings.tell((key, i), f"is no block of `key: value` lines. Write - {example}")
    return blocks


def _read_keys(
    mapping: Mapping[str, Any], where: Where, parsers: Mapping[str, Parser], findings: Findings
) -> dict[str, Any]:
    """The values that are right, parsed; the others are told."""
    read: dict[str, Any] = {}
    for key, parser in parsers.items():
        if key not in mapping:
            continue
        value = mapping[key]
        if value is None:
            if key in MAY_BE_EMPTY:
                read[key] = None
            elif key.endswith("_options"):
                read[key] = {}
            else:
                remedy = "Write one behind the colon" + ("" if key in NEEDED else ", or take the line out")
                findings.tell((*where, key), f"has no value. {remedy}")
            continue
        try:
            read[key] = parser(value)
        except ValueError as error:
            findings.tell((*where, key), str(error))
    return read


def _tell_unknown(
    mapping: Mapping[str, Any],
    where: Where,
    known: Mapping[str, Any] | tuple[str, ...],
    findings: Findings,
    elsewhere: tuple[str, ...] = (),
) -> None:
    for key in mapping:
        if key in known:
            continue
        if key in elsewhere:
            findings.tell((*where, key), "belongs to the whole project. Move it to the top of the file")
        else:
            findings.tell((*where, key), f"is an unknown key: {suggestion(key, tuple(known))}")
