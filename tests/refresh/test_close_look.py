"""What a refresh makes of the close look: its encoder has that of the detector in use, and knows what that has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from soilpipe.detect import weights
from soilpipe.encoders import encoder_at, encoder_to_begin_from
from soilpipe.models import card_of, register
from soilpipe.refresh import steps
from tests.encoder.test_close_look import detector_in
from tests.refresh.begun_refresh import begun, silent
from tests.refresh.refresh_project import encoder_weights, unlabelled


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a second stage in the place of the detector that comes with the package."""
    monkeypatch.setattr(weights, "SHIPPED", detector_in(tmp_path / "shipped"))


def test_the_encoder_of_a_refresh_looks_as_closely_as_the_detector_in_use(tmp_path: Path) -> None:
    season, work = unlabelled(tmp_path / "project"), tmp_path / "work"
    work.mkdir()
    state = begun(season, work)
    assert encoder_at(season.store, state.begun_from, "cpu").close is not None
    own = register(season.store, "detector", detector_in(tmp_path / "own", seed=2))
    project = season.project.model_copy(update={"detector": own})  # chosen after the refresh was begun
    for step in (steps.choose_corpus, steps.pretrain_encoder):
        state = step(project, season.store, work, device="cpu", tell=silent)
    made = str(state.done["pretrain"]["encoder"])
    card, close = card_of(season.store, "encoder", made), encoder_at(season.store, made, "cpu").close
    expected = encoder_at(season.store, f"detector:{own}", "cpu").close
    assert close is not None and expected is not None
    held = encoder_weights(season, made)
    for name, value in expected.state_dict().items():
        assert (held[f"close.{name}"] == value.numpy()).all(), name
    assert card["begun_from"] == state.begun_from != f"detector:{own}"
    assert [one["version"] for one in card["ancestors"]] == [state.begun_from.removeprefix("detector:"), own]
    assert encoder_to_begin_from(season.store, made, own) == made, "the next one can begin from it"
