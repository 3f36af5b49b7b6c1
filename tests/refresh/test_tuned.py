"""A refresh with labels enough tunes what it has pretrained; the tuned encoder is the one that is judged and used."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from soilpipe import models
from soilpipe.bundles.promotion import Bundle, bundle_in_use
from soilpipe.classify import tuning
from soilpipe.lineage import line_of
from soilpipe.refresh import begin as beginning
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh.pictures import curves_of
from soilpipe.refresh.records import dropped, refreshes
from soilpipe.refresh.state import read_state
from soilpipe.refresh.upkeep import remove_old_candidates
from soilpipe.refresh.words import as_markdown
from tests.refresh.refresh_project import NOW, PLAN, another_week, labelled, open_gate, package, run

__all__ = ["open_gate", "package"]


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "WORTH_IT", 1)
    monkeypatch.setattr(tuning, "Tuning", partial(tuning.Tuning, steps=2, batch=8))


@pytest.mark.slow
@pytest.mark.usefixtures("open_gate")
def test_the_tuned_encoder_is_put_to_use_and_the_next_refresh_begins_from_it(tmp_path: Path) -> None:
    season = labelled(tmp_path / "project")
    store, work = season.store, tmp_path / "work"
    result = run(season, work)
    record = result.record
    assert result.outcome == "promoted" and record is not None and record.pretrained is not None
    assert bundle_in_use(store) == Bundle(record.encoder, str(record.classifier))
    tuned, pretrained = (models.card_of(store, "encoder", one) for one in (record.encoder, record.pretrained))
    assert tuned["begun_from"] == record.pretrained and "tuned" not in pretrained
    # By labelled crops outside the hold-out alone, so its line is that of the corpora.
    assert list(line_of(store, record.encoder)) == [(record.pretrained, record.corpus["manifest"])]
    assert set(tuned["ancestors"][0]["trained_on"]["scanner_times"]) == {"B07", "C11"}, "A20 is the hold-out"
    assert curves_of(store, "encoder", record.encoder) == curves_of(store, "encoder", record.pretrained) is not None
    assert f"Pretrained as {record.pretrained}, then tuned on labelled crops." in as_markdown(record)

    another_week(season, 1)
    after = run(season, work, week=1).record
    assert after is not None and after.begun_from == record.encoder
    assert after.figures["comparison"]["animals"] > 0, "it can be judged beside it"
    manifests = [record.corpus["manifest"], after.corpus["manifest"]]
    assert [manifest for _, manifest in line_of(store, after.encoder)] == manifests[::-1]

    remove_old_candidates(store, candidates=0)
    assert {model.version for model in models.list_models(store, "encoder")} >= {after.encoder, record.encoder}
    assert [manifest for _, manifest in line_of(store, after.encoder)] == manifests[::-1]


@pytest.mark.slow
def test_killed_after_its_bundle_was_put_to_use_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_gate: None
) -> None:
    season, work = labelled(tmp_path / "project"), tmp_path / "work"

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(last_steps, "keep_record", killed)
        with pytest.raises(Killed):
            run(season, work)
    state = read_state(work)
    assert state is not None and models.in_use(season.store, "encoder") == state.done["classifier"]["encoder"]
    assert beginning.begin(season.project, season.store, work, plan=PLAN, now=NOW).run_id == state.run_id
    assert run(season, work).outcome == "promoted"
    assert len(refreshes(season.store)) == 1 and not dropped(season.store)


@pytest.mark.slow
def test_given_up_it_leaves_nothing_that_upkeep_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    season, work = labelled(tmp_path / "project"), tmp_path / "work"

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(last_steps, "judge_bundle", killed)
        with pytest.raises(Killed):
            run(season, work)
    assert len(models.list_models(season.store, "encoder")) == 2
    beginning.begin(season.project, season.store, work, plan=PLAN.model_copy(update={"steps": 4}), now=NOW)
    (gone,) = dropped(season.store)
    assert gone.encoder is not None and gone.pretrained is not None
    remove_old_candidates(season.store)
    left = {model.version for model in models.list_models(season.store, "encoder")}
    assert gone.pretrained not in left
