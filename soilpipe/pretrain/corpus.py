"""What one refresh learns from: new crops without near-duplicates, and the replay memory, in mapped files.

The order: the scans since the last refresh without the hold-out (`candidates_frame`), their candidate crops
(`candidates`), the crops replayed from earlier refreshes (`memory`), near-duplicates out (`near_duplicates`), and the
manifest, written last.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from soilpipe.config import Project
from soilpipe.held_out import held_out
from soilpipe.pretrain.candidates import Asked, Reason, candidates
from soilpipe.pretrain.candidates_frame import Bound, Frame, New, scans_to_read
from soilpipe.pretrain.corpus_budget import CorpusBudget
from soilpipe.pretrain.corpus_opened import EMBEDDINGS, Corpus, open_corpus
from soilpipe.pretrain.corpus_pixels import PixelWriter
from soilpipe.pretrain.corpus_sheet import draw_chosen, draw_dropped
from soilpipe.pretrain.manifest import (
    FILE,
    CorpusError,
    Counts,
    CropEntry,
    Manifest,
    PassedOver,
    digest,
    entry_of,
    write_manifest,
)
from soilpipe.pretrain.memory import DAMAGED, Member, members_to_replay, replayed
from soilpipe.pretrain.near_duplicates import NearDuplicates, eps_by_places, near_duplicates
from soilpipe.store import Store

__all__ = ["Corpus", "CorpusBudget", "CorpusError", "NoNewScansError", "build_corpus", "open_corpus"]

_EMBEDDED = 64  # replayed crops embedded at once

Progress = Callable[[str, int, int], None]
"""What is being done, in words; how much of it is done; how much there is."""


class NoNewScansError(CorpusError):
    """There is nothing new to learn from. Not a failure: the encoder stays as it is."""


class Embeds(Protocol):
    """An encoder (`soilpipe.encoder`)."""

    @property
    def info(self) -> Any:
        """`version` and `um_per_px`."""
        ...

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 7, s, s) uint8 -> (n, d) float32, unit length; the same for a crop whatever comes with it."""
        ...


