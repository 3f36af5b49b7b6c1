"""What is new to a refresh: what none before it had before it, whenever it was taken."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from soilpipe import layout
from soilpipe.decisions import Verdict
from soilpipe.detect import weights
from soilpipe.held_out import held_out
from soilpipe.pretrain.candidates_frame import Frame, scans_to_read
from soilpipe.pretrain.candidates_unreadable import UnreadableScanError
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh import steps as first_steps
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.new_scans import noted_new
from soilpipe.refresh.records import dropped
from soilpipe.refresh.state import RefreshError, RefreshState, forget, write_state
from tests.labels.conftest import START, Season
from tests.refresh.refresh_project import NOW, PLAN, unlabelled
from tests.tiny_model import make_model

SLOT = timedelta(hours=6)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny detector in the place of the one that comes with the package; no crop is read, remembered or judged."""
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    monkeypatch.setattr("soilpipe.pretrain.memory.remember", lambda *_: None)
    monkeypatch.setattr(judging, "_verdict", lambda *_: Verdict(False, "it is worse", {}))


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return unlabelled(tmp_path / "project", weeks=0)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def scans(season: Season, scanner: str, *numbers: int) -> set[str]:
    return {season.scan(number, scanner_id=scanner, size=(8, 8)) for number in numbers}


def begun(season: Season, work: Path, days: float = 0, **changes: Any) -> RefreshState:
    plan = PLAN.model_copy(update=changes)
    return beginning.begin(season.project, season.store, work, plan=plan, now=NOW + timedelta(days=days))


def finished(season: Season, work: Path, days: float = 0) -> RefreshState:
    """A refresh that is done; what it made is only said to be there."""
    state = begun(season, work, days)
    state = state.after("corpus", {"words": ""}).after("pretrain", {"encoder": "1" * 12, "training": {}})
    write_state(work, state.after("classifier", {"classifier": None, "missing": "labels"}))
    judging.judge_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    last_steps.decide_on_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    forget(work)
    return state


def silent(step: str, note: str, done: int, of: int) -> None:
    pass


def read(season: Season, work: Path, monkeypatch: pytest.MonkeyPatch) -> Frame:
    """The scans that the refresh at work would take its crops from."""
    frames: list[Frame] = []

    def build_corpus(store: Any, project: Any, *, since: Any, until: Any, new: Any, **_: object) -> None:
        held = held_out(project, store)
        frames.append(scans_to_read(store, project, held, since=since, until=until, new=new, most=999, seed=0))
        raise KeyError("no more is asked")

    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.corpus.build_corpus", build_corpus)
        patched.setattr(first_steps, "encoder_at", lambda *_: None)
        with pytest.raises(KeyError, match="no more"):
            first_steps.choose_corpus(season.project, season.store, work, device="cpu", tell=silent)
    return frames[0]


def ids(frame: Frame) -> set[str]:
    return {plan.scan_id for plan in frame.plans}


def at(number: int) -> datetime:
    return START + number * SLOT


def test_forty_scans_of_earlier_times_that_come_after_a_refresh_are_read_by_the_next_one(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scans(season, "A20", *range(60, 64), 70) | scans(season, "B07", 60)
    assert ids(read_of_next(season, work, monkeypatch)) == first
    finished(season, work)
    assert begun(season, work, 7).since is None and read(season, work, monkeypatch).since == 0

    earlier = scans(season, "A20", *range(40)) | scans(season, "A20", 65) | scans(season, "B07", 61)
    forget(work)
    state = begun(season, work, 7)
    assert ids(read(season, work, monkeypatch)) == earlier, "before all that was read, in a gap of it, and after it"
    assert (state.since, state.until) == (at(0), at(70))
    finished(season, work, 7)
    assert read_of_next(season, work, monkeypatch).since == 0


def read_of_next(season: Season, work: Path, monkeypatch: pytest.MonkeyPatch) -> Frame:
    forget(work)
    begun(season, work, 14)
    frame = read(season, work, monkeypatch)
    forget(work)
    return frame


def test_what_came_after_the_beginning_is_left_to_the_next_one(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scans(season, "A20", 50)
    begun(season, work)
    later = scans(season, "A20", 20, 51)
    assert ids(read(season, work, monkeypatch)) == first
    finished(season, work)
    assert ids(read_of_next(season, work, monkeypatch)) == later


def test_a_refresh_of_an_earlier_release_had_all_up_to_its_time(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(season, "A20", 50)
    state = finished(season, work)
    season.store.delete(layout.scans_of_refresh(state.run_id))  # as its records were
    scans(season, "A20", 20)
    new = scans(season, "A20", 51) | scans(season, "B07", 20)
    assert ids(read_of_next(season, work, monkeypatch)) == new
    begun(season, work, 7)
    (work / "scans.json.gz").unlink()  # and the one that it had begun
    assert noted_new(work) is None and ids(read(season, work, monkeypatch)) == new


def test_what_a_refresh_failed_on_is_not_new_and_earlier_scans_that_come_after_it_are(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(season, "A20", 50, 51)

    def fails(*_: object, **__: object) -> None:
        raise UnreadableScanError("scan 50")

    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.corpus.build_corpus", fails)
        patched.setattr(first_steps, "encoder_at", lambda *_: None)
        for day in (0, 1):
            begun(season, work, day)
            with pytest.raises(UnreadableScanError):
                first_steps.choose_corpus(season.project, season.store, work, device="cpu", tell=silent)
    earlier = scans(season, "A20", 20)
    begun(season, work, 2)
    assert len(dropped(season.store)) == 1 and ids(read(season, work, monkeypatch)) == earlier


def test_crops_that_are_taken_up_are_of_the_scans_that_were_new_to_them(season: Season, work: Path) -> None:
    first = scans(season, "A20", 50)
    write_state(work, begun(season, work).after("corpus", {"manifest": "0"}))
    scans(season, "A20", 20)
    assert begun(season, work, 1, steps=4).done and noted_new(work) == {"A20": first}


def test_the_list_is_small_and_the_same_bytes_and_a_damaged_one_is_told(
    season: Season, work: Path, tmp_path: Path
) -> None:
    first = scans(season, "A20", 50, 51)
    state = finished(season, work)
    key = layout.scans_of_refresh(state.run_id)
    data = season.store.read_bytes(key)
    assert json.loads(gzip.decompress(data)) == {"schema_version": 1, "scans": {"A20": " ".join(sorted(first))}}
    season.store.write_bytes(key, data[:-9])
    with pytest.raises(RefreshError, match=f"{key} is no list of scans .*: remove it"):
        begun(season, work, 7)
    season.store.delete(key)
    season.store.delete(f"records/refreshes/{state.run_id}.json")
    begun(season, work)
    assert (work / "scans.json.gz").read_bytes() == data
