"""`soilpipe train classifier` and `soilpipe explain`, from labels to the picture of an explanation."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.options import OptionError
from soilpipe import models
from soilpipe.bundles.promotion import Bundle, bundle_in_use
from soilpipe.classify import explain as explaining
from soilpipe.classify import tuning
from soilpipe.classify.examples import ClassifierError
from soilpipe.classify.weights import load_classifier
from soilpipe.store import Store
from tests.classify.drawn_labels import draw_labels
from tests.flow_fixtures import make_project
from tests.labelled_project import labelled_project
from tests.labels.conftest import Season
from tests.tiny_model import make_model

cli = CliRunner()


def said(*words: str) -> Any:
    """What a command says as JSON; raises what it raises."""
    ran = cli.invoke(app, [*words, "--json"])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Season, Path, str, dict[str, Any]]:
    """A project with labelled tiles and a scan with two detections, and a classifier of its own labels."""
    folder = tmp_path_factory.mktemp("project")
    season = labelled_project(folder, scanners=("A20", "B20"), days=5, tiles=2)
    encoder = f"detector:{models.register(season.store, 'detector', make_model(folder / 'tiny'))}"
    found = [("Acari", 0.9, (20.0, 40.0, 37.0, 52.0)), ("Collembola", 0.8, (165.0, 138.0, 235.0, 162.0))]
    season.scan(41, animal=True, found=found)
    project = folder / "soilpipe.yaml"
    words = ("train", "classifier", "--project", str(project), "--encoder", encoder, "--device", "cpu")
    answer = said(*words)
    return season, project, answer["version"], answer["card"]


def one_scan(season: Season) -> tuple[str, str]:
    """The scan that was detected, and the first 8 digits of its analysis."""
    found, analysis = (list(season.store.keys(*where)) for where in (("detections", ".parquet"), ("analyses", ".json")))
    return Path(found[0]).stem, Path(analysis[0]).stem[:8]


def test_it_learns_the_projects_own_labels_but_not_the_hold_out(
    trained: tuple[Season, Path, str, dict[str, Any]],
) -> None:
    season, _, version, card = trained
    assert card["taxa"] == ["Collembola", "Acari"] and card["name"] == "casca"
    assert card["labels_taken"].startswith("4 of 20 labelled tiles are of the hold-out and left out")
    assert card["trained_on"]["drawn_as_it_comes"] > 20
    model = models.show(season.store, "classifier", version)
    assert model.taxa == ("Collembola", "Acari") and not model.champion
    classifier = load_classifier(models.model_path(season.store, "classifier", version))
    scans = {source.scan for source in classifier.examples.sources}
    assert all(scan.startswith(("A20-2024", "B20-2024")) for scan in scans)


def test_a_detection_is_explained_by_labelled_crops_with_a_picture(
    trained: tuple[Season, Path, str, dict[str, Any]], tmp_path: Path
) -> None:
    season, project, version, _ = trained
    scan_id, analysis = one_scan(season)
    detection = f"{scan_id}-{analysis}-0001"
    words = ("explain", detection, "--project", str(project), "--version", version[:6], "--device", "cpu")
    picture = tmp_path / "why.png"
    told = said(*words, "--output", str(picture))
    assert told["scan_id"] == scan_id and told["detected_as"] == "Collembola"
    assert told["box"] == [165.0, 138.0, 235.0, 162.0]
    assert told["classifier"] == version
    near = told["nearest"]
    assert len(near) == 5 and [one["distance"] for one in near] == sorted(one["distance"] for one in near)
    assert {"taxon", "distance", "scanner_id", "captured_at"} <= set(near[0])
    assert near[0]["captured_at"].startswith("2024-03") and near[0]["scanner_id"] in ("A20", "B20")
    shown = np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB"))
    assert shown.shape[1] > 6 * 192 and shown[150].std() > 10
    table = cli.invoke(app, list(words[:-2])).stdout
    (row,) = (line.split() for line in table.splitlines() if near[0]["scan"] in line and near[0]["taxon"] in line)
    assert float(row[1]) == pytest.approx(near[0]["distance"], abs=6e-4)


def test_a_detection_is_explained_by_the_classifier_that_named_it(
    trained: tuple[Season, Path, str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in use by now; here nothing is."""
    season, project, version, _ = trained
    scan_id, analysis = one_scan(season)
    words = ("explain", f"{scan_id}-{analysis}-0001", "--project", str(project), "--device", "cpu")
    settings: dict[str, Any] = {"classifier": {"version": version, "encoder": "detector:x"}}
    monkeypatch.setattr(explaining, "read_analysis", lambda *_: SimpleNamespace(settings=settings))
    assert said(*words)["classifier"] == version
    settings["classifier"]["version"] = "0123456789ab"
    with pytest.raises(OptionError, match=rf"named .* \(0123456789ab\) is no longer in the store.*{version}"):
        said(*words)


