"""The classifier that a refresh fits in the place of another keeps what a person chose for that one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.bundles.promotion import bundle_of, promote_bundle
from soilpipe.classify.chosen import Chosen, chosen_of
from soilpipe.decisions import Verdict
from soilpipe.detect import weights
from soilpipe.encoders import encoder_at, trunk_in_use
from soilpipe.refresh.bundle import fit_into
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.refresh.refresh_project import NOW
from tests.tiny_model import make_model

STRICT = ("--alpha", "0.01", "--calibrate", "C11", "--least-examples", "3")


@pytest.fixture
def season(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Season:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped"))
    (tmp_path / "project").mkdir()
    return labelled_project(tmp_path / "project", scanners=("A20", "B07", "C11", "D12"), days=5, tiles=1)


def refitted(season: Season, out: Path) -> dict[str, Any]:
    """The card of what a refresh fits now, on any encoder."""
    encoder = encoder_at(season.store, trunk_in_use(season.store), "cpu")
    assert fit_into(season.project, season.store, encoder, out, lambda *_: None) is None
    card: dict[str, Any] = json.loads((out / "card.json").read_text())
    return card


def test_alpha_calibration_and_least_examples_are_those_of_the_classifier_in_use(
    season: Season, tmp_path: Path
) -> None:
    card = refitted(season, tmp_path / "first")
    assert chosen_of(card) == Chosen(0.05, (), 5), "nothing is in use yet"
    ran = CliRunner().invoke(
        app, ["train", "classifier", *STRICT, "--project", str(season.project.path), "--device", "cpu", "--json"]
    )
    assert ran.exit_code == 0, ran.output
    bundle = bundle_of(season.store, json.loads(ran.stdout)["version"])
    promote_bundle(season.store, bundle, Verdict(True, "a person's", {}), NOW)
    card = refitted(season, tmp_path / "second")
    assert (card["alpha"], card["calibrate"], card["least_examples"]) == (0.01, ["C11"], 3)
    assert set(card["served"]["calibration"]["scanner_spans"]) == {"C11"}


def test_a_calibration_scanner_without_labels_is_told(
    season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soilpipe.classify.chosen.chosen_of", lambda _: Chosen(calibrate=("S7",)))
    monkeypatch.setattr("soilpipe.refresh.bundle.in_use", lambda *_: "c")
    monkeypatch.setattr("soilpipe.refresh.bundle.card_of", lambda *_: {})
    encoder = encoder_at(season.store, trunk_in_use(season.store), "cpu")
    words = fit_into(season.project, season.store, encoder, tmp_path / "out", lambda *_: None)
    assert words is not None and words.startswith("no labelled crop is of scanner S7")
    assert words.endswith("(calibrated on S7 alone, as the one in use)")


def test_the_card_of_an_earlier_release_tells_its_calibration_by_what_served_it() -> None:
    served = {"calibration": {"scanner_spans": {"S7": ["2024-03-01", "2024-04-01"]}, "scanner_times": None}}
    assert chosen_of({"alpha": 0.02, "served": served}) == Chosen(0.02, ("S7",), 5)
    assert chosen_of({"alpha": 0.02, "served": {}}) == Chosen(0.02, (), 5)
