from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.config import RefreshPlan
from soilpipe.pretrain.corpus import Corpus, build_corpus
from soilpipe.pretrain.manifest import CorpusError
from soilpipe.pretrain.memory import DAMAGED, NO_ROOM, OTHER_SIZE, SUPERSEDED, read_members, remember, replayed
from soilpipe.pretrain.memory_diverse import keep_diverse
from soilpipe.refresh.steps import corpus_budget
from soilpipe.store import Store
from tests.labels.conftest import START, Season
from tests.pretrain.corpus_fixtures import SIDE, SMALL, Thumbnails, make_season

LATER = START + timedelta(hours=6)


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return make_season(tmp_path, scans=2)


def built(season: Season, folder: Path, **more: Any) -> Corpus:
    ask = {"since": None, "budget": SMALL, "encoder": Thumbnails()} | more
    return build_corpus(season.store, season.project, folder=folder, **ask)


def remembered(season: Season, tmp_path: Path, most: int = 60) -> Corpus:
    """The corpus of the first scans, kept in memory; then a third scan comes."""
    corpus = built(season, tmp_path / "first")
    remember(season.store, corpus, most)
    season.scan(2, animal=True)
    return corpus


def test_what_was_learned_from_is_replayed_with_the_same_pixels(season: Season, tmp_path: Path) -> None:
    first = remembered(season, tmp_path)
    second = built(season, tmp_path / "second", since=LATER)
    old = np.flatnonzero(~second.is_new)
    assert 0 < len(old) == len(first) <= 60
    assert {entry.reason for entry in second.entries if not entry.is_new} == {"memory"}
    assert {entry.captured_at for entry in second.entries if entry.is_new} == {START + timedelta(hours=12)}
    by_name = {(entry.scan_id, entry.name): row for row, entry in enumerate(first.entries)}
    for row in old:
        entry = second.entries[row]
        before = by_name[entry.scan_id, entry.name]
        assert np.array_equal(second.pixels(np.array([row])), first.pixels(np.array([before])))
        assert second.place[row] == first.place[before]
    drawn = second.draw(np.random.default_rng(0), 8)
    assert second.is_new[drawn].sum() == 4


def test_the_memory_is_bounded_and_what_leaves_it_leaves_the_store(season: Season, tmp_path: Path) -> None:
    remembered(season, tmp_path, most=10)
    before = {member.key for member in read_members(season.store)}
    second = built(season, tmp_path / "second", since=LATER)
    done = remember(season.store, second, 10)
    now = {member.key for member in read_members(season.store)}
    assert done.members == len(now) == 10
    assert done.admitted == len(now - before) > 0
    assert done.evicted == len(before - now)
    assert {entry.key for entry in season.store.list(layout.replay_crops_prefix())} == now


