"""What a person does about refused files: accept one, or have them looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from soilpipe import layout
from soilpipe.config import Project, Scanner
from soilpipe.errors import SoilpipeError
from soilpipe.ingest.checksums import Told
from soilpipe.ingest.clock import to_utc
from soilpipe.ingest.names import NameError_, parse_name
from soilpipe.ingest.quarantine import (
    Decision,
    Quarantined,
    list_quarantine,
    open_quarantine,
    quarantined_file,
    superseded_scans,
    write_decision,
)
from soilpipe.ingest.receipts import Receipt, list_scan_ids, read_receipt
from soilpipe.ingest.scan import Candidate, Outcome, examine, live_scans_at
from soilpipe.store import Entry, Store


class DecisionError(SoilpipeError):
    """A decision that does not say clearly what it is about."""


def accept(
    project: Project,
    scanner: Scanner,
    store: Store,
    sha256: str,
    now: datetime,
    *,
    device_time: datetime | None = None,
    note: str = "",
) -> Decision:
    """A person's word on one content, given by the first digits of its sha256 or by a scan id.

    A refused file that can be read is taken, whatever it contradicts; a scan that it still contradicts is put aside.
    ``device_time`` (naive) gives or corrects its time; with it, the refusal is meant even where its bytes are a scan
    too. A refused file that cannot be read is dismissed: it stays in
    quarantine, and no longer asks for anyone. An accepted scan is kept, and what contradicts it is dismissed.
    Doing it twice is doing it once.
    """
    if kept := _scan(scanner, store, sha256, device_time):
        return _keep(scanner, store, kept, now, note)
    refusal = _refusal(scanner, store, sha256, device_time)
    outcome = examine_again(project, scanner, store, refusal, device_time or refusal.device_time, now, accepted=True)
    aside: tuple[str, ...] = ()
    if outcome.scan_id and outcome.kind in ("accepted", "repeat"):
        aside = _rivals(scanner, store, read_receipt(store, outcome.scan_id))
    decision = Decision(
        scanner_id=scanner.id,
        sha256=refusal.sha256,
        captured_at=refusal.captured_at,
        outcome="taken" if outcome.kind in ("accepted", "repeat") else "dismissed",
        scan_id=outcome.scan_id if outcome.kind in ("accepted", "repeat") else None,
        sets_aside=aside,
        note=note,
        decided_at=now,
    )
    write_decision(store, decision)
    return decision


def retry(
    project: Project, scanner: Scanner, store: Store, now: datetime, *, sha256: str | None = None
) -> list[Outcome]:
    """Look again at what was refused (all that is open, or one content): after a new version, pattern or limit.

    Names are read anew. What is good now becomes a scan; what is not stays where it is, with what is said now.
    """
    outcomes = []
    for refusal in open_quarantine(store, scanner):
        if sha256 is None or refusal.sha256.startswith(sha256):
            outcomes.append(
                examine_again(
                    project, scanner, store, refusal, _time_in_name(scanner, refusal) or refusal.device_time, now
                )
            )
    if sha256 is not None and not outcomes:
        raise DecisionError(f"nothing open in the quarantine of {scanner.id} begins with {sha256!r}")
    return outcomes


def examine_again(
    project: Project,
    scanner: Scanner,
    store: Store,
    refusal: Quarantined,
    device_time: datetime | None,
    now: datetime,
    accepted: bool = False,
) -> Outcome:
    """A refused file, examined as one with this time; ``accepted``: whatever it contradicts."""
    entry = Entry(refusal.source_name, refusal.source_size, refusal.source_modified, refusal.source_version)
    by_person = accepted and device_time is not None and device_time != refusal.device_time
    by_name = _time_in_name(scanner, refusal) == device_time
    with store.open_local(quarantined_file(store, scanner.id, refusal.sha256)) as path:
        candidate = Candidate(
            name=refusal.source_name,
            entry=entry,
            path=path,
            sha256=refusal.sha256,
            device_time=device_time,
            time_from="person" if by_person else "name" if by_name else "file",
            accepted=accepted,
            again=True,
            told=(Told("the checksum that came with it", refusal.expected_sha256),) if refusal.expected_sha256 else (),
        )
        return examine(project, scanner, store, candidate, now)


def _time_in_name(scanner: Scanner, refusal: Quarantined) -> datetime | None:
    try:
        return parse_name(refusal.source_name, scanner.filename).time
    except NameError_:
        return None


def _scan(scanner: Scanner, store: Store, given: str, device_time: datetime | None) -> str | None:
    """The accepted scan that is meant, if it is one that something contradicts or that was put aside."""
    if device_time is not None and any(q.sha256.startswith(given) for q in list_quarantine(store, scanner.id)):
        return None
    scans = [s for s in list_scan_ids(store, scanner.id) if s == given or _begins(store, s, given)]
    if scans and given in scans:
        return given
    refusals = [q for q in open_quarantine(store, scanner) if q.sha256.startswith(given)]
    if refusals and not any(
        layout.make_scan_id(scanner.id, q.device_time, q.sha256) in scans for q in refusals if q.device_time
    ):
        return None
    if len(scans) > 1:
        raise DecisionError(f"{given!r} means {len(scans)} scans of {scanner.id}: give one of {', '.join(scans)}")
    return scans[0] if scans else None


def _begins(store: Store, scan_id: str, given: str) -> bool:
    sha8 = layout.parse_scan_id(scan_id).sha8
    return len(given) >= 4 and sha8.startswith(given[:8]) and read_receipt(store, scan_id).sha256.startswith(given)


def _keep(scanner: Scanner, store: Store, scan_id: str, now: datetime, note: str) -> Decision:
    receipt = read_receipt(store, scan_id)
    decision = Decision(
        scanner_id=scanner.id,
        sha256=receipt.sha256,
        captured_at=receipt.captured_at,  # as stored: it names the refusal of the same bytes, if there is one
        outcome="kept",
        scan_id=scan_id,
        sets_aside=_rivals(scanner, store, receipt),
        note=note,
        decided_at=now,
    )
    write_decision(store, decision)
    return decision


def _rivals(scanner: Scanner, store: Store, chosen: Receipt) -> tuple[str, ...]:
    """The other scans that cannot be right when this one is: those of its time, and its own bytes at another time."""
    rivals = set(live_scans_at(scanner, store, to_utc(chosen.device_time, scanner, chosen.source_modified)))
    aside = superseded_scans(store, scanner.id)
    for scan_id in list_scan_ids(store, scanner.id):
        if layout.parse_scan_id(scan_id).sha8 == chosen.sha256[:8] and scan_id not in aside:
            rivals |= {scan_id} if read_receipt(store, scan_id).sha256 == chosen.sha256 else set()
    return tuple(sorted(rivals - {chosen.scan_id}))


def _refusal(scanner: Scanner, store: Store, given: str, device_time: datetime | None) -> Quarantined:
    """The one refusal that is meant; open ones first."""
    found = [q for q in open_quarantine(store, scanner) if q.sha256.startswith(given)]
    found = found or [q for q in list_quarantine(store, scanner.id) if q.sha256.startswith(given)]
    if len(found) > 1 and device_time is not None:
        found = [q for q in found if q.device_time == device_time] or found
    if len(given) < 4 or not found:
        raise DecisionError(
            f"the quarantine of {scanner.id} holds nothing whose sha256 begins with {given!r}; "
            "`soilpipe quarantine list` shows what there is, and 4 digits are the least"
        )
    if len(found) > 1:
        raise DecisionError(f"{given!r} means {_choices(found)}: give more digits, or the time that is meant")
    return found[0]


def _choices(found: Sequence[Quarantined]) -> str:
    return "; ".join(f"{q.sha256[:12]} ({q.source_name}, {q.device_time or 'no time'})" for q in found)
