"""Expected slots of a scanner, which scan takes which, and the state of each.

Nothing here depends on the order in which scans arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from soilpipe.config import Scanner
from soilpipe.counts.expected import expected_slots, smallest_gap
from soilpipe.ingest.clock import NEVER_BEFORE

DAY = timedelta(days=1)
COUNTED_STATES = ("observed", "late")
FUTURE = "it is from the future: the clock of the device is wrong, or that of this machine"
RESET = "no scanner was there in that year: the clock of the device was reset"


class Refused(Protocol):
    """What this module needs of a file in quarantine."""

    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def captured_at(self) -> datetime | None: ...
    @property
    def conflicts_with(self) -> str | None: ...


@dataclass(frozen=True)
class Slot:
    """One expected scan time (UTC), its state, and the scan that took it."""

    slot: datetime
    state: str
    scan_id: str | None = None
    captured_at: datetime | None = None
    reason: str | None = None

    @property
    def delay_s(self) -> float | None:
        return None if self.captured_at is None else (self.captured_at - self.slot).total_seconds()

    @property
    def observed(self) -> bool:
        """Observed, perhaps late, and in no dispute."""
        return self.state in COUNTED_STATES


@dataclass(frozen=True)
class Unslotted:
    """An accepted scan that no slot took, and why."""

    scan_id: str
    captured_at: datetime
    reason: str


@dataclass(frozen=True)
class Timetable:
    """A scanner's slots in order of time, and the scans that have none."""

    slots: tuple[Slot, ...]
    unslotted: tuple[Unslotted, ...]

    def count(self, state: str) -> int:
        return sum(s.state == state for s in self.slots)


def timetable(
    scanner: Scanner, scans: Iterable[tuple[str, datetime]], refused: Sequence[Refused], as_of: datetime
) -> Timetable:
    """The scanner's slots up to ``as_of``, with the scans (scan_id, captured_at) that took them.

    ``scans``: accepted and not put aside by a person; ``refused``: files in quarantine on which nobody has decided.
    Of the slots after ``as_of`` only those are there that a scan has taken.
    """
    ordered = sorted(set(scans), key=lambda s: (s[1], s[0]))
    as_of = _proven(ordered, as_of)
    scans = believed(ordered, as_of)
    taken, unslotted = _take(scanner, scans)
    reset = [Unslotted(*scan, RESET) for scan in ordered if scan[1] < NEVER_BEFORE]
    unslotted = [*reset, *unslotted, *(Unslotted(*scan, FUTURE) for scan in ordered[len(reset) + len(scans) :])]
    expected = sorted({*_expected(scanner, scans, as_of), *taken, *_own_slots(scanner, refused)})
    twins = twins_of(scans)
    slots = [_state(scanner, slot, taken.get(slot), as_of, twins) for slot in expected]
    return Timetable(tuple(_disputed(scanner, slots, refused)), tuple(unslotted))


def _expected(scanner: Scanner, scans: Sequence[tuple[str, datetime]], as_of: datetime) -> list[datetime]:
    start = scanner.from_ or (_nearest(scanner, scans[0][1]) or scans[0][1] if scans else None)
    if start is None:
        return []
    return [slot for slot in expected_slots(scanner, start, as_of) if scanner.until is None or slot < scanner.until]


def _nearest(scanner: Scanner, captured_at: datetime) -> datetime | None:
    """The slot nearest to a scan, within half the smallest gap; of two equally near ones the earlier."""
    gap = smallest_gap(scanner, captured_at)
    if gap is None:
        return captured_at
    near = expected_slots(scanner, captured_at - gap / 2, captured_at + gap / 2)
    return min(near, key=lambda slot: (abs(slot - captured_at), slot), default=None)


def believed(scans: Iterable[tuple[str, datetime]], as_of: datetime) -> list[tuple[str, datetime]]:
    """The scans (scan_id, captured_at) whose clock can be right as of then, in order of time."""
    ordered = sorted(set(scans), key=lambda s: (s[1], s[0]))
    last = _proven(ordered, as_of)
    return [scan for scan in ordered if NEVER_BEFORE <= scan[1] <= last]


def twins_of(scans: Iterable[tuple[str, datetime]]) -> dict[datetime, tuple[str, ...]]:
    """The times of which there is more than one scan, and those scans: all but one cannot be right.

    Ingest keeps such files in quarantine. What makes twins of accepted scans is a project file that moves their times.
    """
    of_time: dict[datetime, list[str]] = {}
    for scan_id, captured_at in scans:
        of_time.setdefault(captured_at, []).append(scan_id)
    return {at: tuple(sorted(ids)) for at, ids in of_time.items() if len(ids) > 1}


def _proven(scans: Sequence[tuple[str, datetime]], as_of: datetime) -> datetime:
    """``as_of``, or the time of the latest scan that carries it on.

    A device's clock may be ahead of this machine's, or its time zone wrong by some hours: its scans are taken all the
    same. One that is more than a day ahead of all before it proves nothing.
    """
    for _, captured_at in scans:
        if as_of < captured_at <= as_of + DAY:
            as_of = captured_at
    return as_of


