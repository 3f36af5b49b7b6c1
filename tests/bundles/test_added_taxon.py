"""A taxon that was added by a few examples comes into use as any classifier does: through the gate, by a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe.bundles import enough, gate
from soilpipe.bundles.promotion import bundle_in_use
from soilpipe.decisions import decisions
from soilpipe.detect import weights
from soilpipe.models import ModelError, card_of
from tests.classify.drawn_labels import draw_labels
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.tiny_model import make_model


@pytest.fixture
def season(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Season:
    """Of one of three scanners all tiles are held out; one scan is detected."""
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped"))
    (tmp_path / "project").mkdir()
    season = labelled_project(tmp_path / "project", scanners=("A20", "B07", "C11"), days=4, tiles=2)
    found = [("Acari", 0.9, (20.0, 40.0, 37.0, 52.0)), ("Collembola", 0.8, (165.0, 138.0, 235.0, 162.0))]
    season.scan(16, scanner_id="B07", animal=True, found=found)
    return season


def said(season: Season, *words: str) -> str:
    """What a command says; raises what it raises."""
    ran = CliRunner().invoke(app, [*words, "--project", str(season.project.path)])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.mark.slow
def test_a_classifier_with_an_added_taxon_is_judged_and_put_to_use(
    season: Season, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "classifier", "--device", "cpu", "--json")
    first = json.loads(said(season, *train))["version"]
    promote = ("models", "promote", "--role", "classifier")
    said(season, *promote, first, "--force", "--reason", "the first one")
    labels = draw_labels(tmp_path / "new", {"Isopoda": 2}, scans=1)
    second = json.loads(said(season, *train, "--labels", str(labels), "--add-to", first))["version"]

    with pytest.raises(ModelError, match=r"stays a candidate, .* of 50 labelled animals"):
        said(season, *promote, second)
    for name, value in {"LEAST_DAYS": 2, "LEAST_ANIMALS": 5}.items():
        monkeypatch.setattr(enough, name, value)
    for name in ("LARGEST_LOSS_OF_FEW", "LARGEST_LOSS_OF_A_CLASS"):  # what a network of chance tells apart is chance
        monkeypatch.setattr(gate, name, 1.0)
    told = said(season, *promote, second)
    assert f"{second} replaces {first}, from the next scan on." in told and "Forced" not in told
    assert "By its figures: macro-F1 " in told and f"with classifier {first}, on " in told
    bundle = bundle_in_use(season.store)
    assert bundle is not None and bundle.classifier == second
    assert "Isopoda" in card_of(season.store, "classifier", second)["taxa"]
    decision = decisions(season.store, "classifier")[-1]
    assert not decision.forced and decision.role == "classifier"
    comparison = decision.figures["comparison"]
    assert comparison["animals"] >= 5 and {"Acari", "Collembola"} <= set(comparison["classes"])
    assert decision.figures["last_week"]["scans"] == 1
