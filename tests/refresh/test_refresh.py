"""The weekly refresh: what it leaves, what it says when there is little, and that it can be killed anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from soilpipe import layout
from soilpipe.bundles import enough, gate
from soilpipe.decisions import Verdict, decisions, in_use
from soilpipe.detect import weights
from soilpipe.ingest.clock import scan_times
from soilpipe.lineage import line_of
from soilpipe.lineage_crops import learned_crops
from soilpipe.models import card_of, content_of, list_models, model_path
from soilpipe.pretrain.memory import read_members
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh import steps as first_steps
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.new_scans import had_before, look
from soilpipe.refresh.records import refreshes
from soilpipe.refresh.refresh import RefreshResult, refresh
from soilpipe.refresh.state import STEPS, alone_at_work, read_state
from soilpipe.refresh.words import as_markdown, in_words
from tests.labels.conftest import Season
from tests.refresh.refresh_project import NOW, PLAN, another_week, labelled, unlabelled, varied_scan
from tests.tiny_model import make_model

WEEK = timedelta(days=7)


class Killed(BaseException):
    """Stands for the end of the process: nothing of the program catches it."""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny detector in the place of the one that comes with the package."""
    seasons = {"labels": "seasons.json", "simulated": True, "image_names": ["season.png"]}
    shipped = make_model(tmp_path / "shipped", name="of the package", validation="simulated", trained_on=seasons)
    monkeypatch.setattr(weights, "SHIPPED", shipped)


def run(season: Season, work: Path, week: float = 0, **more: Any) -> RefreshResult:
    return refresh(season.project, season.store, plan=PLAN, now=NOW + week * WEEK, device="cpu", work=work, **more)


def scan_time(season: Season, scan_id: str) -> datetime:
    scanner = season.project.scanner(layout.parse_scan_id(scan_id).scanner_id)
    return scan_times(season.store, scanner, [scan_id])[scan_id]


def encoder_weights(season: Season, version: str) -> dict[str, Any]:
    return load_file(model_path(season.store, "encoder", version) / "weights.safetensors")