def build_corpus(
    store: Store,
    project: Project,
    *,
    since: Bound,
    until: Bound = None,
    new: New = None,
    encoder: Embeds,
    budget: CorpusBudget | None = None,
    seed: int = 0,
    folder: Path,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Corpus:
    """Choose what to learn from, and gather it in `folder`, a folder of its own. The store is only read.

    since, until: scans captured after the one and up to the other (UTC; of all scanners, or {scanner: its own}) are
    new; None: no bound (`scans_to_read`). new: {scanner: scan ids} instead, whenever they were captured; since and
    until are then for people. workers: threads that read scans, where no Dask cluster is active.

    The same store, encoder, budget and seed give the same manifest, however many workers there are. A corpus that lies
    there already and was made from the same is opened; what a killed run has left is made again.

    Raises NoNewScansError when there is nothing new to learn from, CorpusError when it cannot be gathered.
    """
    budget = budget or CorpusBudget()
    tell = progress or (lambda stage, done, of: None)
    um_per_px = float(encoder.info.um_per_px)
    held = held_out(project, store)
    frame = scans_to_read(store, project, held, since=since, until=until, new=new, most=budget.scans, seed=seed)
    if not frame.plans:
        raise NoNewScansError(_nothing_new(store, frame, since))
    members, left_out = members_to_replay(
        store,
        project,
        held,
        new={plan.scan_id for plan in frame.plans},
        side=budget.side,
        um_per_px=um_per_px,
        most=budget.most_memory,
        seed=seed,
    )
    budgeted = dataclasses.asdict(budget)
    plans = [dataclasses.astuple(plan) for plan in frame.plans]
    inputs = digest(
        [
            2,
            str(encoder.info.version),
            um_per_px,
            seed,
            since,
            until,
            budgeted,
            plans,
            [frame.since, frame.held_out],
            [(m.key, m.sha256) for m in members],
        ]
    )
    try:
        there = open_corpus(folder)
        if there.manifest.inputs == inputs:
            return there
    except CorpusError:
        pass
    (folder / FILE).unlink(missing_ok=True)
    quota = budget.of_a_scan(budget.candidates(len(members)), len(frame.plans))
    asked = Asked(quota, budget.side, um_per_px, seed)
    gathered = _Gathered(encoder)
    with PixelWriter(folder, budget.side) as pixels:
        read = candidates(store, project, frame.plans, asked, workers=workers, in_memory=budget.in_memory)
        for number, one in enumerate(read, start=1):
            gathered.add(one.crops, one.pixels, pixels)
            gathered.cells += one.cells
            gathered.changed += one.changed or 0
            if one.passed_over is not None:
                gathered.passed_over.append(PassedOver(scan_id=one.scan_id, why=one.passed_over))
            tell("reading scans", number, len(frame.plans))
        taken = len(gathered.entries)
        if not taken:
            raise NoNewScansError(
                f"none of the {len(frame.plans)} new scans gave a crop to learn from: "
                f"{gathered.passed_over[0].scan_id}, for one, because {gathered.passed_over[0].why}"
            )
        _replay(store, members, gathered, pixels, left_out, tell)
        embeddings = gathered.embeddings()
        places = np.array([entry.place for entry in gathered.entries[:taken]], np.int64)
        eps = eps_by_places(embeddings[:taken], places, seed=seed) if budget.eps is None else budget.eps
        found = near_duplicates(embeddings[:taken], eps, seed=seed)
        tell("near-duplicates", 1, 1)
        kept, over = _within(np.flatnonzero(found.keep), budget.crops, seed)
        draw_dropped(folder, gathered.entries, found, pixels.read, budget.side)
        rows = np.concatenate([kept, np.arange(taken, len(gathered.entries))])
        pixels.keep(rows)
    entries = [gathered.entries[row] for row in rows.tolist()]
    with (folder / EMBEDDINGS).open("wb") as file:
        np.save(file, embeddings[rows], allow_pickle=False)
    manifest = Manifest(
        inputs=inputs,
        encoder=str(encoder.info.version),
        seed=seed,
        since=dict(since) if isinstance(since, Mapping) else since,
        until=dict(until) if isinstance(until, Mapping) else until,
        um_per_px=um_per_px,
        side=budget.side,
        eps=eps,
        scanner_held_out=frame.scanner_held_out,
        scanners=dict(frame.scanners),
        counts=_counts(frame, gathered, found, taken, over, entries, left_out),
        passed_over=tuple(gathered.passed_over),
        crops=tuple(entries),
    )
    write_manifest(folder, manifest)
    corpus = Corpus(folder, manifest)
    draw_chosen(folder, corpus.entries, corpus.pixels)
    return corpus


class _Gathered:
    """The crops gathered so far: what they are, and their embeddings."""

    def __init__(self, encoder: Embeds) -> None:
        self._encoder = encoder
        self._embeddings: list[np.ndarray] = []
        self.entries: list[CropEntry] = []
        self.passed_over: list[PassedOver] = []
        self.cells = self.changed = 0

    def add(self, crops: Sequence[Any], pixels: np.ndarray, into: PixelWriter) -> None:
        """Crops (candidates, or entries as they are) with their pixels, (n, 7, s, s) uint8."""
        if len(crops) == 0:
            return
        self.entries += [crop if isinstance(crop, CropEntry) else entry_of(crop) for crop in crops]
        self._embeddings.append(np.asarray(self._encoder.embed(pixels), np.float32))
        into.append(pixels)

    def embeddings(self) -> np.ndarray:
        return np.concatenate(self._embeddings)


def _replay(
    store: Store,
    members: Sequence[Member],
    gathered: _Gathered,
    into: PixelWriter,
    left_out: Counter[str],
    tell: Progress,
) -> None:
    """Add the replayed crops; those whose pixels cannot be had are counted in `left_out`."""
    waiting: list[tuple[CropEntry, np.ndarray]] = []

    def flush() -> None:
        if waiting:
            gathered.add([entry for entry, _ in waiting], np.stack([one for _, one in waiting]), into)
            waiting.clear()

    for number, (member, pixels) in enumerate(replayed(store, members), start=1):
        if pixels is None:
            left_out[DAMAGED] += 1
        else:
            waiting.append((member.crop.replayed(), pixels))
        if len(waiting) == _EMBEDDED:
            flush()
            tell("replaying", number, len(members))
    flush()


def _within(kept: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, int]:
    """At most `most` of the rows, drawn at random, ascending; and how many were left out."""
    if len(kept) <= most:
        return kept, 0
    drawn = np.random.default_rng([seed, 53]).choice(kept, most, replace=False)
    return np.sort(drawn), len(kept) - most


def _counts(
    frame: Frame,
    gathered: _Gathered,
    found: NearDuplicates,
    taken: int,
    over: int,
    entries: Sequence[CropEntry],
    left_out: Counter[str],
) -> Counts:
    candidates_: Counter[Reason] = Counter(entry.first_reason for entry in gathered.entries[:taken])
    dropped: Counter[Reason] = Counter(gathered.entries[row].first_reason for row in np.flatnonzero(~found.keep))
    replayed_crops = len(gathered.entries) - taken
    return Counts(
        scans_since=frame.since,
        scans_held_out=frame.held_out,
        scans_read=len(frame.plans),
        scans_passed_over=len(gathered.passed_over),
        cells=gathered.cells,
        changed=gathered.changed,
        candidates=dict(candidates_),
        near_duplicates=dict(dropped),
        over_budget=over,
        crops=dict(Counter(entry.reason for entry in entries)),
        memory=replayed_crops + sum(left_out.values()),
        memory_dropped=dict(left_out),
    )


def _nothing_new(store: Store, frame: Frame, since: Bound) -> str:
    if frame.since:
        return (
            f"all {frame.since} new scans in the store {store.root} belong to the hold-out, which judges models and "
            "serves nothing else; the next refresh looks again"
        )
    first = min(since.values(), default=None) if isinstance(since, Mapping) else since
    when = "" if first is None else f" since {first:%Y-%m-%d %H:%M} UTC"
    return (
        f"no scan has come{when} to the store {store.root}, so there is nothing new to learn from: `soilpipe run` "
        "takes what is in the inboxes"
    )
