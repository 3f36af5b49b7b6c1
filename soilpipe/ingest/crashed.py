"""Refusing a file that nothing can be asked of: reading it ends the process that reads it, or never ends."""

from __future__ import annotations

from datetime import datetime

from soilpipe import __version__
from soilpipe.config import Scanner
from soilpipe.ingest.arrivals import Arrival
from soilpipe.ingest.clock import shown_utc
from soilpipe.ingest.index import remember
from soilpipe.ingest.quarantine import (
    Decision,
    Quarantined,
    open_quarantine,
    quarantine,
    quarantined_file,
    write_decision,
)
from soilpipe.ingest.scan import Outcome, sha256_of
from soilpipe.store import Inbox, Store

CRASHES = "crashes_reader"
HANGS = "hangs_reader"
CODES = (CRASHES, HANGS)
REMEDIES = {
    CRASHES: "if memory ran out, give the machine more and use `soilpipe quarantine retry`.",
    HANGS: "if the machine, its disk or the line to the inbox was slow then, use `soilpipe quarantine retry`.",
}
SHORTEST = 4  # digits of a sha256 that name a file


def quarantine_crashed(
    scanner: Scanner, store: Store, arrival: Arrival, now: datetime, how: str, code: str = CRASHES
) -> Outcome:
    """Put a file into quarantine that crashed the process reading it, or hung it; ``how`` says what was seen, in words.

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
                code=code,
                reason=f"Reading it {how}.",
                remedy=f"Copy it again from the scanner, the good file will take its place; {REMEDIES[code]}",
                captured_at=shown_utc(arrival.device_time, scanner) if arrival.device_time else None,
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


def quarantine_crashed_again(
    scanner: Scanner, store: Store, refusal: Quarantined, now: datetime, how: str, code: str = CRASHES
) -> Outcome:
    """Say of a file in quarantine that reading it again ``how``, so that no run tries it once more by itself."""
    refused = refusal.model_copy(
        update={
            "code": code,
            "reason": f"Reading it again {how}.",
            "remedy": REMEDIES[code][0].upper() + REMEDIES[code][1:],
            "conflicts_with": None,
            "first_seen": now,
            "code_version": __version__,
        }
    )
    with store.open_local(quarantined_file(store, scanner.id, refusal.sha256)) as path:
        quarantine(store, path, refused)
    reason = f"{refusal.source_name}: {refused.reason} {refused.remedy}"
    return Outcome("refused", refusal.source_name, reason=reason, sha256=refusal.sha256)


def dismiss_crashed(scanner: Scanner, store: Store, content: str, now: datetime, note: str) -> Decision | None:
    """A person's word on a file that cannot even be opened again: it stays in quarantine and no longer asks for anyone.

    ``content``: the first digits of its sha256. None when the quarantine holds no such file.
    """
    for refusal in open_quarantine(store, scanner):
        if refusal.code in CODES and len(content) >= SHORTEST and refusal.sha256.startswith(content):
            decision = Decision(
                scanner_id=scanner.id,
                sha256=refusal.sha256,
                captured_at=refusal.captured_at,
                outcome="dismissed",
                note=note,
                decided_at=now,
            )
            write_decision(store, decision)
            return decision
    return None