@pytest.fixture
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everything pass that can be judged at all, by a few labels: what a network of eight channels is
    worth after three steps is chance, and not what is tested."""
    for name, value in {"LEAST_DAYS": 2, "LEAST_ANIMALS": 5}.items():
        monkeypatch.setattr(enough, name, value)
    for name, value in {"LARGEST_LOSS_OF_FEW": 1.0, "LARGEST_LOSS_OF_A_CLASS": 1.0, "LEAST_RANK": 0.0}.items():
        monkeypatch.setattr(gate, name, value)
    # Nothing was ever detected in these projects: on the last days there is nothing to compare.
    monkeypatch.setattr(judging, "with_week", lambda project, store, verdict, *_, **__: verdict)


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return unlabelled(tmp_path / "project")


def test_without_scans_there_is_nothing_to_do_and_nothing_is_left(tmp_path: Path) -> None:
    empty = unlabelled(tmp_path / "empty", weeks=0)
    result = run(empty, tmp_path / "work")
    assert result.outcome == "nothing new" and "no scan has come" in result.words
    assert empty.files() == {} and read_state(tmp_path / "work") is None


def test_without_labels_it_stays_a_candidate_says_what_is_missing_and_the_next_begins_from_it(
    season: Season, tmp_path: Path
) -> None:
    first = run(season, tmp_path / "work")
    assert first.outcome == "candidate" and first.record is not None
    assert "no classifier can be fitted" in first.words and "soilpipe label draw" in first.words
    assert in_use(season.store, "encoder") is None and decisions(season.store, "encoder") == []
    assert len(read_members(season.store)) == first.record.corpus["crops"] > 0
    assert not any((tmp_path / "work").glob("*/*")), "nothing but the lock stays"

    assert run(season, tmp_path / "work", 1).outcome == "nothing new"
    new = another_week(season, 1, ("A20", "B07"))
    new += [late := varied_scan(season, "A20", 50)]  # before the first of those that were read
    second = run(season, tmp_path / "work", 2).record
    assert second is not None and second.begun_from == first.record.encoder
    assert first.record.until is not None and second.since == scan_time(season, late) < first.record.until
    assert [version for version, _ in line_of(season.store, second.encoder)] == [second.encoder, first.record.encoder]
    for record in (first.record, second):  # who begins from it knows what the detector was trained on
        (detector,) = card_of(season.store, "encoder", record.encoder)["ancestors"]
        assert detector["version"] == content_of(season.store, "detector", "shipped")
        assert detector["trained_on"]["image_names"] == ["season.png"]
    own = second.corpus["manifest"]
    assert card_of(season.store, "encoder", second.encoder)["manifest_hash"] == own
    learned = learned_crops(season.store, second.encoder, ("A20", "B07"))
    kept = [member.crop for member in read_members(season.store)]
    assert {crop.scan_id for crop in kept} & set(new), "its own corpus and that of the one before"
    assert late in {crop.scan_id for crop in kept}
    for crop in kept:
        box = np.array(crop.box) * crop.um_per_px / crop.factor / 1000
        assert learned.meet(crop.scanner_id, crop.scan_id, crop.captured_at, box).all()
        assert not learned.meet(crop.scanner_id, "another", crop.captured_at + 5 * WEEK, box).any()
    season.store.delete(layout.corpus_manifest(own))
    assert learned_crops(season.store, second.encoder, ("A20",)).unknown == (second.encoder,)
    assert [record.outcome for record in refreshes(season.store)] == ["candidate", "candidate"]
    assert "Stays a candidate" in in_words(second) and "## What it learned from" in as_markdown(second)


def test_one_scanner_alone_is_enough(tmp_path: Path) -> None:
    alone = unlabelled(tmp_path / "alone", scanners=("A20",))
    assert run(alone, tmp_path / "work").outcome == "candidate"


def test_what_was_worse_is_not_put_to_use_and_not_remembered(
    season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(judging, "_verdict", lambda *_: Verdict(False, "it is worse", {}))
        result = run(season, tmp_path / "work")
    assert result.outcome == "refused" and in_use(season.store, "encoder") is None
    assert read_members(season.store) == ()
    another_week(season, 1, ("A20", "B07"))
    second = run(season, tmp_path / "work", 1).record
    assert second is not None and second.begun_from.startswith("detector:"), "nor begun from"


def test_a_refresh_that_finds_another_at_work_says_so_and_ends_well(season: Season, tmp_path: Path) -> None:
    before = season.files()
    with alone_at_work(tmp_path / "work"):
        result = run(season, tmp_path / "work")
    assert result.outcome == "at work" and "another refresh of this project is at work" in result.words
    assert season.files() == before


def test_a_training_that_fails_changes_nothing_in_use_and_is_taken_up(
    season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = season.files()
    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.learning.learn", _fails)
        with pytest.raises(RuntimeError, match="the device went away"):
            run(season, tmp_path / "work")
    assert season.files() == before
    state = read_state(tmp_path / "work")
    assert state is not None and list(state.done) == ["corpus"]
    assert run(season, tmp_path / "work", 1).outcome == "candidate"


def _fails(*_: object, **__: object) -> None:
    raise RuntimeError("the device went away")


@pytest.mark.slow
def test_a_corrupt_checkpoint_costs_the_training_so_far_and_no_more(
    season: Season, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean = run(season, tmp_path / "clean").record
    other = unlabelled(tmp_path / "other")
    checkpoint = tmp_path / "work/training/checkpoint.safetensors"
    told: list[str] = []

    def corrupt(step: str, note: str, done: int, of: int) -> None:
        told.append(note)
        if step == "corpus" and not checkpoint.exists():
            checkpoint.parent.mkdir(parents=True)
            checkpoint.write_bytes(b"not a checkpoint")

    record = run(other, tmp_path / "work", progress=corrupt).record
    assert any("the training begins anew, for" in note and "checkpoint" in note for note in told)
    assert [one.levelname for one in caplog.records if "the training begins anew, for" in one.getMessage()] == [
        "WARNING"
    ]
    assert clean is not None and record is not None
    _same(encoder_weights(season, clean.encoder), encoder_weights(other, record.encoder))


@pytest.mark.slow
def test_a_corrupt_corpus_is_chosen_again(season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.learning.learn", _fails)
        with pytest.raises(RuntimeError):
            run(season, tmp_path / "work")
    for path in (tmp_path / "work/corpus").glob("embeddings*"):
        path.write_bytes(b"")
    assert run(season, tmp_path / "work").outcome == "candidate"


def test_a_state_that_cannot_be_read_begins_anew(season: Season, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "refresh.json").write_text("{")
    (work / "corpus").mkdir()
    state = beginning.begin(season.project, season.store, work, plan=PLAN, now=NOW)
    assert state.done == {} and not (work / "corpus").exists()


def test_a_scan_from_the_future_does_not_make_all_later_ones_old(tmp_path: Path) -> None:
    empty = unlabelled(tmp_path / "empty", weeks=0)
    for number in (4, 4 * 365 * 10):
        empty.scan(number, size=(64, 96))
    newest = look(empty.project, empty.store, had_before(empty.project, empty.store, []), NOW).newest
    assert {scanner: f"{at:%Y-%m-%d}" for scanner, at in newest.items()} == {"A20": "2024-03-07"}


@pytest.mark.slow
@pytest.mark.usefixtures("open_gate")
def test_one_that_is_no_worse_is_put_to_use_as_one_bundle(tmp_path: Path) -> None:
    season = labelled(tmp_path / "project", days=7)
    result = run(season, tmp_path / "work")
    assert result.outcome == "promoted" and result.record is not None
    assert result.words.startswith("macro-F1 ") and "against encoder detector:" in result.words
    record = result.record
    assert (in_use(season.store, "encoder"), in_use(season.store, "classifier")) == (record.encoder, record.classifier)
    (decision,) = decisions(season.store, "encoder")
    assert decision.figures["verdict"] == record.words and not decision.forced
    assert card_of(season.store, "classifier", str(record.classifier))["encoder"] == record.encoder
    page = as_markdown(record, "data:image/png;base64,AA")
    assert "| **macro-F1** |" in page and "soilpipe models rollback --role encoder" in page
    before = season.files()
    assert run(season, tmp_path / "work", 1).outcome == "nothing new"
    assert season.files() == before


@pytest.mark.slow
@pytest.mark.usefixtures("open_gate")
def test_killed_at_the_end_of_every_step_and_taken_up_it_comes_to_the_same(tmp_path: Path) -> None:
    """Each step is done and then not noted, the worst moment; and the last one is cut between its writes too."""
    clean_season = labelled(tmp_path / "clean", days=7)
    shutil.copytree(tmp_path / "clean", tmp_path / "killed")
    clean = run(clean_season, tmp_path / "work-clean").record
    killed_season = _moved(clean_season, tmp_path / "killed")
    work = tmp_path / "work"
    for week, (module, name, kill) in enumerate(_kills()):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, name, kill)
            with pytest.raises(Killed):
                print(module.__name__, name, run(killed_season, work, week / 100))
        if week < 5:
            assert in_use(killed_season.store, "encoder") is None, "nothing before the decision changes what is in use"
    record = run(killed_season, work, 0.1).record
    assert clean is not None and record is not None and record.run_id == refreshes(killed_season.store)[-1].run_id
    assert record.outcome == clean.outcome == "promoted"
    assert record.corpus == clean.corpus
    _same(encoder_weights(clean_season, clean.encoder), encoder_weights(killed_season, record.encoder))
    _alike(record.figures["comparison"], clean.figures["comparison"])
    assert len(decisions(killed_season.store, "encoder")) == 1, "promoted once"
    assert {m.key for m in read_members(killed_season.store)} == {m.key for m in read_members(clean_season.store)}
    assert len(refreshes(killed_season.store)) == 1
    assert in_use(killed_season.store, "encoder") in {m.version for m in list_models(killed_season.store, "encoder")}


def _kills() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What to replace, one after the other: (module, name, what raises)."""
    from soilpipe.pretrain import memory

    def raises(*_: object, **__: object) -> None:
        raise Killed

    for step in STEPS[:4]:
        module = {"classifier": last_steps, "judge": judging}.get(step, first_steps)
        yield module, "done_with", _raising_at(step)
    yield last_steps, "promote_bundle", raises
    yield memory, "remember", raises
    yield last_steps, "keep_record", raises


def _raising_at(step: str) -> Callable[..., Any]:
    noted = first_steps.done_with

    def done_with(work: Path, state: Any, which: str, gave: Any) -> Any:
        if which == step:
            raise Killed
        return noted(work, state, which, gave)

    return done_with


def _moved(season: Season, folder: Path) -> Season:
    from soilpipe.config import load_project
    from soilpipe.store import Store

    project = load_project(folder / season.project.path.name)
    return Season(project, Store(project.store))


def _same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] == other[name]).all(), name


def _alike(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _alike(one[key], other[key])
    else:
        assert one == pytest.approx(other)
