from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.pretrain.corpus import Corpus, build_corpus
from soilpipe.pretrain.manifest import CorpusError
from soilpipe.pretrain.memory import DAMAGED, OTHER_SIZE, SUPERSEDED, read_members, remember, replayed
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


def test_crops_of_another_size_are_not_replayed(season: Season, tmp_path: Path) -> None:
    first = remembered(season, tmp_path)
    larger = replace(SMALL, side=2 * SIDE)
    second = built(season, tmp_path / "second", since=LATER, budget=larger)
    assert second.manifest.counts.memory_dropped == {OTHER_SIZE: len(first)}
    coarser = built(season, tmp_path / "third", since=LATER, encoder=Thumbnails(um_per_px=42.3))
    assert coarser.manifest.counts.memory_dropped == {OTHER_SIZE: len(first)}
    assert coarser.entries[0].factor == 2.0


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
