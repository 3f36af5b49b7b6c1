"""`soilpipe evaluate detector`: the page, the record, and a promotion by figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe import models
from soilpipe.detect import weights
from soilpipe.store import Store
from tests.labelled_project import labelled_project
from tests.tiny_model import make_model

cli = CliRunner()

pytestmark = pytest.mark.slow  # all judge one detector, which takes most of a minute to train


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project with a hold-out of 42 tiles on 14 scanner-days; the shipped model and a candidate were judged on it."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(weights, "SHIPPED", make_model(folder / "shipped", name="shipped", difference=False))
        season = labelled_project(folder, scanners=("A20", "B20", "C20"), days=10, tiles=3)
        candidate = make_model(folder / "m", name="candidate", difference=False, parameters=12_345)
        version = models.register(season.store, "detector", candidate)
        said = [
            cli.invoke(app, ["evaluate", "detector", "--version", one, *where(folder), *more])
            for one, more in (("shipped", ["--output", str(folder / "page")]), (version, ["--json"]))
        ]
        assert [one.exit_code for one in said] == [0, 0], [one.output for one in said]
        yield folder, version, said


def where(folder: Path) -> list[str]:
    return ["--project", str(folder / "soilpipe.yaml")]


def test_without_labels_the_projects_own_hold_out_is_judged_on(evaluated: Any) -> None:
    folder, version, (shown, as_json) = evaluated
    figures = json.loads(as_json.stdout)
    assert figures["sample"] == "hold-out" and figures["validation"] == "local"
    assert figures["images"] == 30 + 2 * 2 * 3 and figures["any_taxon"]["animals"] == 2 * figures["images"]
    assert "random tiles of this project's hold-out" in shown.stdout.replace("\n", " ")
    listed = json.loads(cli.invoke(app, ["models", "list", "--json", *where(folder)]).stdout)
    assert {model["version"]: model["validation"] for model in listed} == {"shipped": "local", version: "local"}


def test_the_page_stands_alone_and_the_json_beside_it_has_the_figures(evaluated: Any) -> None:
    folder, _, _ = evaluated
    page = (folder / "page" / "evaluation.html").read_text()
    figures = json.loads((folder / "page" / "evaluation.json").read_text())
    assert "http" not in page and "<script" not in page and page.count("data:image/png;base64,") >= 5
    assert "Judged on a random sample of this project" in page and "What it missed" in page
    assert f"{100 * figures['recall']:.0f} %" in page and figures["unit_count"] == figures["images"]
    assert figures["intervals"]["recall"] is not None and "judged" not in figures
    assert str(folder) not in page


def test_models_show_tells_the_limits_and_promotion_needs_no_force(evaluated: Any) -> None:
    folder, version, _ = evaluated
    shown = cli.invoke(app, ["models", "show", version, *where(folder)])
    assert "shortest length found" in shown.stdout and "judged on this project's scans" in shown.stdout
    promoted = cli.invoke(app, ["models", "promote", version, "--json", *where(folder)])
    assert promoted.exit_code == 0, promoted.exception
    decision = json.loads(promoted.stdout)
    assert decision["forced"] is False and decision["figures"]["comparison"]["days"] == 14
    assert models.champion(Store(folder / "store")) == version


def test_several_versions_stand_in_one_table(evaluated: Any, tmp_path: Path) -> None:
    folder, version, _ = evaluated
    both = ["--version", "shipped", "--version", version, "--version", version]
    said = cli.invoke(app, ["evaluate", "detector", *both, "--output", str(tmp_path), *where(folder)])
    assert said.exit_code == 0, said.output
    table = said.stdout[said.stdout.index("Any taxon") :]
    written = [json.loads(file.read_text()) for file in tmp_path.glob("*/evaluation.json")]
    assert len(written) == 2, "a version that is named twice is judged once"
    assert {figures["parameters"] for figures in written} == {None, 12_345} and "12345" in table
    for figures in written:
        (row,) = [line for line in table.splitlines() if line.strip().startswith(figures["version"])]
        told = [figures["any_taxon"][name] for name in ("ap50", "ap75", "ap")]
        told += [figures[name] for name in ("precision", "recall", "f1", "centre_f1")]
        assert all(f"{value:.3f}" in row for value in told)
        assert "centre-point" in row and f"{figures['count_error']:.2f}" in row
        assert figures["seconds"] > 0 and f"{figures['seconds']:.1f}" in row
        assert (tmp_path / figures["version"] / "evaluation.html").is_file()


def test_labels_and_images_belong_together(evaluated: Any) -> None:
    folder, _, _ = evaluated
    said = cli.invoke(app, ["evaluate", "detector", "--labels", "labels.json", *where(folder)])
    assert said.exit_code != 0 and "--images together" in str(said.exception)
