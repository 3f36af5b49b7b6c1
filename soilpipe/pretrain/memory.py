"""The replay memory: crops of earlier refreshes that are learned from again, so that the encoder does not forget them.

It lies in the store: a list of members, and the pixels of each as a PNG of seven planes. The pixels are kept because
reading them again means registering the references of every scan that a member is from, seconds each; at 256 px they
take a quarter of a megabyte a crop, and they outlast the pixels of their scan. The list is written whole, after the
pixels that it names and before those that it no longer names are removed, so a kill at any step leaves a whole memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from pydantic import ValidationError

from soilpipe import layout
from soilpipe.config import FrozenModel, Project
from soilpipe.held_out import HeldOut
from soilpipe.ingest.quarantine import superseded_scans
from soilpipe.pretrain.candidates_cells import Box
from soilpipe.pretrain.candidates_frame import held_boxes, held_tiles
from soilpipe.pretrain.corpus_pixels import CHANNELS
from soilpipe.pretrain.manifest import CorpusError, CropEntry
from soilpipe.pretrain.memory_diverse import keep_diverse
from soilpipe.store import MissingKeyError, Store, canonical_json

_AT_ONCE = 16  # PNGs read or written at once: nothing on a disk, all the difference on S3
_WAVE = 256  # PNGs in memory at a time

NEW_AGAIN = "of scans that are read again"
HELD_OUT = "of the hold-out now"
SUPERSEDED = "of scans that a decision put aside or that are gone"
OTHER_SIZE = "of another side or scale"
DAMAGED = "whose pixels are gone or damaged"
NO_ROOM = "for which the budget has no room"


class Member(FrozenModel):
    """One crop of the memory, and the sha256 of its PNG."""

    crop: CropEntry
    sha256: str

    @property
    def key(self) -> str:
        return layout.replay_crop(self.crop.scan_id, self.crop.name)


class Members(FrozenModel):
    """The list of members, in the order in which they came."""

    schema_version: Literal[1] = 1
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Remembered:
    """What a refresh did to the memory: members now, how many of them came with it, how many left."""

    members: int
    admitted: int
    evicted: int


class Learned(Protocol):
    """A corpus whose crops are to be remembered. embeddings: (n, d) float32, unit length, in the order of `entries`."""

    @property
    def entries(self) -> Sequence[CropEntry]: ...
    @property
    def embeddings(self) -> np.ndarray: ...
    def pixels(self, indices: np.ndarray) -> np.ndarray: ...


def read_members(store: Store) -> tuple[Member, ...]:
    """The members; none where no refresh has been yet. CorpusError when the list is damaged."""
    key = layout.replay_memory()
    try:
        return Members.model_validate(json.loads(store.read_bytes(key))).members
    except MissingKeyError:
        return ()
    except (ValueError, ValidationError) as error:
        raise CorpusError(
            f"{key} is no list of replayed crops that this release reads. Restore it from a backup, or delete it: the "
            "memory then begins anew with the next refresh"
        ) from error


def members_to_replay(
    store: Store,
    project: Project,
    held: HeldOut,
    *,
    new: Collection[str],
    side: int,
    um_per_px: float,
    most: int,
    seed: int,
) -> tuple[list[Member], Counter[str]]:
    """Those that may be learned from now, in their order, and how many may not, by why.

    Left out: crops of `new` scans, which are read anyhow; what the hold-out holds back now (labels may have come
    since); crops of scans that are no longer accepted; those of another side, or of a scale that is not the level
    nearest to `um_per_px`; and, drawn by `seed`, what is more than `most`.
    """
    why: Counter[str] = Counter()
    members = read_members(store)
    tiles = held_tiles(store, project, held)
    receipts = store.present([layout.receipt(scan_id) for scan_id in {member.crop.scan_id for member in members}])
    aside = {scanner: superseded_scans(store, scanner) for scanner in {member.crop.scanner_id for member in members}}
    fit: list[Member] = []
    for member in members:
        crop = member.crop
        boxes = held_boxes(tiles.get(crop.scanner_id, []), crop.captured_at, crop.references)
        if crop.scan_id in new:
            why[NEW_AGAIN] += 1
        elif held.holds_scan(crop.scanner_id, crop.scan_id) or any(_meet(crop.box, box) for box in boxes):
            why[HELD_OUT] += 1
        elif crop.scan_id in aside[crop.scanner_id] or layout.receipt(crop.scan_id) not in receipts:
            why[SUPERSEDED] += 1
        elif crop.side != side or abs(np.log2(crop.um_per_px / um_per_px)) > 0.501:
            why[OTHER_SIZE] += 1
        else:
            fit.append(member)
    if len(fit) > most:
        why[NO_ROOM] = len(fit) - most
        rows = np.sort(np.random.default_rng([seed, 52]).choice(len(fit), most, replace=False))
        fit = [fit[row] for row in rows]
    return fit, why


def replayed(store: Store, members: Sequence[Member]) -> Iterator[tuple[Member, np.ndarray | None]]:
    """Each member with its pixels, (7, side, side) uint8; None where its PNG is gone or is not as it was written."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(members), _WAVE):
            wave = members[start : start + _WAVE]
            yield from zip(wave, pool.map(lambda member: _read_crop(store, member), wave), strict=True)


def remember(store: Store, corpus: Learned, most: int) -> Remembered:
    """Let the crops of a corpus pass through a memory of `most` (see `memory_diverse`), and write what it then holds.

    First the crops that were replayed, in their order, then the new ones. What was in memory and is not in the corpus
    leaves it. Doing it again with the same corpus changes nothing. Two at once may take pixels from each other that
    only one of them still names; the next refresh then says which crops it misses.
    """
    before = {member.key: member for member in read_members(store)}
    entries = corpus.entries
    order = np.array(sorted(range(len(entries)), key=lambda row: (entries[row].is_new, row)), np.int64)
    kept = order[keep_diverse(corpus.embeddings[order], most)] if len(order) else order
    members: list[Member] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(kept), _WAVE):
            rows = kept[start : start + _WAVE]
            crops = [entries[row] for row in rows]
            known = [before.get(layout.replay_crop(crop.scan_id, crop.name)) for crop in crops]
            pixels = corpus.pixels(rows)
            members += pool.map(
                lambda crop, old, one: old or _write_crop(store, crop, one), crops, known, pixels, chunksize=1
            )
    now = {member.key for member in members}
    text = canonical_json(Members(members=tuple(members)).model_dump(mode="json"))
    store.write_if_changed(layout.replay_memory(), text)
    # What a killed run has left beside what has just been evicted.
    for key in store.keys(layout.replay_crops_prefix(), ".png"):
        if key not in now:
            store.delete(key)
    return Remembered(len(members), len(now - before.keys()), len(before.keys() - now))


def _write_crop(store: Store, crop: CropEntry, pixels: np.ndarray) -> Member:
    """(7, side, side) uint8 -> a PNG in the store, losslessly."""
    done, data = cv2.imencode(".png", pixels.reshape(-1, pixels.shape[-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise CorpusError(f"a crop of {pixels.shape} cannot be written as PNG")
    png = data.tobytes()
    member = Member(crop=crop.model_copy(update={"reason": crop.first_reason}), sha256=hashlib.sha256(png).hexdigest())
    store.write_if_changed(member.key, png)
    return member


def _read_crop(store: Store, member: Member) -> np.ndarray | None:
    try:
        png = store.read_bytes(member.key)
    except MissingKeyError:
        return None
    if hashlib.sha256(png).hexdigest() != member.sha256:
        return None
    side = member.crop.side
    planes = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(planes).reshape(CHANNELS, side, side)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
