"""Detectors on the command line: training one, finding it again, and detecting on loose images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tests.flow_fixtures import TinyProject, make_project, picture

cli = CliRunner()


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO labels of two pictures beside it."""
    folder = tmp_path_factory.mktemp("labels")
    for number in range(2):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 224, "height": 224} for n in range(2)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [40 + n, 50, 28, 16]} for n in range(2)]
    file = folder / "labels.json"
    categories = [{"id": 1, "name": "Acari"}]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return file


@pytest.fixture(scope="module")
def trained(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyProject, str, Any]:
    """A project, the version trained in it, and what the command said."""
    project = make_project(tmp_path_factory.mktemp("trained"))
    told = cli.invoke(app, [*training(project, labels), "--steps", "1", "--name", "mine", "--json"])
    assert told.exit_code == 0, told.output
    return project, json.loads(told.stdout)["version"], json.loads(told.stdout)


def training(project: TinyProject, labels: Path) -> list[str]:
    places = ["--labels", str(labels), "--images", str(labels.parent), "--project", str(project.file)]
    return ["train", "detector", *places]


def test_a_trained_detector_keeps_its_card_and_its_curves_where_models_show_tells(
    trained: tuple[TinyProject, str, Any],
) -> None:
    project, version, _ = trained

    shown = cli.invoke(app, ["models", "show", "mine", "--project", str(project.file), "--json"])

    model = json.loads(shown.stdout)
    assert model["version"] == version
    assert model["card"]["taxa"] == ["Acari"]
    assert Path(model["curves"]).read_bytes().startswith(b"\x89PNG")
    for version in ("mine", "shipped"):
        shown = cli.invoke(app, ["models", "show", version, "--project", str(project.file)])
        assert re.search(r"licence\W+\w", shown.stdout), shown.stdout


def test_a_trained_detector_can_be_judged_and_promoted_and_taken_back(
    trained: tuple[TinyProject, str, Any], labels: Path
) -> None:
    project, version, _ = trained
    where = ["--project", str(project.file), "--json"]

    places = ["--labels", str(labels), "--images", str(labels.parent)]
    judged = cli.invoke(app, ["evaluate", "detector", *places, "--version", "mine", *where])
    refused = cli.invoke(app, ["models", "promote", "mine", *where])
    forced = cli.invoke(app, ["models", "promote", "mine", "--force", "--reason", "a test", *where])
    listed = cli.invoke(app, ["models", "list", *where[:-1]])
    back = cli.invoke(app, ["models", "rollback", *where])
    again = cli.invoke(app, ["models", "promote", "mine", "--force", "--reason", "a test", *where[:-1]])
    cli.invoke(app, ["models", "rollback", *where])

    assert json.loads(judged.stdout)["any_taxon"]["animals"] == 2
    assert refused.exit_code != 0
    assert json.loads(forced.stdout)["version"] == version
    assert json.loads(back.stdout)["version"] == "shipped"
    mine = next(line for line in listed.stdout.splitlines() if version in line)
    assert "judged, but not so that counts can lean on it" in mine
    assert f"{version} has no name for Collembola, Protura, " in again.stdout
    assert "Acari" not in again.stdout.split("has no name for")[1].split("which")[0], "it names those"


def test_pictures_of_images_with_the_same_name_do_not_overwrite_each_other(
    trained: tuple[TinyProject, str, Any], tmp_path: Path
) -> None:
    project, _, _ = trained
    images = [tmp_path / folder / "scan.jpg" for folder in "ab"]
    for number, image in enumerate(images):
        image.parent.mkdir()
        image.write_bytes(picture(number))

    output = tmp_path / "new" / "found.json"
    options = ["--detector", "mine", "--project", str(project.file), "--threshold", "0.9", "--output", str(output)]
    shown = cli.invoke(app, ["detect", *map(str, images), *options, "--overlay", str(tmp_path / "overlay")])

    assert shown.exit_code == 0, shown.output
    assert sorted(file.name for file in (tmp_path / "overlay").iterdir()) == ["scan-2.png", "scan.png"]
    assert cv2.imread(str(tmp_path / "overlay" / "scan.png")) is not None
    assert json.loads(output.read_text())["info"]["threshold"] == 0.9, "the one that was used"
    assert "From score 0.90 on." in shown.stderr


def test_an_unreadable_image_among_good_ones_is_told_and_the_others_are_written(
    trained: tuple[TinyProject, str, Any], tmp_path: Path
) -> None:
    project, _, _ = trained
    (tmp_path / "good.jpg").write_bytes(picture(0))
    (tmp_path / "bad.jpg").write_bytes(b"Dear colleague")
    images = [str(tmp_path / name) for name in ("bad.jpg", "good.jpg", "missing.jpg")]

    shown = cli.invoke(app, ["detect", *images, "--detector", "mine", "--project", str(project.file)])

    assert shown.exit_code == 1
    assert [image["file_name"] for image in json.loads(shown.stdout)["images"]] == ["good.jpg"]
    assert "bad.jpg" in shown.stderr and "missing.jpg: there is no such file" in shown.stderr


def test_the_change_detector_has_nothing_to_compare_a_loose_image_with(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(picture(0))

    shown = cli.invoke(app, ["detect", str(tmp_path / "good.jpg"), "--detector", "change"])

    assert shown.exit_code != 0
    assert "earlier" in str(shown.exception)
