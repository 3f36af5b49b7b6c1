"""Where labels are wanting to judge by: scanners and days that the hold-out would take, and nobody has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np

from soilpipe.config import Project, Scanner
from soilpipe.detect.split import NEIGHBOURING
from soilpipe.held_out import held_out
from soilpipe.ingest.clock import scan_times
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.ingest.receipts import list_scan_ids
from soilpipe.labels.taken import looked_at_since
from soilpipe.layout import parse_scan_id
from soilpipe.lineage_crops import LearnedCrops, learned_crops
from soilpipe.store import Store

MOST_NAMED = 3  # scanners


def where_to_draw(project: Project, store: Store, encoder: str) -> str:
    """In words, from which scanner and days tiles would count when this encoder is judged.

    The hold-out takes any scan of the scanner that is held out whole, and of the others those that are later than what
    is labelled of them. Of these scans those are named that are more than 72 hours from all that the encoder, or one
    before it, has learned from; where there is none, from when on new ones will be.
    """
    held = held_out(project, store)
    learned = learned_crops(store, encoder, {scanner.id for scanner in project.scanners})
    labelled: dict[str, list[str]] = {}
    for scan_id in looked_at_since(store):
        labelled.setdefault(parse_scan_id(scan_id).scanner_id, []).append(scan_id)
    free: dict[str, list[datetime]] = {}
    later: dict[str, datetime] = {}
    for scanner in project.scanners:
        last = None
        if scanner.id != held.scanner and scanner.id in labelled:
            at_of = scan_times(store, scanner, labelled[scanner.id])
            taught = [at + NEIGHBOURING for scan_id, at in at_of.items() if scan_id not in held.scans]
            last = max([*at_of.values(), *taught])  # what neighbours a scan that training has does not count
        times = [at for at in _times(store, scanner) if last is None or at > last]
        free[scanner.id] = _unlearned(times, learned, scanner.id)
        read = learned.last(scanner.id)
        known = [at for at in (last, None if read is None else read + NEIGHBOURING) if at is not None]
        if known:
            later[scanner.id] = max(known)
    # First the scanner that is held out whole, all of which counts; then where there is most to draw from.
    named = sorted(
        (scanner for scanner, times in free.items() if times),
        key=lambda scanner: (scanner != held.scanner, -len(free[scanner]), scanner),
    )
    if named:
        told = [f"{scanner} taken {_days(free[scanner])}" for scanner in named[:MOST_NAMED]]
        return f"Tiles count from scans of {', or '.join(told)}: nothing was learned from them yet"
    if not later:
        return "Tiles count from any scan that comes"
    first = held.scanner if held.scanner in later else min(later, key=lambda one: (later[one], one))
    return (
        f"All scans that the hold-out would take lie within {NEIGHBOURING.days * 24} hours of what was learned from. "
        f"Tiles count from scans of {first} taken from {later[str(first)]:%Y-%m-%d} on: label some of them before "
        "the next refresh reads them"
    )


def _times(store: Store, scanner: Scanner) -> list[datetime]:
    """When the accepted scans of a scanner were taken, in order."""
    aside = superseded_scans(store, scanner.id)
    ids = [scan_id for scan_id in list_scan_ids(store, scanner.id) if scan_id not in aside]
    return sorted(scan_times(store, scanner, ids).values())


def _unlearned(times: Sequence[datetime], learned: LearnedCrops, scanner: str) -> list[datetime]:
    there = learned.scanners.get(scanner)
    if learned.unknown:
        return []
    if there is None:
        return list(times)
    at = np.sort(there.at)
    return [time for time in times if _nearest(at, time.timestamp()) > NEIGHBOURING.total_seconds()]


def _nearest(at: np.ndarray, time: float) -> float:
    place = int(np.searchsorted(at, time))
    return float(np.abs(at[max(0, place - 1) : place + 1] - time).min())


def _days(times: Sequence[datetime]) -> str:
    """The newest run of days without a gap of more than one."""
    days = sorted({time.date() for time in times})
    first: date = days[-1]
    for day in reversed(days):
        if first - day > timedelta(days=2):
            break
        first = day
    return f"on {first}" if first == days[-1] else f"from {first} to {days[-1]}"
