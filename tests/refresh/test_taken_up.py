"""Refreshes that did not end: what is taken up, what begins anew, and what is given up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from soilpipe import layout
from soilpipe.decisions import decide
from soilpipe.models import list_models
from soilpipe.pretrain.learning_recipe import NoNumbersError
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import steps as first_steps
from soilpipe.refresh.new_scans import had_before
from soilpipe.refresh.records import DroppedRefresh, RefreshRecord, dropped, keep_record
from soilpipe.refresh.refresh import refresh
from soilpipe.refresh.state import RefreshState, read_state, write_state
from tests.labels.conftest import Season
from tests.refresh.begun_refresh import DAY, begun, package, season, work
from tests.refresh.refresh_project import NOW, PLAN, another_week, unlabelled
from tests.test_lineage import encoder

__all__ = ["package", "season", "work"]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_the_next_weekly_run_takes_a_refresh_up_and_the_one_after_begins_anew(season: Season, work: Path) -> None:
    first = begun(season, work).run_id
    assert begun(season, work, 7.05).run_id == first
    state = begun(season, work, 8)
    assert state.run_id != first and "more than a week has passed" in state.notes[0]
    (record,) = dropped(season.store)
    assert record.run_id == first and record.read_until == {}, "its scans are read again"


def test_another_budget_begins_anew_and_says_so_and_the_same_one_is_taken_up(season: Season, work: Path) -> None:
    def begun_with(days: float, **changes: Any) -> RefreshState:
        plan = PLAN.model_copy(update=changes)
        return beginning.begin(season.project, season.store, work, plan=plan, now=NOW + days * DAY)

    first = begun_with(0)
    write_state(work, first.after("corpus", {"manifest": "0"}).after("pretrain", {"encoder": "1" * 12}))
    (work / "corpus").mkdir()
    (work / "training").mkdir()
    assert begun_with(1).run_id == first.run_id == begun_with(2, day="monday", hour=5).run_id
    assert dropped(season.store) == []

    other = begun_with(3, steps=4, recompute=True)
    reason = "it was begun with steps 3, recompute False, and this one is to have steps 4, recompute True"
    assert other.notes == (f"The refresh before, {first.run_id}, was given up: {reason}. Its crops are taken up",)
    assert other.run_id != first.run_id and other.begun_at > first.begun_at and other.plan.steps == 4
    assert other.done == {"corpus": {"manifest": "0"}} and other.read_until == first.read_until
    assert (work / "corpus").is_dir() and not (work / "training").exists(), "the training is another one"
    (record,) = dropped(season.store)
    assert (record.run_id, record.reason, record.encoder) == (first.run_id, reason, "1" * 12)
    assert record.read_until == {}, "its scans are learned from"

    for days, changes in ((4, {"minutes": 100.0}), (5, {"crops": 32})):  # other crops would be chosen
        write_state(work, begun_with(3.5).after("corpus", {"manifest": "0"}))
        (work / "corpus").mkdir(exist_ok=True)
        state = begun_with(days, **changes)
        assert state.done == {} and not (work / "corpus").exists()
        assert len(state.notes) == 1 and f"this one is to have {next(iter(changes))} " in state.notes[0]
        assert "crops are taken up" not in state.notes[0]


def test_where_others_were_put_to_use_meanwhile_it_begins_anew_and_says_so(
    season: Season, work: Path, tmp_path: Path
) -> None:
    first = begun(season, work)
    write_state(work, first.after("corpus", {"manifest": "0"}))
    (work / "corpus").mkdir()
    version = encoder(season.store, tmp_path / "theirs")
    decide(season.store, "encoder", "promote", version, "none", NOW, True, "a person's", {})
    state = begun(season, work, 1)
    assert state.begun_from == version and state.done == {} and not (work / "corpus").exists()
    assert "was given up: it was begun from detector:" in state.notes[0] and version in state.notes[0]
    assert [record.run_id for record in dropped(season.store)] == [first.run_id]


@pytest.mark.slow
def test_what_fails_twice_at_a_step_is_given_up_and_its_scans_are_left(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = unlabelled(tmp_path / "again")

    def run(days: float) -> Any:
        return refresh(season.project, season.store, plan=PLAN, now=NOW + days * DAY, device="cpu", work=work)

    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.pretrain.learning.learn", _fails)
        for days in (0, 6):
            with pytest.raises(NoNumbersError, match="the loss is no number"):
                run(days)
    state = read_state(work)
    assert state is not None and len(state.failures["pretrain"]) == 2
    assert run(7).outcome == "nothing new", "what failed is not read a third time"
    (record,) = dropped(season.store)
    assert record.step == "pretrain" and "failed 2 times" in record.reason and "the loss is no number" in record.reason
    another_week(season, 1, ("A20", "B07"))
    with monkeypatch.context() as patched:
        patched.setattr(first_steps, "register", _killed)
        with pytest.raises(Killed):
            run(14)
    state = read_state(work)
    assert state is not None and list(state.done) == ["corpus"]
    manifest = layout.corpus_manifest(state.done["corpus"]["manifest"])
    assert season.store.exists(manifest), "what was learned from is told before the encoder is there"
    assert not [one for one in list_models(season.store, "encoder") if one.version != "shipped"]
    result = run(14.1)
    assert result.outcome == "candidate" and result.record is not None
    assert result.record.read_until["A20"] > record.read_until["A20"]


def _fails(*_: object, **__: object) -> None:
    raise NoNumbersError("the loss is no number")


def _killed(*_: object, **__: object) -> None:
    raise Killed


def test_each_scanner_is_read_on_from_its_own_last_scan(season: Season, work: Path) -> None:
    """B07 sends its scans once a month: they are older than what the other scanner has been read up to."""
    for number in (4, 40):
        season.scan(number, scanner_id="A20", size=(64, 96))
    season.scan(4, scanner_id="B07", size=(64, 96))
    season.scan(4 * 365 * 11, scanner_id="B07", size=(64, 96))  # its clock says 2035
    state = begun(season, work)
    assert {one: f"{at:%m-%d}" for one, at in state.read_until.items()} == {"A20": "03-16", "B07": "03-07"}
    assert state.read_from == {} and state.since is None
    keep_record(season.store, _record(state, "a" * 12, "candidate"))
    season.scan(20, scanner_id="B07", size=(64, 96))
    (work / "refresh.json").unlink()
    after = begun(season, work, 7)
    assert after.read_from == state.read_until and f"{after.read_until['B07']:%m-%d}" == "03-11"
    assert after.since == state.read_until["B07"], "what is new begins there"


def _record(state: RefreshState, version: str, outcome: Any) -> RefreshRecord:
    return RefreshRecord(
        run_id=f"{state.run_id}-{version}",
        begun_at=state.begun_at,
        ended_at=state.begun_at,
        since=state.since,
        until=state.until,
        begun_from=state.begun_from,
        encoder=version,
        classifier=None,
        outcome=outcome,
        words="",
        figures={},
        corpus={},
        training={},
        read_until=state.read_until,
    )


def test_after_a_refused_week_a_project_without_labels_goes_on_from_its_last_candidate(
    season: Season, work: Path, tmp_path: Path
) -> None:
    version = encoder(season.store, tmp_path / "candidate")
    for week, (which, outcome) in enumerate([(version, "candidate"), ("b" * 12, "refused"), ("c" * 12, "candidate")]):
        state = begun(season, work, 7 * week)
        keep_record(season.store, _record(state, which, outcome))
        (work / "refresh.json").unlink()
    assert begun(season, work, 30).begun_from == version, "the refused one is passed over, and one that is gone"


def test_records_of_earlier_releases_say_up_to_when_all_scanners_were_read(season: Season, work: Path) -> None:
    state = begun(season, work)
    until = datetime(2024, 3, 20, tzinfo=UTC)
    old = _record(state, "a" * 12, "refused").model_copy(update={"until": until, "read_until": {}})
    given_up = DroppedRefresh(
        run_id="x", begun_at=NOW, dropped_at=NOW, step="corpus", reason="", encoder=None, read_until={"A20": NOW}
    )
    had = had_before(season.project, season.store, [old], [given_up])
    assert had.by_time == {"A20": NOW, "B07": until} == had.read_until and not had.lists
