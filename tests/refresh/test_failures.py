"""What counts as a failure of a refresh, and which failures cost the scans that it was to learn from."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from soilpipe.bundles.promotion import Bundle
from soilpipe.decisions import Verdict, decide
from soilpipe.detect import weights
from soilpipe.pretrain.candidates_unreadable import UnreadableScanError
from soilpipe.pretrain.learning_recipe import NoNumbersError, PretrainError
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh import steps as first_steps
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.records import dropped
from soilpipe.refresh.state import RefreshState, read_state, write_state
from soilpipe.store import Store, StoreError
from tests.labels.conftest import Season
from tests.refresh.refresh_project import NOW, PLAN, unlabelled
from tests.tiny_model import make_model

DAY = timedelta(days=1)
OWN = Bundle("1" * 12, "2" * 12)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))


@pytest.fixture
def season(tmp_path: Path) -> Season:
    season = unlabelled(tmp_path / "project", weeks=0)
    season.scan(4, scanner_id="A20", size=(64, 96))
    return season


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Sets what a training ends with from now on."""
    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    monkeypatch.setattr(first_steps, "encoder_at", lambda *_: SimpleNamespace(close=None))

    def ends_with(error: BaseException) -> None:
        def fails(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(first_steps, "_pretrain", fails)

    return ends_with


def begun(season: Season, work: Path, days: float = 0) -> RefreshState:
    return beginning.begin(season.project, season.store, work, plan=PLAN, now=NOW + days * DAY)


def silent(step: str, note: str, done: int, of: int) -> None:
    pass


def train(season: Season, work: Path) -> None:
    with pytest.raises((NoNumbersError, PretrainError, UnreadableScanError, RuntimeError)):
        first_steps.pretrain_encoder(season.project, season.store, work, device="cpu", tell=silent)


def failures(work: Path) -> dict[str, int]:
    state = read_state(work)
    assert state is not None
    return {step: len(errors) for step, errors in state.failures.items()}


def test_a_store_that_is_away_for_a_while_is_no_failure(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As s3fs and the disk tell it: an OSError, of which the store makes a StoreError."""
    first = begun(season, work)

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.ETIMEDOUT, "connection timed out")

    with monkeypatch.context() as patched:
        patched.setattr(season.store._files, "keys", away)
        for _ in range(4):
            with pytest.raises(StoreError, match="timed out"):
                first_steps.choose_corpus(season.project, season.store, work, device="cpu", tell=silent)
            assert failures(work) == {}
    again = begun(season, work, 1)
    assert again.run_id == first.run_id and again.notes == () and dropped(season.store) == []


@pytest.mark.parametrize(("errors", "lost"), [
    ((NoNumbersError("the loss is no longer a number"),) * 2, True),
    ((UnreadableScanError("scan 7"),) * 2, True),
    ((PretrainError("the device has no memory even for 2 crops"),) * 2, False),
    ((RuntimeError("CUDA error: an illegal memory access was encountered"),) * 2, False),
    ((RuntimeError("CUDA error"), NoNumbersError("the loss is no longer a number")), False),
])  # fmt: skip
def test_only_what_comes_of_the_scans_costs_them(
    season: Season,
    work: Path,
    training: Callable[[BaseException], None],
    errors: tuple[BaseException, ...],
    lost: bool,
) -> None:
    for day, error in enumerate(errors):
        begun(season, work, day)
        training(error)
        train(season, work)
    state = begun(season, work, 3)
    (record,) = dropped(season.store)
    assert record.step == "pretrain" and str(errors[-1]) in record.reason and "was given up" in state.notes[0]
    assert set(record.read_until) == ({"A20"} if lost else set()) == set(state.read_from)


def test_tries_of_one_run_are_one_failure(
    season: Season, work: Path, training: Callable[[BaseException], None]
) -> None:
    first = begun(season, work)
    training(NoNumbersError("the loss is no longer a number"))
    for _ in range(4):
        train(season, work)
    assert failures(work) == {"pretrain": 1}
    assert begun(season, work, 1).run_id == first.run_id
    train(season, work)
    assert failures(work) == {"pretrain": 2}


def test_a_step_that_was_done_has_failed_no_more(season: Season, work: Path) -> None:
    state = begun(season, work).failed("corpus", "one", of_scans=True).failed("pretrain", "two")
    assert state.after("corpus", {}).failures == {"pretrain": ("two",)}
    assert state.again().after("corpus", {}).failed("corpus", "three").failures["corpus"] == ("three",)


@pytest.fixture
def put_to_use(season: Season, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh whose bundle is in use, and which has no record yet; what it made is only said to be there."""
    state = begun(season, work).after("corpus", {"manifest": "0", "crops": 1, "words": ""})
    state = state.after("pretrain", {"encoder": OWN.encoder, "training": {}})
    write_state(work, state.after("classifier", {"classifier": OWN.classifier, "missing": None}))
    both = {"classifier": OWN.classifier}
    monkeypatch.setattr(judging, "_verdict", lambda *_: Verdict(True, "no worse", {}))
    judging.judge_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    decide(season.store, "encoder", "promote", OWN.encoder, "none", NOW, False, "", {}, together=both)
    monkeypatch.setattr(beginning, "encoder_to_begin_from", lambda *_: OWN.encoder)
    monkeypatch.setattr(last_steps, "bundle_in_use", lambda _: OWN)


def finish(season: Season, work: Path) -> None:
    last_steps.decide_on_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)


@pytest.mark.usefixtures("put_to_use")
def test_one_whose_bundle_is_in_use_is_finished_whatever_the_store_did_and_however_old_it_is(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, *_: object) -> None:
        raise StoreError("cannot write: no space left")

    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    monkeypatch.setattr("soilpipe.pretrain.memory.remember", full)
    for day in (1, 9):
        begun(season, work, day)
        with pytest.raises(StoreError):
            finish(season, work)
    assert begun(season, work, 16).done["pretrain"]["encoder"] == OWN.encoder and dropped(season.store) == []
    monkeypatch.setattr("soilpipe.pretrain.memory.remember", lambda *_: None)
    finish(season, work)


@pytest.mark.usefixtures("put_to_use")
def test_one_that_is_given_up_after_its_bundle_was_put_to_use_says_so_and_has_read_its_scans(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("embeddings hold values that are not finite")

    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    monkeypatch.setattr("soilpipe.pretrain.memory.remember", fails)
    for day in (1, 2):
        begun(season, work, day)
        with pytest.raises(ValueError, match="not finite"):
            finish(season, work)
    state = begun(season, work, 3)
    (record,) = dropped(season.store)
    assert record.step == "decide" and record.read_until.keys() == {"A20"} == state.read_from.keys()
    assert "had been put to use before, and that stands" in record.reason and record.reason in state.notes[0]
