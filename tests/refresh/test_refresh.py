"""The weekly refresh: what it leaves, what it says when there is little, and that it is taken up when it failed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from soilpipe import layout
from soilpipe.decisions import Verdict, decide, decisions, in_use
from soilpipe.ingest.clock import scan_times
from soilpipe.lineage import line_of
from soilpipe.lineage_crops import learned_crops
from soilpipe.models import card_of, content_of
from soilpipe.pretrain.memory import read_members
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.new_scans import had_before, look
from soilpipe.refresh.records import refreshes
from soilpipe.refresh.state import alone_at_work, read_state
from soilpipe.refresh.words import as_markdown, in_words
from tests.labels.conftest import Season
from tests.refresh.refresh_project import (
    NOW,
    PLAN,
    WEEK,
    another_week,
    encoder_weights,
    labelled,
    open_gate,
    package,
    run,
    same,
    unlabelled,
    varied_scan,
)
from tests.test_lineage import encoder

__all__ = ["open_gate", "package"]


def scan_time(season: Season, scan_id: str) -> datetime:
    scanner = season.project.scanner(layout.parse_scan_id(scan_id).scanner_id)
    return scan_times(season.store, scanner, [scan_id])[scan_id]


@pytest.fixture
def season(tmp_path: Path) -> Season:
    return unlabelled(tmp_path / "project")


def test_without_scans_there_is_nothing_to_do_and_nothing_is_left(tmp_path: Path) -> None:
    empty = unlabelled(tmp_path / "empty", weeks=0)
    result = run(empty, tmp_path / "work")
    assert result.outcome == "nothing new" and "no scan has come" in result.words
    assert empty.files() == {} and read_state(tmp_path / "work") is None


@pytest.mark.slow
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


@pytest.mark.slow
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
    version, both = encoder(season.store, tmp_path / "in_use"), {"classifier": "2" * 12}
    season.store.write_bytes(f"{layout.model_folder('classifier', '2' * 12)}/card.json", b"{}")
    decide(season.store, "encoder", "promote", version, "none", NOW, True, "a person's", {}, together=both)
    before = season.files()
    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.learning.learn", _fails)
        with pytest.raises(RuntimeError, match="the device went away"):
            run(season, tmp_path / "work")
    assert season.files() == before
    assert (in_use(season.store, "encoder"), in_use(season.store, "classifier")) == (version, "2" * 12)
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
    same(encoder_weights(season, clean.encoder), encoder_weights(other, record.encoder))


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
