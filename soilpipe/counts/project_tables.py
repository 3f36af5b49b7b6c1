"""The series tables that come from the project file alone: sites, scanners, taxa."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pyarrow as pa

from soilpipe.config import Project, Scanner
from soilpipe.config.values import Slots
from soilpipe.schemas import SCANNERS, SITES, TAXA


def project_tables(project: Project) -> Mapping[str, pa.Table]:
    """The tables by name, in the order of the project file."""
    sites = [{"site_id": s.id, "latitude": s.latitude, "longitude": s.longitude} for s in project.sites]
    taxa = [
        {
            "taxon": taxon.name,
            "rank": taxon.rank,
            "parent": taxon.parent,
            "synonyms": list(taxon.synonyms),
            "background": taxon.background,
        }
        for taxon in project.taxonomy
    ]
    return {
        "sites": pa.Table.from_pylist(sites, schema=SITES),
        "scanners": pa.Table.from_pylist([_scanner_row(s) for s in project.scanners], schema=SCANNERS),
        "taxa": pa.Table.from_pylist(taxa, schema=TAXA),
    }


def _scanner_row(scanner: Scanner) -> dict[str, object]:
    return {
        "scanner_id": scanner.id,
        "site_id": scanner.site,
        "timezone": scanner.timezone,
        "slots": slots_in_words(scanner),
        "dpi": scanner.dpi,
        "window_cm2": scanner.window_cm2,
        "depth_cm": scanner.depth_cm,
        "orientation": scanner.orientation,
        "late_after_s": scanner.late_after.total_seconds(),
        "missing_after_s": scanner.missing_after.total_seconds(),
        "from": scanner.from_,
        "until": scanner.until,
    }


def slots_in_words(scanner: Scanner) -> str:
    """The slots as one writes them in the project file; earlier ones with the day until which they held."""
    earlier = [f"{_in_words(plan.slots)} until {plan.until:%Y-%m-%d %H:%M} UTC" for plan in scanner.earlier_slots]
    return "; ".join([*earlier, _in_words(scanner.slots)])


def _in_words(slots: Slots) -> str:
    if isinstance(slots, str):
        return slots
    if isinstance(slots, timedelta):
        seconds = slots.total_seconds()
        return f"every {seconds / 60:g}min" if seconds % 60 == 0 else f"every {seconds:g}s"
    return ", ".join(at.isoformat("seconds" if at.second else "minutes") for at in slots)
