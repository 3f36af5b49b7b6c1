"""One file from the inbox to a scan in the store, or to quarantine.

The order is what makes it safe to kill at any moment: the original, the image, and last the receipt. Everything
before the receipt goes to paths that hold the content's hash, and a second run writes the same bytes there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from soilpipe import __version__, layout
from soilpipe.cluster import join_cluster
from soilpipe.config import Project, Scanner
from soilpipe.ingest.ahead import ReadAhead, reading_ahead
from soilpipe.ingest.arrivals import Arrival, waiting
from soilpipe.ingest.checksums import check, confirmed_by, problems, told_checksums
from soilpipe.ingest.clock import shown_utc, to_utc
from soilpipe.ingest.colours import colours_of
from soilpipe.ingest.conflicts import AcceptedScans, Conflict, check_conflicts, check_twins, live_scans_at
from soilpipe.ingest.dpi import dpi_doubt
from soilpipe.ingest.index import remember
from soilpipe.ingest.mask_files import write_mask
from soilpipe.ingest.outcomes import Candidate, Kind, Outcome
from soilpipe.ingest.quality import QualityMeter
from soilpipe.ingest.quarantine import Quarantined, quarantine, quarantined_as
from soilpipe.ingest.readers import Reader, Refused, open_reader
from soilpipe.ingest.receipts import FileRecord, Receipt, read_receipt, write_receipt
from soilpipe.ingest.zarr_writer import describe_files, write_image
from soilpipe.store import Inbox, Store

__all__ = ["Candidate", "Outcome", "examine", "ingest_file", "live_scans_at", "sha256_of", "waiting"]


def ingest_file(
    project: Project,
    scanner: Scanner,
    store: Store,
    arrival: Arrival,
    now: datetime,
    accepted: AcceptedScans | None = None,
) -> Outcome:
    """Take one file from the inbox. ``accepted``: what a run knows of the scans that are there, for all its files.

    Whatever is wrong with the file is an Outcome. Raises SoilpipeError for what is not its fault (a full disk, a
    store or an inbox that cannot be reached); the file then stays in the inbox and is taken by the next run.
    """
    inbox = Inbox(scanner.inbox, scanner.inbox_options)
    try:
        entry = inbox.stat(arrival.entry)
        if entry is not None and not arrival.entry.is_now(entry):
            return _still_changing(arrival.name)
        with inbox.open_local(arrival.entry) as path, reading_ahead(_opened(project, path, arrival.name)) as ahead:
            candidate = Candidate(
                name=arrival.name,
                entry=replace(arrival.entry, changed=entry.changed) if entry else arrival.entry,
                path=path,
                sha256=sha256_of(path),
                device_time=arrival.device_time,
                name_problem=arrival.name_problem,
                told=told_checksums(inbox, arrival.entry, arrival.name),
            )
            outcome = _examine(project, scanner, store, candidate, now, ahead, inbox, accepted)
    except FileNotFoundError:
        if inbox.stat(arrival.entry) is not None:
            raise
        reason = f"{arrival.name} was in the inbox {scanner.inbox} but went away before it was read to its end."
        return Outcome("vanished", arrival.name, reason=reason)
    if outcome.kind != "vanished":
        held_as = outcome.scan_id if outcome.kind in ("accepted", "repeat") else None
        remember(store, scanner.id, arrival.name, arrival.entry, candidate.sha256, outcome.kind, held_as)
    return outcome


def examine(project: Project, scanner: Scanner, store: Store, candidate: Candidate, now: datetime) -> Outcome:
    """Accept, refuse or set beside as a conflict a file that a person has decided on, or that is tried again."""
    with reading_ahead(_opened(project, candidate.path, candidate.name, candidate.accepted)) as ahead:
        return _examine(project, scanner, store, candidate, now, ahead)


def _opened(project: Project, path: Path, name: str, any_suffix: bool = False) -> Callable[[], Reader]:
    limits = {"max_pixels": project.max_pixels, "max_memory": project.max_memory}
    return lambda: open_reader(path, **limits, name=name, any_suffix=any_suffix)


def _examine(
    project: Project,
    scanner: Scanner,
    store: Store,
    candidate: Candidate,
    now: datetime,
    ahead: ReadAhead,
    inbox: Inbox | None = None,
    accepted: AcceptedScans | None = None,
) -> Outcome:
    """``ahead``: the candidate's file, being read. ``inbox``: watched for a file that changes while it is read."""
    time = candidate.device_time
    accepted = accepted or AcceptedScans(store, scanner.id)
    try:
        if time is not None and (known := _known(scanner, store, candidate, time, accepted)):
            return known
        if not candidate.accepted:
            check(candidate.told, candidate.sha256)
        if time is None:
            time, time_from = _time_in_file(ahead.reader, candidate), "file"
            if known := _known(scanner, store, candidate, time, accepted):
                return known
        else:
            time_from = candidate.time_from
        if not candidate.accepted:
            at = to_utc(time, scanner, candidate.entry.modified)
            check_conflicts(scanner, store, candidate.sha256, at, ahead, accepted)
        outcome = _take(project, scanner, store, candidate, ahead, time, time_from, inbox)
        if outcome.kind == "accepted" and not candidate.accepted:
            scan_id = layout.make_scan_id(scanner.id, time, candidate.sha256)
            accepted.add(scan_id)
            check_twins(scanner, store, scan_id, to_utc(time, scanner, candidate.entry.modified))
        return outcome
    except Refused as refusal:
        refused = _refusal(scanner, candidate, time, refusal.code, refusal.reason, refusal.remedy, None, now)
        kind: Kind = "refused"
    except Conflict as conflict:
        accept = f"soilpipe quarantine accept {scanner.id}"
        remedy = (
            f"Neither is counted until a person has looked at both: `{accept} {candidate.sha256[:12]}` takes the file, "
            f"`{accept} {conflict.scan_id}` keeps the scan."
        )
        refused = _refusal(scanner, candidate, time, conflict.code, conflict.reason, remedy, conflict.scan_id, now)
        kind = "conflict"
    if _changed(inbox, candidate):
        return _still_changing(candidate.name)
    if not candidate.again and _refused_before(store, refused):
        return Outcome("repeat", candidate.name, reason=refused.reason, sha256=candidate.sha256)
    if not quarantine(store, candidate.path, refused):
        return _still_changing(candidate.name)
    reason = f"{candidate.name}: {refused.reason} {refused.remedy}"
    return Outcome(kind, candidate.name, scan_id=refused.conflicts_with, reason=reason, sha256=candidate.sha256)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known(
    scanner: Scanner, store: Store, candidate: Candidate, time: datetime, accepted: AcceptedScans
) -> Outcome | None:
    """A repeat: this content is a scan of this time already, or was refused for it before.

    A scan of another time of the device is of this time too, where a `clock:` entry says so.
    """
    scan_id = layout.make_scan_id(scanner.id, time, candidate.sha256)
    if not store.exists(layout.receipt(scan_id)):
        own = to_utc(time, scanner, candidate.entry.modified)
        live = live_scans_at(scanner, store, own, accepted) if scanner.clock else []
        same = [live_id for live_id in live if live_id.endswith(candidate.sha256[:8])]
        scan_id = next(iter(same), scan_id)
    if store.exists(layout.receipt(scan_id)) and read_receipt(store, scan_id).sha256 == candidate.sha256:
        return Outcome("repeat", candidate.name, scan_id, f"the same bytes as scan {scan_id}", candidate.sha256)
    if candidate.accepted or candidate.again:
        return None
    for earlier in quarantined_as(store, scanner.id, candidate.sha256):
        if earlier.device_time == time:
            reason = f"the same bytes as {earlier.source_name}, refused before: {earlier.reason}"
            return Outcome("repeat", candidate.name, None, reason, candidate.sha256)
    return None


