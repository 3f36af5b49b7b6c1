"""Refusing a file that nothing can be asked of: reading it ends the process that reads it."""

from __future__ import annotations

from datetime import datetime

from soilpipe import __version__
from soilpipe.config import Scanner
from soilpipe.ingest.arrivals import Arrival, to_utc
from soilpipe.ingest.index import remember
from soilpipe.ingest.quarantine import Quarantined, quarantine
from soilpipe.ingest.scan import Outcome, sha256_of
from soilpipe.store import Inbox, Store

CODE = "crashes_reader"


def quarantine_crashed(scanner: Scanner, store: Store, arrival: Arrival, now: datetime, how: str) -> Outcome:
    """Put a file into quarantine that crashed the process reading it; ``how`` says in words what was seen.

    Only its bytes and its name are read here. Doing it twice is doing it once.
    """
    inbox = Inbox(scanner.inbox, scanner.inbox_options)
    try:
        with inbox.open_local(arrival.entry) as path:
            refusal = Quarantined(
                scanner_id=scanner.id,
                sha256=sha256_of(path),
                source_name=arrival.name,
                source_size=arrival.entry.size,
                source_modified=arrival.entry.modified,
                source_version=arrival.entry.version,
                code=CODE,
                reason=f"Reading it {how}, twice.",
                remedy="Copy it again from the scanner, the good file will take its place; if memory ran out, give the"
                " machine more and use `soilpipe quarantine retry`.",
                captured_at=to_utc(arrival.device_time, scanner) if arrival.device_time else None,
                device_time=arrival.device_time,
                first_seen=now,
                code_version=__version__,
            )
            kept = quarantine(store, path, refusal)
    except FileNotFoundError:
        if inbox.stat(arrival.entry) is not None:
            raise
        kept = False
    if not kept:
        return Outcome("vanished", arrival.name, reason=f"{arrival.name} went away, or changed, while it was read.")
    remember(store, scanner.id, arrival.name, arrival.entry, refusal.sha256, "refused")
    reason = f"{arrival.name}: {refusal.reason} {refusal.remedy}"
    return Outcome("refused", arrival.name, reason=reason, sha256=refusal.sha256)
