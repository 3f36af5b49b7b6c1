"""Scans whose time is counted by an analysis that can't be made any more, and counting a time by the one of now.

A new release may have another algorithm or another shipped model. What it finds is never mixed into what an older one
counted by itself: a scan that comes late for such a time has no counts until a person says that the time, in whole
days, is to be detected again. Then all its scans are, and its rows show the new analysis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta

from soilpipe import layout
from soilpipe.analyses import Analysis, publish_between, write_analysis
from soilpipe.config import Scanner
from soilpipe.counts.known import known_truth
from soilpipe.counts.undetected import Undetected
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store

NAMED = 3
DAY = timedelta(days=1)


class RedetectError(SoilpipeError):
    """A period cannot be detected again."""


def cannot_be_made(scanner: Scanner, analysis: Analysis, scans: Iterable[Undetected]) -> Iterator[tuple[str, str]]:
    """For scans that wait for an analysis which can't be made: (id of the first, which they are and what mends it).

    One sentence for days that follow one another.
    """
    for days, of_days in _by_days(scanner, scans):
        ids = [scan.scan_id for scan in of_days]
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        yield (
            ids[0],
            f"{', '.join(ids[:NAMED])}{more}: came late, or lost the detections, and that time is counted by analysis "
            f"{analysis.id} ({analysis.detector_name}, version {analysis.detector}), which this release can't make any "
            f"more: its model or algorithm has changed. There are no counts of {'it' if len(ids) == 1 else 'them'} "
            "until you have these days detected again, whole, by the detector of now: `soilpipe redetect --scanner "
            f"{scanner.id} --since {days[0]} --until {days[1]}`",
        )


def _by_days(scanner: Scanner, scans: Iterable[Undetected]) -> Iterator[tuple[tuple[date, date], list[Undetected]]]:
    """Scans by runs of local days: (first and last day, scans)."""
    group: list[Undetected] = []
    days: list[date] = []
    for scan in sorted(scans, key=lambda scan: (scan.captured_at, scan.scan_id)):
        day = scan.captured_at.astimezone(scanner.zone).date()
        if days and day - days[-1] > DAY:
            yield (days[0], days[-1]), group
            group, days = [], []
        group.append(scan)
        days.append(day)
    if group:
        yield (days[0], days[-1]), group


def publish_again(
    store: Store, scanner: Scanner, analysis: Analysis, since: datetime, until: datetime | None
) -> Sequence[str]:
    """Count the time from ``since`` on and before ``until`` (None: to the end) by ``analysis``; gives its scans.

    Nothing is detected here: the next run finds those scans undetected. Older detections are kept, and their counts
    could be published again. Raises RedetectError when the period has no scan, or one without its pixels: it could
    only lose the counts that it has.
    """
    if until is not None and until <= since:
        raise RedetectError(
            f"the period ends ({until:%Y-%m-%d %H:%M} UTC) before it begins ({since:%Y-%m-%d %H:%M} UTC): were --since "
            "and --until exchanged? Nothing was changed"
        )
    truth = known_truth(store, scanner).truth
    scans = [scan_id for scan_id, at in truth.scans if at >= since and (until is None or at < until)]
    if not scans:
        end = f" and before {until:%Y-%m-%d %H:%M}" if until is not None else ""
        raise RedetectError(f"{scanner.id} has no scan from {since:%Y-%m-%d %H:%M} UTC on{end}; nothing was changed")
    done = set(truth.detected.get(analysis.id, ()))
    pixels = {f"{layout.image_zarr(scan_id)}/zarr.json": scan_id for scan_id in scans if scan_id not in done}
    gone = sorted({*pixels} - store.present(pixels))
    if gone:
        raise RedetectError(
            f"the pixels of {len(gone)} of the {len(scans)} scans are not in the store any more, the first of them "
            f"{pixels[gone[0]]}: they cannot be detected again, and would lose the counts that they have. Nothing was "
            "changed; choose days without them"
        )
    write_analysis(store, analysis)
    publish_between(store, scanner.id, analysis.id, since, until)
    return scans