def _refused_before(store: Store, refused: Quarantined) -> bool:
    """Bytes without any time, refused before under the same name."""
    return any(
        earlier.device_time == refused.device_time and earlier.source_name == refused.source_name
        for earlier in quarantined_as(store, refused.scanner_id, refused.sha256)
    )


def _time_in_file(reader: Reader, candidate: Candidate) -> datetime:
    if reader.captured is None:
        problem = candidate.name_problem or f"the name {candidate.name!r} holds no time"
        raise Refused(
            "unreadable_time",
            f"Nobody can tell when it was scanned: {problem}, and the file itself holds no time either.",
            "Rename the file by the pattern, correct `filename` in the project file, or accept it with its time.",
        )
    return reader.captured


def _take(
    project: Project,
    scanner: Scanner,
    store: Store,
    candidate: Candidate,
    ahead: ReadAhead,
    time: datetime,
    time_from: str,
    inbox: Inbox | None,
) -> Outcome:
    reader = ahead.reader
    scan_id = layout.make_scan_id(scanner.id, time, candidate.sha256)
    dpi = reader.dpi or scanner.dpi
    dpi_from = "file" if reader.dpi else "project" if dpi else "unknown"
    meter = QualityMeter(dpi)
    shape = (reader.height, reader.width)
    key = layout.image_zarr(scan_id)
    colours = colours_of(reader.icc, scanner.colours)
    alone = join_cluster(project.dask)
    bands = meter.watch(colours.applied(ahead.bands()))
    digests = write_image(bands, shape, store, key, scan_id, 25_400.0 / dpi if dpi else None)
    alone = alone or join_cluster(project.dask)  # it may have been lost meanwhile
    quality, mask = meter.result()
    image = describe_files(store, layout.scan_folder(scan_id), key, shape, digests)
    files = (*image, write_mask(store, scan_id, mask))
    if project.keep_originals:
        original = layout.original(scan_id, PurePosixPath(candidate.name).suffix.lower() or ".bin")
        copied = store.put_file(candidate.path, original)
        if copied != candidate.sha256:
            return _still_changing(candidate.name)
        files += (FileRecord(path=original.rpartition("/")[2], size=candidate.path.stat().st_size, sha256=copied),)
    if _changed(inbox, candidate):
        return _still_changing(candidate.name)
    receipt = Receipt(
        scan_id=scan_id,
        scanner_id=scanner.id,
        site_id=scanner.site,
        sha256=candidate.sha256,
        source_name=candidate.name,
        source_size=candidate.entry.size,
        source_modified=candidate.entry.modified,
        source_version=candidate.entry.version,
        captured_at=shown_utc(time, scanner),
        device_time=time,
        time_from=time_from,
        timezone=scanner.timezone,
        dpi=dpi,
        dpi_from=dpi_from,
        width_px=reader.width,
        height_px=reader.height,
        format=reader.format,
        checksum_from=confirmed_by(candidate.told, candidate.sha256),
        orientation=scanner.orientation,
        colours=colours.told,
        quality=quality,
        code_version=__version__,
        files=tuple(sorted(files, key=lambda record: record.path)),
    )
    write_receipt(store, receipt)
    doubts = (problems(candidate.told), colours.doubt, dpi_doubt(scanner, dpi), alone)
    return Outcome("accepted", candidate.name, scan_id, "; ".join(filter(None, doubts)) or None, candidate.sha256)


def _refusal(
    scanner: Scanner,
    candidate: Candidate,
    time: datetime | None,
    code: str,
    reason: str,
    remedy: str,
    conflicts_with: str | None,
    now: datetime,
) -> Quarantined:
    return Quarantined(
        scanner_id=scanner.id,
        sha256=candidate.sha256,
        source_name=candidate.name,
        source_size=candidate.entry.size,
        source_modified=candidate.entry.modified,
        source_version=candidate.entry.version,
        code=code,
        expected_sha256=next((t.sha256 for t in candidate.told if t.sha256 not in (None, candidate.sha256)), None),
        reason=reason,
        remedy=remedy,
        captured_at=shown_utc(time, scanner) if time else None,
        device_time=time,
        conflicts_with=conflicts_with,
        first_seen=now,
        code_version=__version__,
    )


def _changed(inbox: Inbox | None, candidate: Candidate) -> bool:
    """Whether the file is another one by now. One that has gone was read to its end all the same."""
    current = inbox.stat(candidate.entry) if inbox else None
    return current is not None and not candidate.entry.is_now(current)


def _still_changing(name: str) -> Outcome:
    reason = f"{name} changed while it was read; it is taken once it has come to rest."
    return Outcome("vanished", name, reason=reason)