def _take(
    scanner: Scanner, scans: Sequence[tuple[str, datetime]]
) -> tuple[dict[datetime, tuple[str, datetime]], list[Unslotted]]:
    claims: dict[datetime, list[tuple[str, datetime]]] = {}
    unslotted = []
    for scan_id, captured_at in scans:
        slot = _nearest(scanner, captured_at)
        if problem := _outside(scanner, slot):
            unslotted.append(Unslotted(scan_id, captured_at, problem))
        else:
            assert slot is not None
            claims.setdefault(slot, []).append((scan_id, captured_at))
    taken = {}
    for slot, claimants in claims.items():
        winner, *others = sorted(claimants, key=lambda s: (abs(s[1] - slot), s[1], s[0]))
        taken[slot] = winner
        unslotted += [Unslotted(*other, f"{winner[0]} is nearer to the slot {_told(slot)}") for other in others]
    return taken, sorted(unslotted, key=lambda u: (u.captured_at, u.scan_id))


def _outside(scanner: Scanner, slot: datetime | None) -> str | None:
    if slot is None:
        return "no slot within half the smallest gap between slots"
    if scanner.from_ is not None and slot < scanner.from_:
        return f"its slot {_told(slot)} is before the scanner's `from`, {_told(scanner.from_)}"
    if scanner.until is not None and slot >= scanner.until:
        return f"its slot {_told(slot)} is not before the scanner's `until`, {_told(scanner.until)}"
    return None


def _state(
    scanner: Scanner,
    slot: datetime,
    scan: tuple[str, datetime] | None,
    as_of: datetime,
    twins: Mapping[datetime, tuple[str, ...]],
) -> Slot:
    if scan is None:
        return Slot(slot, "missing" if as_of >= slot + scanner.missing_after else "pending")
    scan_id, captured_at = scan
    if captured_at in twins:
        reason = f"same_time: {' and '.join(twins[captured_at])} are of one time; a person has to keep one of them"
        return Slot(slot, "quarantined", scan_id, captured_at, reason)
    return Slot(slot, "late" if captured_at - slot > scanner.late_after else "observed", scan_id, captured_at)


def _own_slots(scanner: Scanner, refused: Sequence[Refused]) -> list[datetime]:
    """The slots that refused files would have had while the scanner was irregular."""
    times = (r.captured_at for r in refused if r.captured_at is not None and r.captured_at >= NEVER_BEFORE)
    return [at for at in times if smallest_gap(scanner, at) is None and not _outside(scanner, at)]


def _disputed(scanner: Scanner, slots: Sequence[Slot], refused: Sequence[Refused]) -> list[Slot]:
    """Mark the slots on which a person has to decide.

    A refused file closes its slot unless a good scan has it (that one supersedes it). A conflict closes the slot of the
    scan it disputes as well: one of the two is wrong, and nobody knows which.
    """
    place = {slot.slot: i for i, slot in enumerate(slots)}
    holder = {slot.scan_id: i for i, slot in enumerate(slots) if slot.scan_id is not None}
    told: dict[int, list[str]] = {}
    for file in sorted(refused, key=lambda r: (r.code, r.reason)):
        closed = set()
        own = place.get(_nearest(scanner, file.captured_at)) if file.captured_at is not None else None  # type: ignore[arg-type]
        if own is not None and slots[own].scan_id is None:
            closed.add(own)
        if file.conflicts_with in holder:
            closed.add(holder[file.conflicts_with])
        for i in closed:
            told.setdefault(i, []).append(f"{file.code}: {file.reason}")
    return [
        replace(slot, state="quarantined", reason="; ".join([*([slot.reason] if slot.reason else []), *told[i]]))
        if i in told
        else slot
        for i, slot in enumerate(slots)
    ]


def complete_through(slots: Sequence[Slot]) -> datetime | None:
    """The last slot before which nothing is pending; None when the first one is."""
    last = None
    for slot in slots:
        if slot.state == "pending":
            break
        last = slot.slot
    return last


def told_until(slots: Sequence[Slot], scanner: Scanner) -> datetime | None:
    """The `as_of` of a table with these slots: the last moment at which the clock alone changed it.

    A slot appears when its time comes, and is missing ``missing_after`` later; one that a scan has taken is there from
    the time of the scan. A timetable made as of this moment is the one these slots came from. So equal tables
    have an equal `as_of`, whenever they were made, and can be made again, to the byte, without knowing when that was.
    """
    moments = (s.slot + scanner.missing_after if s.state == "missing" else s.captured_at or s.slot for s in slots)
    return max(moments, default=None)


def slots_by_year(slots: Sequence[Slot]) -> Mapping[int, tuple[Slot, ...]]:
    """The slots of each UTC year."""
    years: dict[int, list[Slot]] = {}
    for slot in slots:
        years.setdefault(slot.slot.year, []).append(slot)
    return {year: tuple(of_year) for year, of_year in sorted(years.items())}


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
