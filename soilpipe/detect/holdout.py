"""The hold-out: the labelled scans that judge candidates and serve nothing else.

One scanner whole, and of every other scanner a fifth of its labelled times, the last ones. What is held out follows
from the labels and from the order in which they came, import by import, and no later import changes it: a scan that
could once be trained on is never held out afterwards, and one that is held out stays so. Else a detector would meet
among its judges what it, or one that it began from, has learned, and every descendant after it.

So the scanner held out whole is one that had no labels before the import which made them enough; and of each other
scanner an import adds a block of time to what is held out, later than all that was labelled of it before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

LAST_SHARE = 5  # one in five times of a scanner, the last ones, rounded up
LEAST_SCANNERS = 3  # from so many on, one is held out whole; of two it would be half of all labels

Block = tuple[datetime, datetime]
"""From, until: both inclusive."""


@dataclass(frozen=True)
class HoldOut:
    """`scanner`: held out whole, None with too few scanners; `blocks`: of every other scanner the blocks of time that
    are, in their order. Times are of the same clock as those that it was told from."""

    scanner: str | None = None
    blocks: Mapping[str, tuple[Block, ...]] = field(default_factory=dict)

    def holds(self, scanner_id: str, time: datetime) -> bool:
        """Whether what is labelled of this scanner and time is of the hold-out."""
        return scanner_id == self.scanner or any(begin <= time <= end for begin, end in self.blocks.get(scanner_id, ()))


def hold_out_of(imports: Iterable[Iterable[tuple[str, datetime]]]) -> HoldOut:
    """The hold-out after some imports of labels, in the order in which they were made.

    imports: of each the scanner and time of the scans that somebody looked at a tile of; only the first import that
    names a scan counts. The scanner held out whole is, of those that this import was the first to bring, the one with
    the smallest sha256 of its id, so that no one chooses it. A scanner with a single time holds out nothing. A block
    holds as many of the times that come after all earlier ones of its scanner as are wanting to a fifth of all. Labels
    of later scans therefore add to the hold-out, and those of earlier scans do not.
    """
    labelled: dict[str, set[datetime]] = {}
    blocks: dict[str, list[Block]] = {}
    whole: str | None = None
    for one in imports:
        before = {scanner: frozenset(times) for scanner, times in labelled.items()}
        for scanner, time in one:
            labelled.setdefault(scanner, set()).add(time)
        if whole is None and len(labelled) >= LEAST_SCANNERS:
            whole = min(labelled.keys() - before.keys(), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        for scanner, times in labelled.items():
            block = _next_block(times, before.get(scanner, frozenset()), blocks.get(scanner, []))
            if scanner != whole and block is not None:
                blocks.setdefault(scanner, []).append(block)
    return HoldOut(whole, {scanner: tuple(found) for scanner, found in sorted(blocks.items())})


def _next_block(times: set[datetime], before: frozenset[datetime], blocks: list[Block]) -> Block | None:
    """What an import adds to the blocks of a scanner; `before`: its times that were labelled before it."""
    last = max(before, default=None)
    later = sorted(time for time in times if last is None or time > last)
    held = sum(begin <= time <= end for time in times for begin, end in blocks)
    wanting = math.ceil(len(times) / LAST_SHARE) - held
    if len(times) < 2 or wanting < 1 or not later:
        return None
    return later[max(0, len(later) - wanting)], later[-1]