def test_remembering_twice_changes_nothing(season: Season, tmp_path: Path) -> None:
    corpus = remembered(season, tmp_path, most=15)
    before = season.files("pretraining")
    again = remember(season.store, corpus, 15)
    assert (again.members, again.admitted, again.evicted) == (15, 0, 0)
    assert season.files("pretraining") == before


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", ["write_bytes members.json", "delete"])
def test_a_kill_leaves_a_whole_memory(season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    remembered(season, tmp_path, most=10)
    before = read_members(season.store)
    second = built(season, tmp_path / "second", since=LATER)
    method, _, name = at.partition(" ")
    whole = getattr(Store, method)

    def killed(self: Store, key: str, *more: Any) -> Any:
        if key.endswith(name):
            raise KilledError
        return whole(self, key, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Store, method, killed)
        with pytest.raises(KilledError):
            remember(season.store, second, 10)
    left = read_members(season.store)
    assert len(left) == 10
    assert (left == before) == (method == "write_bytes")
    assert all(pixels is not None for _, pixels in replayed(season.store, left))
    remember(season.store, second, 10)
    now = {member.key for member in read_members(season.store)}
    assert now != {member.key for member in before}
    assert {entry.key for entry in season.store.list(layout.replay_crops_prefix())} == now


def test_choosing_a_corpus_writes_nothing_into_the_store(season: Season, tmp_path: Path) -> None:
    before = season.files()
    built(season, tmp_path / "corpus")
    assert season.files() == before


def test_what_may_not_be_replayed_is_left_out_and_said(season: Season, tmp_path: Path) -> None:
    first = remembered(season, tmp_path)
    members = read_members(season.store)
    season.store.delete(members[0].key)
    season.store.write_bytes(members[1].key, b"not a picture")
    gone = next(member.crop.scan_id for member in members[2:])
    season.store.delete(layout.receipt(gone))
    expected = sum(member.crop.scan_id == gone for member in members)
    second = built(season, tmp_path / "second", since=LATER)
    counts = second.manifest.counts
    assert counts.memory == len(first)
    assert counts.memory_dropped[SUPERSEDED] == expected
    assert counts.memory_dropped.get(DAMAGED, 0) == sum(member.crop.scan_id != gone for member in members[:2])
    assert counts.crops.get("memory", 0) == len(first) - sum(counts.memory_dropped.values())
    assert SUPERSEDED in second.summary()


@pytest.mark.slow
def test_crops_of_another_size_are_not_replayed(season: Season, tmp_path: Path) -> None:
    first = remembered(season, tmp_path)
    larger = replace(SMALL, side=2 * SIDE)
    second = built(season, tmp_path / "second", since=LATER, budget=larger)
    assert second.manifest.counts.memory_dropped == {OTHER_SIZE: len(first)}
    coarser = built(season, tmp_path / "third", since=LATER, encoder=Thumbnails(um_per_px=42.3))
    assert coarser.manifest.counts.memory_dropped == {OTHER_SIZE: len(first)}
    assert coarser.entries[0].factor == 2.0


@pytest.mark.slow
def test_scans_that_are_new_again_are_not_replayed_as_well(season: Season, tmp_path: Path) -> None:
    remembered(season, tmp_path)
    again = built(season, tmp_path / "again")
    names = [(entry.scan_id, entry.name) for entry in again.entries]
    assert len(set(names)) == len(names)
    assert again.is_new.all()


def test_a_damaged_list_says_what_to_do(season: Season, tmp_path: Path) -> None:
    season.store.write_bytes(layout.replay_memory(), b'{"members": [{}]}')
    with pytest.raises(CorpusError, match=r"pretraining/memory/members\.json .* delete it"):
        built(season, tmp_path / "corpus")


def test_at_the_default_budget_all_crops_have_room_and_what_leaves_is_what_is_most_alike() -> None:
    """Half of the crops is remembered and all of that is replayed: so the stream is longer than the memory, and MinRed
    says what leaves, not the room."""
    budget = corpus_budget(RefreshPlan())
    assert (budget.crops, budget.most_memory) == (10_000, 10_000)
    assert budget.candidates(budget.most_memory) == 15_000, "and there is room for what near-duplicates cost"
    assert budget.rows == 25_000 and budget.in_memory == 1_000_000_000
    assert budget.of_a_scan(15_000, 512) == 30
    of_one = budget.of_a_scan(15_000, 1)
    assert of_one < 15_000 and of_one * 7 * 256**2 <= budget.in_memory, "also where a single scan has come"
    short = replace(budget, bytes=4_000_000_000)
    assert 2 * short.most_memory <= short.rows and short.candidates(short.most_memory) + short.most_memory <= short.rows


@pytest.mark.slow
def test_week_by_week_the_memory_evicts_by_likeness_alone(tmp_path: Path) -> None:
    """With a budget of which the room is short, too: nothing leaves by chance, so what was seen once stays."""
    season = make_season(tmp_path, scans=8)
    budget = replace(SMALL, crops=24, memory=24, bytes=2 * 8 * 7 * SIDE**2, oversample=2.0, eps=0.0)
    assert budget.most_memory == 8
    kept: list[set[str]] = []
    for week in range(3):
        since = START + timedelta(hours=6 * (2 * week - 1)) if week else None
        until = START + timedelta(hours=6 * (2 * week + 1))
        corpus = build_corpus(
            season.store,
            season.project,
            since=since,
            until=until,
            encoder=Thumbnails(),
            budget=budget,
            folder=tmp_path / f"week {week}",
        )
        assert NO_ROOM not in corpus.manifest.counts.memory_dropped
        order = sorted(range(len(corpus)), key=lambda row: (corpus.entries[row].is_new, row))
        wanted = keep_diverse(corpus.embeddings[order], budget.most_memory)
        remember(season.store, corpus, budget.most_memory)
        names = {member.key for member in read_members(season.store)}
        entries = [corpus.entries[order[row]] for row in wanted]
        assert names == {layout.replay_crop(entry.scan_id, entry.name) for entry in entries}
        kept.append(names)
    assert len(kept[-1]) == 8
