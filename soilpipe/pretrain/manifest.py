"""The manifest of a corpus: which crops, why, and what was left out. Its hash names the corpus on a model's card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from soilpipe.atomic import write_atomically
from soilpipe.config import FrozenModel
from soilpipe.config.frozen import UtcTime
from soilpipe.errors import SoilpipeError
from soilpipe.pretrain.candidates import Crop, Reason
from soilpipe.pretrain.source import place_id
from soilpipe.store import canonical_json

FILE = "manifest.json"
SCHEMA_VERSION: Literal[1] = 1


class CorpusError(SoilpipeError):
    """A corpus that cannot be made or read."""


class CropEntry(FrozenModel):
    """One crop: a square of `side` px at `um_per_px`, corner `y0`, `x0` in px of that scale, of a scan; `factor` px of
    the scan at full resolution a px of it.

    reason: what it was taken for; "memory" for one that is replayed, which was taken for `first_reason` once.
    place: equal for the same scanner and place (`source.place_id`). references: the scans that its difference is from.
    """

    scan_id: str
    scanner_id: str
    captured_at: UtcTime
    y0: int
    x0: int
    side: int
    um_per_px: float
    factor: float
    place: int
    reason: Literal["change", "detection", "anywhere", "memory"]
    first_reason: Literal["change", "detection", "anywhere"]
    references: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        return self.reason != "memory"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max, px of the scan at full resolution, half-open."""
        y0, x0 = self.y0 * self.factor, self.x0 * self.factor
        return x0, y0, x0 + self.side * self.factor, y0 + self.side * self.factor

    @property
    def name(self) -> str:
        """Its name in the replay memory, beside its scan's."""
        return f"y{self.y0}x{self.x0}s{self.side}f{self.factor:g}"

    def replayed(self) -> CropEntry:
        """The same crop as one of the memory. Its place is told anew: an earlier release told places otherwise."""
        place = place_id(self.scanner_id, self.um_per_px, self.side, self.y0, self.x0)
        return self.model_copy(update={"reason": "memory", "place": place})


def entry_of(crop: Crop) -> CropEntry:
    """A candidate as the manifest has it."""
    return CropEntry(
        scan_id=crop.scan_id,
        scanner_id=crop.scanner_id,
        captured_at=crop.captured_at,
        y0=crop.y0,
        x0=crop.x0,
        side=crop.side,
        um_per_px=crop.um_per_px,
        factor=crop.factor,
        place=crop.place,
        reason=crop.reason,
        first_reason=crop.reason,
        references=crop.references,
    )


class Counts(FrozenModel):
    """What there was, and what became of it.

    scans_since, scans_held_out: accepted scans since the last refresh, and those of them that the hold-out keeps away.
    scans_read: those chosen; of them scans_passed_over gave no crop. cells: places in them that could be taken;
    changed: places that show change or a detection. candidates: crops taken, by reason.
    near_duplicates: of them dropped because another crop shows nearly the same, by reason. over_budget: dropped at
    random because there were more than asked for. crops: what is learned from, by reason. memory: members of the
    replay memory before this refresh; memory_dropped: members that are not used any more, by why, in words.
    """

    scans_since: int
    scans_held_out: int
    scans_read: int
    scans_passed_over: int
    cells: int
    changed: int
    candidates: dict[Reason, int]
    near_duplicates: dict[Reason, int]
    over_budget: int
    crops: dict[str, int]
    memory: int
    memory_dropped: dict[str, int]


class PassedOver(FrozenModel):
    """A scan that gave no crop, and why."""

    scan_id: str
    why: str


class Manifest(FrozenModel):
    """All that decides what is learned from. No time of making and no place on this machine stands in it: the same
    store, encoder and seed give the same manifest.

    inputs: sha256 of what was asked for and of what it was asked of. encoder: version of the one whose embeddings told
    near-duplicates. eps: that they were told by, see `near_duplicates`. since, until: scans captured
    after the one and up to the other, UTC, of all scanners or by scanner; None: no bound. Of a refresh, also earlier
    ones that came after `since`.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    inputs: str
    encoder: str
    seed: int
    since: UtcTime | dict[str, UtcTime] | None
    until: UtcTime | dict[str, UtcTime] | None = None
    um_per_px: float
    side: int
    eps: float
    scanner_held_out: str | None
    scanners: dict[str, int]
    counts: Counts
    passed_over: tuple[PassedOver, ...]
    crops: tuple[CropEntry, ...]

    @property
    def hash(self) -> str:
        """Hex sha256 of its file."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def encoded(self) -> bytes:
        """The bytes of its file: JSON with sorted keys."""
        return canonical_json(self.model_dump(mode="json"))

    def summary(self) -> str:
        """What the corpus is, in a few sentences, for the page of a refresh."""
        c = self.counts
        new = sum(count for reason, count in c.crops.items() if reason != "memory")
        dropped, taken = sum(c.near_duplicates.values()), sum(c.candidates.values())
        told = [
            f"{new} new crops of {c.scans_read - c.scans_passed_over} scans of {len(self.scanners)} "
            f"scanner{'' if len(self.scanners) == 1 else 's'} ({_listed(c.crops)})"
        ]
        if taken:
            told.append(f"{dropped} of {taken} candidates ({dropped / taken:.0%}) were near-duplicates and left out")
        if c.over_budget:
            told.append(f"{c.over_budget} more were left out at random, over the budget")
        if c.scans_held_out:
            told.append(f"{c.scans_held_out} of {c.scans_since} scans belong to the hold-out and were not read")
        if c.scans_passed_over:
            told.append(f"{c.scans_passed_over} scans gave no crop, the first because {self.passed_over[0].why}")
        if c.memory_dropped:
            told.append(f"of {c.memory} crops in memory were left out: {_listed(c.memory_dropped)}")
        return "; ".join(told) + "."


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole, last of all files of the corpus: with it the corpus is there."""
    write_atomically(folder / FILE, folder / ".tmp", iter((manifest.encoded(),)))


def read_manifest(folder: Path) -> Manifest:
    """CorpusError where there is none, or none that this release reads."""
    path = folder / FILE
    try:
        return Manifest.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise CorpusError(f"{folder} holds no corpus: {FILE} is written when all its crops are there") from error
    except (ValueError, ValidationError) as error:
        raise CorpusError(
            f"{path} is no manifest that this release reads; delete the folder and refresh again"
        ) from error


def digest(parts: Iterable[Any]) -> str:
    """Hex sha256 of values that are JSON-able once times are written out."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(json.dumps(part, sort_keys=True, default=_written).encode() + b"\n")
    return sha256.hexdigest()


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is no JSON")
