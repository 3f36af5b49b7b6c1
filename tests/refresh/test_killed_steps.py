"""A refresh that is killed at any of its steps and taken up: the same comes of it, and until it has decided what is in
use stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from soilpipe.decisions import Decision, decisions, in_use
from soilpipe.models import list_models
from soilpipe.pretrain.memory import read_members
from soilpipe.refresh import bundle as last_steps
from soilpipe.refresh import steps as first_steps
from soilpipe.refresh import verdict as judging
from soilpipe.refresh.records import refreshes
from soilpipe.refresh.state import STEPS
from tests.labels.conftest import Season
from tests.refresh.refresh_project import another_week, encoder_weights, labelled, open_gate, package, run, same

__all__ = ["open_gate", "package"]


class Killed(BaseException):
    """Stands for the end of the process: nothing of the program catches it."""


@pytest.mark.slow
@pytest.mark.usefixtures("open_gate")
@pytest.mark.parametrize("beforehand", [False, True], ids=["none in use", "a bundle in use"])
def test_killed_at_the_end_of_every_step_and_taken_up_it_comes_to_the_same(tmp_path: Path, beforehand: bool) -> None:
    """Each step is done and then not noted, the worst moment; and the last one is cut between its writes too."""
    clean_season = labelled(tmp_path / "clean", days=7)
    if beforehand:
        assert run(clean_season, tmp_path / "work-before", -0.5).outcome == "promoted"
        another_week(clean_season, 1)
    shutil.copytree(tmp_path / "clean", tmp_path / "killed")
    clean = run(clean_season, tmp_path / "work-clean").record
    killed_season = _moved(clean_season, tmp_path / "killed")
    work, champion = tmp_path / "work", _champion(killed_season)
    assert (champion.encoder is not None) == beforehand
    for week, (module, name, kill) in enumerate(_kills()):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, name, kill)
            with pytest.raises(Killed):
                print(module.__name__, name, run(killed_season, work, week / 100))
        if week < 5:
            assert _champion(killed_season) == champion, "nothing before the decision changes what is in use"
    record = run(killed_season, work, 0.1).record
    assert clean is not None and record is not None and record.run_id == refreshes(killed_season.store)[-1].run_id
    assert record.outcome == clean.outcome == "promoted"
    assert record.corpus == clean.corpus
    same(encoder_weights(clean_season, clean.encoder), encoder_weights(killed_season, record.encoder))
    _alike(record.figures["comparison"], clean.figures["comparison"])
    made = decisions(killed_season.store, "encoder")
    assert made[:-1] == list(champion.decisions) and made[-1].version == record.encoder, "promoted once"
    assert champion.files.items() <= killed_season.files().items(), "the one before can be taken back"
    assert {m.key for m in read_members(killed_season.store)} == {m.key for m in read_members(clean_season.store)}
    assert len(refreshes(killed_season.store)) == 1 + beforehand
    assert in_use(killed_season.store, "encoder") in {m.version for m in list_models(killed_season.store, "encoder")}


@dataclass(frozen=True)
class Champion:
    """What is in use, how that came, and what it consists of: {key: content} of the decisions and of both models."""

    encoder: str | None
    classifier: str | None
    decisions: tuple[Decision, ...]
    files: Mapping[str, Any]


def _champion(season: Season) -> Champion:
    both = in_use(season.store, "encoder"), in_use(season.store, "classifier")
    mine = ("records/promotions/", f"models/encoder/{both[0]}/", f"models/classifier/{both[1]}/")
    files = {key: content for key, content in season.files().items() if key.startswith(mine)}
    return Champion(*both, tuple(decisions(season.store, "encoder")), files)


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


def _alike(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _alike(one[key], other[key])
    else:
        assert one == pytest.approx(other)
