"""What was refused, why, and what a person decided.

A refused file lies in ``quarantine/<scanner>/<sha256>/``, as ``file<ext>`` and, written last, ``reason.json``. The
same bytes refused again under another time get a reason of their own beside it. Nothing is ever taken away:
decisions are records, and a good scan for the same time supersedes a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel, Scanner
from soilpipe.ingest.clock import scan_times, to_utc
from soilpipe.ingest.receipts import list_receipts, list_scan_ids
from soilpipe.seals import sealed_json
from soilpipe.store import Store, StoreError
from soilpipe.touched import touch_refused

DECISIONS = "quarantine"
SAME_TIME = "same_time"
SAME_CONTENT = "same_content"
"""The codes of conflicts."""


class Quarantined(FrozenModel):
    """One refusal. ``conflicts_with``: the accepted scan that it contradicts; both wait for a person.

    ``expected_sha256``: what it should be by the checksum that came with it, where that is another.
    """

    scanner_id: str
    sha256: str
    source_name: str
    source_size: int
    source_modified: float
    source_version: str = ""
    code: str
    reason: str
    remedy: str
    captured_at: datetime | None
    """UTC, by the device's clock as it was, in the time zone of then; None where neither name nor file told a time.
    Beside the sha256 it says which refusal is meant. When the scan was taken says `ingest.clock.at_present`."""
    device_time: datetime | None
    conflicts_with: str | None = None
    first_seen: datetime
    code_version: str
    expected_sha256: str | None = None
    seal: str | None = None
    """As in receipts: by it `verify` finds one that was damaged or edited; None in those from before it."""


class Decision(FrozenModel):
    """What a person decided about one content of a scanner. ``captured_at`` is that of the refusal it answers.

    ``taken``: it is a scan now. ``dismissed``: it stays where it is and no longer asks for anyone. ``kept``: the scan
    accepted before stays, and what contradicted it is dismissed. ``sets_aside``: scans that no longer count.
    """

    scanner_id: str
    sha256: str
    captured_at: datetime | None
    outcome: Literal["taken", "dismissed", "kept"]
    scan_id: str | None = None
    sets_aside: tuple[str, ...] = ()
    note: str = ""
    decided_at: datetime
    seal: str | None = None


def quarantine(store: Store, local: Path, refusal: Quarantined) -> bool:
    """Keep the refused file and say why; the reason comes last. Doing it again changes only what is said.

    False, and nothing is kept, when the file is no longer the one that was refused.
    """
    touch_refused(store, refusal.scanner_id)
    folder = layout.quarantine_folder(refusal.scanner_id, refusal.sha256)
    kept = f"{folder}/file{_suffix(refusal.source_name)}"
    held = any(_is_content(entry.key) for entry in store.list(folder))
    if not held and store.put_file(local, kept) != refusal.sha256:
        store.delete(kept)
        return False
    taken = 0
    for entry in store.list(folder, ".json"):
        earlier = _read(store, entry.key)
        taken += 1
        if _same_event(refusal, earlier):
            said_now = earlier.model_copy(
                update={field: getattr(refusal, field) for field in ("code", "reason", "remedy", "expected_sha256")}
            )
            store.write_if_changed(entry.key, sealed_json(said_now.model_dump(mode="json")))
            return True
    first = layout.quarantine_reason(refusal.scanner_id, refusal.sha256)
    key = f"{folder}/reason-{taken + 1}.json" if taken else first
    store.write_bytes(key, sealed_json(refusal.model_dump(mode="json")))
    return True


def list_quarantine(
    store: Store, scanner_id: str | None = None, contents: Collection[str] | None = None
) -> list[Quarantined]:
    """Everything that was ever refused, or of it what has one of these sha256, by scanner and time."""
    keys = store.keys(layout.quarantine_prefix(scanner_id), ".json")
    found = [_read(store, key) for key in keys if contents is None or key.split("/")[-2] in contents]
    return sorted(found, key=lambda q: (q.scanner_id, q.captured_at or q.first_seen, q.sha256))


def list_contents(store: Store, scanner_id: str) -> frozenset[str]:
    """The sha256 of everything that was ever refused, from one listing."""
    keys = store.keys(layout.quarantine_prefix(scanner_id), ".json")
    return frozenset(key.split("/")[-2] for key in keys)


def quarantined_as(store: Store, scanner_id: str, sha256: str) -> list[Quarantined]:
    """The refusals of one content."""
    return [_read(store, entry.key) for entry in store.list(layout.quarantine_folder(scanner_id, sha256), ".json")]


def quarantined_file(store: Store, scanner_id: str, sha256: str) -> str:
    """The key of the refused file itself. Raises StoreError when it has gone."""
    for entry in store.list(layout.quarantine_folder(scanner_id, sha256)):
        if _is_content(entry.key):
            return entry.key
    raise StoreError(f"the quarantine of {scanner_id} holds no file of content {sha256[:8]}")


def list_decisions(store: Store, scanner_id: str) -> list[Decision]:
    """A scanner's decisions, oldest first."""
    entries = store.list(f"{layout.records_prefix(DECISIONS)}/{scanner_id}", ".json")
    return sorted((_read_decision(store, entry.key) for entry in entries), key=lambda decision: decision.decided_at)


def write_decision(store: Store, decision: Decision) -> None:
    """Add a record; deciding the same thing at the same time twice is one record."""
    time = f"{decision.decided_at:%Y%m%dT%H%M%S%f}"
    name = f"{decision.scanner_id}/{time}-{decision.sha256[:16]}-{decision.outcome}"
    touch_refused(store, decision.scanner_id)
    store.write_bytes(layout.record(DECISIONS, name), sealed_json(decision.model_dump(mode="json")))