def test_what_cannot_be_explained_is_said(trained: tuple[Season, Path, str, dict[str, Any]]) -> None:
    season, project, version, _ = trained
    known = ("--project", str(project), "--version", version)
    with pytest.raises(ClassifierError, match="'seventeen' is no detection id; one looks like"):
        said("explain", "seventeen", *known)
    scan_id, analysis = one_scan(season)
    with pytest.raises(ClassifierError, match=f"have no {scan_id}-{analysis}-0007: they are 2, numbered from 0000"):
        said("explain", f"{scan_id}-{analysis}-0007", *known)
    with pytest.raises(ClassifierError, match="was not detected under an analysis that begins with 00000000"):
        said("explain", f"{scan_id}-00000000-0000", *known)
    with pytest.raises(
        OptionError, match=f"No classifier is in use, and none named .* Name one with --version: {version}"
    ):
        said("explain", f"{scan_id}-{analysis}-0000", "--project", str(project))


def test_a_taxon_is_added_to_a_version(trained: tuple[Season, Path, str, dict[str, Any]], tmp_path: Path) -> None:
    season, project, version, card = trained
    labels = draw_labels(tmp_path, {"Isopoda": 2}, scans=1)
    words = ("train", "classifier", "--project", str(project), "--labels", str(labels), "--device", "cpu")
    added = said(*words, "--add-to", version)
    assert added["version"] != version and added["card"]["added"] == {"Isopoda": 6}
    assert added["card"]["taxa"] == [*card["taxa"], "Isopoda"] and added["card"]["encoder"] == card["encoder"]
    assert {model.version for model in models.list_models(season.store, "classifier")} >= {version, added["version"]}
    with pytest.raises(OptionError, match="--add-to keeps encoder and calibration"):
        said(*words, "--add-to", version, "--calibrate", "A")


@pytest.mark.slow
def test_an_encoder_that_is_tuned_is_a_version_too_and_both_go_into_use_together(
    trained: tuple[Season, Path, str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    season, project, before, _ = trained
    monkeypatch.setattr(tuning, "Tuning", partial(tuning.Tuning, steps=3, batch=8))
    encoder = models.card_of(season.store, "classifier", before)["encoder"]
    words = ("train", "classifier", "--project", str(project), "--encoder", encoder, "--device", "cpu", "--tune")
    answer = said(*words)
    tuned = answer["card"]["encoder"]
    assert answer["card"]["encoder_info"]["tuned"] == {"steps": 3, "begun_from": encoder}
    assert models.show(season.store, "encoder", tuned).card["begun_from"] == encoder
    ran = cli.invoke(app, [*words])
    assert f"It stands on encoder {tuned}: {encoder}, tuned on these crops." in " ".join(ran.output.split())
    with pytest.raises(OptionError, match="--tune"):
        said("train", "classifier", "--project", str(project), "--add-to", before, "--tune")
    said(
        "models", "promote", tuned, "--role", "encoder", "--with", answer["version"], "--project", str(project),
        "--force", "--reason", "to see it at work",
    )  # fmt: skip
    assert bundle_in_use(season.store) == Bundle(tuned, answer["version"])
    assert models.in_use(season.store, "encoder") == tuned
    said("models", "rollback", "--role", "classifier", "--project", str(project))


def test_without_labels_it_says_how_to_get_some(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    ran = cli.invoke(app, ["train", "classifier", "--project", str(project.file)])
    assert "nobody has looked at a tile of this project yet" in str(ran.exception)
    with pytest.raises(OptionError, match="--images goes with --labels"):
        said("train", "classifier", "--project", str(project.file), "--images", str(tmp_path))
    assert not list(Store(str(project.store)).keys("models"))
