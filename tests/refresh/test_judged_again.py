"""What a refresh does with its verdict: judged again, overruled, told in words, left a candidate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from soilpipe.bundles.promotion import Bundle
from soilpipe.decisions import Verdict, decide, decisions, rollback
from soilpipe.detect.labelled import LabelError
from soilpipe.detections import DamagedDetectionsError
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.state import read_state, write_state
from soilpipe.refresh.words import as_markdown
from soilpipe.roles import ModelError
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.refresh.begun_refresh import DAY, begun, package, season, silent, work
from tests.refresh.refresh_project import NOW

__all__ = ["package", "season", "work"]

OWN = Bundle("1" * 12, "2" * 12)


def judged(season: Season, work: Path) -> str:
    state = judging.judge_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    return str(state.done["judge"]["words"])


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what the gate says from now on: that it passes, in these words."""

    def say(words: str) -> None:
        monkeypatch.setattr(judging, "_verdict", lambda *_: Verdict(True, words, {}))

    return say


def until_judged(season: Season, work: Path) -> None:
    """A refresh that has come as far as the classifier; what it made is only said to be there."""
    state = begun(season, work)
    gave: dict[str, Any] = {"encoder": OWN.encoder, "training": {}}
    state = state.after("corpus", {"manifest": "0", "crops": 1}).after("pretrain", gave)
    write_state(work, state.after("classifier", {"classifier": OWN.classifier, "missing": None}))


def test_a_verdict_is_told_again_when_labels_or_the_bundle_in_use_have_changed(
    tmp_path: Path, work: Path, verdicts: Callable[[str], None]
) -> None:
    (tmp_path / "labelled").mkdir()
    season = labelled_project(tmp_path / "labelled", days=2, tiles=1)
    until_judged(season, work)
    verdicts("first")
    assert judged(season, work) == "first"
    verdicts("second")
    assert judged(season, work) == "first", "nothing has changed"
    both = {"classifier": "4" * 12}
    decide(season.store, "encoder", "promote", "3" * 12, "none", NOW, True, "a person's", {}, together=both)
    assert judged(season, work) == "second", "another one is in use"
    verdicts("third")
    labels = season.store.keys("labels", ".json")
    season.store.delete(next(key for key in labels if "draws" not in key))
    assert judged(season, work) == "third", "there are other labels"


def test_what_is_judged_again_at_the_decision_is_judged_on_the_same_device(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_judged(season, work)
    devices: list[object] = []

    def verdict(project: object, store: object, state: object, work: object, device: object, *_: object) -> Verdict:
        devices.append(device)
        return Verdict(False, "worse", {})

    monkeypatch.setattr(judging, "_verdict", verdict)
    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    last_steps.decide_on_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    assert devices == ["cpu"]


def test_a_bundle_that_a_person_took_back_is_not_put_to_use_again(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch, verdicts: Callable[[str], None]
) -> None:
    """Killed after the promotion, rolled back by hand, and taken up: the roll-back stands."""
    until_judged(season, work)
    verdicts("no worse")
    judged(season, work)
    both = {"classifier": OWN.classifier}
    decide(season.store, "encoder", "promote", OWN.encoder, "none", NOW, False, "", {}, together=both)
    rollback(season.store, "encoder", "it loses the mites", NOW + DAY)
    verdicts("judged again")
    monkeypatch.setattr("soilpipe.pretrain.corpus.open_corpus", lambda _: None)
    monkeypatch.setattr("soilpipe.pretrain.memory.remember", lambda *_: None)
    record = last_steps.decide_on_bundle(season.project, season.store, work, device="cpu", now=NOW + DAY, tell=silent)
    assert [one.action for one in decisions(season.store, "encoder")] == ["promote", "rollback"]
    assert record.words == "no worse" and "has been replaced since" in record.notes[0]
    assert "has been replaced since." in as_markdown(record)


def test_what_a_person_puts_to_use_at_the_same_moment_is_not_overruled(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch, verdicts: Callable[[str], None]
) -> None:
    """Between the last look at what is in use and the record; taken up again, it is judged against that."""
    until_judged(season, work)
    verdicts("no worse")
    judged(season, work)
    real, theirs = last_steps.judge_bundle, {"classifier": "4" * 12}

    def then_a_person(*args: Any, **keys: Any) -> Any:
        state = real(*args, **keys)
        decide(season.store, "encoder", "promote", "3" * 12, "none", NOW, True, "a person's", {}, together=theirs)
        return state

    monkeypatch.setattr(last_steps, "judge_bundle", then_a_person)
    monkeypatch.setattr(last_steps, "bundle_in_use", lambda _: None)
    monkeypatch.setattr("soilpipe.bundles.promotion.check_bundle", lambda *_: None)
    monkeypatch.setattr("soilpipe.bundles.promotion.bundle_in_use", lambda _: None)
    with pytest.raises(ModelError, match="meanwhile another decision"):
        last_steps.decide_on_bundle(season.project, season.store, work, device="cpu", now=NOW, tell=silent)
    assert [one.version for one in decisions(season.store, "encoder")] == ["3" * 12]
    verdicts("judged against theirs")
    assert judged(season, work) == "judged against theirs"


@pytest.mark.parametrize(
    "error", [LabelError("tile 7"), DamagedDetectionsError("tile 7", "is cut off"), ModelError("tile 7")]
)
def test_what_cannot_be_judged_stays_a_candidate_and_the_words_say_why(
    season: Season, work: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    until_judged(season, work)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(judging, "hold_out_labels", fails)
    monkeypatch.setattr(judging, "_collapsed", lambda _: None)
    assert "cannot be judged: tile 7" in judged(season, work)
    state = read_state(work)
    assert state is not None and state.done["judge"]["undecided"] and not state.done["judge"]["passed"]


def test_a_rival_that_cannot_be_loaded_is_left_aside_unless_it_is_in_use(
    season: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, present = Bundle("5" * 12, "6" * 12), Bundle("7" * 12, "8" * 12)

    def judged_one(project: object, store: object, bundle: Bundle, *_: object, **__: object) -> str:
        if bundle == old:
            raise ModelError("its trunk is gone")
        return bundle.encoder

    monkeypatch.setattr(judging, "judged", judged_one)
    monkeypatch.setattr(judging, "rivals_of", lambda *_: [old, present])

    def records(in_use: Bundle) -> list[Any]:
        monkeypatch.setattr(judging, "bundle_in_use", lambda _: in_use)
        on: Any = SimpleNamespace()
        return judging.judged_with_rivals(season.project, season.store, OWN, on, NOW, device="cpu", tell=silent)

    assert records(present) == [OWN.encoder, present.encoder]
    with pytest.raises(ModelError, match="its trunk is gone"):
        records(old)