def open_quarantine(store: Store, scanner: Scanner) -> list[Quarantined]:
    """The refusals that still wait for a person or a good file: undecided, and not superseded by a good scan.

    A conflict is never superseded by itself: it stays until a person accepts one of the two, or until the project file
    says that their times differ; then it is a refusal like any other, to be looked at again.
    """
    found = list_quarantine(store, scanner.id)
    if not found:
        return []
    times = scan_times(store, scanner, list_scan_ids(store, scanner.id))

    def names() -> frozenset[str]:
        return frozenset(receipt.source_name for receipt in list_receipts(store, scanner.id))

    return still_open(scanner, found, list_decisions(store, scanner.id), times, names)


def still_open(
    scanner: Scanner,
    found: Sequence[Quarantined],
    decisions: Sequence[Decision],
    times: Mapping[str, datetime],
    names: Callable[[], Collection[str]],
) -> list[Quarantined]:
    """Those refusals that `open_quarantine` tells. ``times``: when every accepted scan was taken.

    ``names``: gives what the files of all accepted scans were called; asked only where a refusal has no time.
    """
    aside = set_aside(decisions)
    waiting = [q for q in found if not any(_decides(decision, q) for decision in decisions)]
    judged = [now for q in waiting if (now := _judged_anew(q, found, times, scanner)) is not None]
    good_names = names() if any(q.device_time is None for q in judged) else frozenset()
    good_times = {at for scan, at in times.items() if scan not in aside}
    good_contents = {layout.parse_scan_id(scan).sha8 for scan in times if scan not in aside} if judged else set()
    conflicts = (SAME_TIME, SAME_CONTENT)
    return [
        q
        for q in judged
        if q.conflicts_with or q.code in conflicts or not _superseded(q, scanner, good_times, good_contents, good_names)
    ]


def _judged_anew(
    q: Quarantined, found: Iterable[Quarantined], times: Mapping[str, datetime], scanner: Scanner
) -> Quarantined | None:
    """A refusal as the project file has it now, which may have moved the scan or the file; None: it is none any more.

    ``times``: when every scan was taken. The same bytes of the same time are no conflict but a second copy.
    """
    if q.conflicts_with is None or q.conflicts_with not in times or q.device_time is None:
        return q
    own = to_utc(q.device_time, scanner, q.source_modified)
    one_time = times[q.conflicts_with] == own
    if q.code == SAME_CONTENT:
        return None if one_time else q
    if one_time:
        return q
    if any((o.sha256, o.device_time) == (q.sha256, q.device_time) and o.first_seen > q.first_seen for o in found):
        return None  # it was looked at again since, and that refusal tells what is wrong now
    if any(at == own and layout.parse_scan_id(scan).sha8 == q.sha256[:8] for scan, at in times.items()):
        return None  # it was taken since
    return q.model_copy(
        update={
            "conflicts_with": None,
            "reason": f"It was of the time of scan {q.conflicts_with}, but no longer is: the project file has changed.",
            "remedy": f"The next run takes it, or now `soilpipe quarantine retry --scanner {scanner.id}`, if "
            "nothing else is wrong with it.",
        }
    )


def superseded_scans(store: Store, scanner_id: str) -> frozenset[str]:
    """Accepted scans that a person's decision put aside: they no longer fill their slot."""
    return set_aside(list_decisions(store, scanner_id))


def _superseded(
    q: Quarantined,
    scanner: Scanner,
    good_times: Collection[datetime],
    good_contents: Collection[str],
    good_names: Collection[str],
) -> bool:
    if q.device_time is not None:
        return to_utc(q.device_time, scanner, q.source_modified) in good_times
    return q.sha256[:8] in good_contents or q.source_name in good_names


def set_aside(decisions: Sequence[Decision]) -> frozenset[str]:
    """The last decision that names a scan counts: what was put aside may be accepted again."""
    aside: set[str] = set()
    for decision in decisions:
        aside |= set(decision.sets_aside)
        aside -= {decision.scan_id} if decision.scan_id else set()
    return frozenset(aside)


def _decides(decision: Decision, q: Quarantined) -> bool:
    if decision.decided_at < q.first_seen:
        return False
    # Both are stored, and the decision has its time from the refusal: equal when this one was meant.
    if decision.sha256 == q.sha256 and decision.captured_at == q.captured_at:
        return True
    # Who keeps a scan dismisses whatever contradicted it; who takes another instead has decided that time.
    if q.conflicts_with is None or decision.outcome == "dismissed":
        return False
    return q.conflicts_with == decision.scan_id or (
        q.conflicts_with in decision.sets_aside and q.captured_at == decision.captured_at
    )


def _same_event(one: Quarantined, other: Quarantined) -> bool:
    """The same bytes for the same time, or without a time under the same name."""
    if one.device_time != other.device_time or one.conflicts_with != other.conflicts_with:
        return False
    return one.device_time is not None or one.source_name == other.source_name


def _is_content(key: str) -> bool:
    return PurePosixPath(key).name.startswith("file")


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 8 else ""


def _read(store: Store, key: str) -> Quarantined:
    try:
        return Quarantined.model_validate(store.read_json(key))
    except ValidationError as error:
        raise StoreError(f"{key} is no reason soilpipe can read: {error.errors()[0]['msg']}") from error


def _read_decision(store: Store, key: str) -> Decision:
    try:
        return Decision.model_validate(store.read_json(key))
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        raise StoreError(f"{key} is no decision soilpipe can read ({what}): restore it from a backup") from error
