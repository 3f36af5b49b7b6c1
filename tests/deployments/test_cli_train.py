"""`soilpipe train detector`: what it is begun from, how it is kept, and what it says on the way."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands import training_progress
from soilpipe import models
from soilpipe.config import load_project
from soilpipe.detect import checkpoint
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.sizes import make_network
from soilpipe.detect.torchvision_here import import_torchvision
from soilpipe.detect.weights import load_detector
from soilpipe.encoder.weights import save_encoder
from soilpipe.errors import SoilpipeError
from soilpipe.store import Store
from tests.flow_fixtures import TinyProject, make_project, picture

cli = CliRunner()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyProject:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_project(tmp_path)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Three pictures of two scanners, days apart, with two mites each."""
    folder = tmp_path / "labels"
    folder.mkdir()
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for n in range(4):
        (folder / f"{n}.jpg").write_bytes(picture(n))
        when = {"scanner_id": "AB"[n // 3], "date_captured": f"2024-03-{1 + 5 * n:02}T06:00:00"}
        images.append({"id": n, "file_name": f"{n}.jpg", "width": 224, "height": 224, **when})
        for x in (40, 140):
            boxes.append({"id": len(boxes), "image_id": n, "category_id": 1, "bbox": [x + n, 50, 28, 16]})
    file = folder / "mites.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "Acari"}]}))
    return file


def train(project: TinyProject, labels: Path, *words: str) -> Any:
    """What the command says as JSON, and on standard error as `told`; raises what it raises."""
    given = ["train", "detector", "--labels", str(labels), "--project", str(project.file), "--device", "cpu", "--json"]
    ran = cli.invoke(app, [*given, *words])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return {**json.loads(ran.stdout), "told": ran.stderr}


FRESH = ("--from", "none", "--steps", "2", "--scenes", "0")


def test_the_folder_of_the_labels_is_that_of_the_images_and_the_last_scanner_validates(
    project: TinyProject, labels: Path
) -> None:
    card = train(project, labels, *FRESH, "--licence", "CC0-1.0", "--even-contrast")["card"]
    assert card["licence"] == "CC0-1.0" and card["contrast"] == "local"
    assert card["name"] == "mites" and card["figures"]["split"] == "the last scanners in order of id: B"
    assert card["trained_on"]["image_names"] == ["0.jpg", "1.jpg", "2.jpg"]
    assert card["kept"].startswith("the best of 2 looks at the validation images")
    assert card["recipe"]["patience"] == 10 and card["recipe"]["check_every"] == 1


@pytest.mark.slow
def test_a_block_of_time_validates(project: TinyProject, labels: Path) -> None:
    card = train(project, labels, *FRESH, "--validate-from", "2024-03-10", "--validate-until", "2024-03-12")["card"]
    assert "contrast" not in card
    assert card["trained_on"]["image_names"] == ["0.jpg", "1.jpg", "3.jpg"]
    assert card["figures"]["split"].startswith("from 2024-03-10T00:00:00+00:00 before 2024-03-12")
    with pytest.raises(SoilpipeError, match=r"--validate-from 'March' is no date"):
        train(project, labels, "--validate-from", "March")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--images", "."), "--images goes with --labels"),
        (("--labels", "x.json", "--size", "small", "--family", "fcos_resnet50_fpn"), "give one of them"),
        (("--labels", "x.json", "--precision", "bf16", "--family", "fcos_resnet50_fpn"), "detect in float32"),
        (("--labels", "nowhere.json"), "there is no such label file"),
        (("--labels", "x.json", "--from", "nobody"), "there is no detector 'nobody' in this store"),
    ],
)
def test_what_cannot_be_meant_is_told(project: TinyProject, words: tuple[str, ...], told: str) -> None:
    ran = cli.invoke(app, ["train", "detector", "--project", str(project.file), *words])
    assert isinstance(ran.exception, SoilpipeError) and told in str(ran.exception)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_is_forgotten_when_it_is_done(
    project: TinyProject, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints.__init__, "__kwdefaults__", {"every_s": 0.0})
    words = ("--from", "none", "--steps", "6", "--scenes", "0")
    whole = train(project, labels, *words, "--name", "whole")
    assert "--resume goes on" in whole["told"]

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("soilpipe.detect.fitting.clip_gradients", _after(3, interrupt))
        ran = cli.invoke(app, ["train", "detector", "--labels", str(labels), "--project", str(project.file),
                               "--device", "cpu", "--name", "cut", *words])  # fmt: skip
        assert ran.exit_code != 0
    resumed = train(project, labels, *words, "--name", "cut", "--resume")
    assert "Goes on after step 3." in resumed["told"]
    assert _weights(project, resumed) == _weights(project, whole)
    assert (
        "There is no interrupted training: begins anew."
        in train(project, labels, *words, "--name", "cut", "--resume")["told"]
    )


@pytest.mark.slow
def test_of_two_trainings_of_one_name_the_second_is_refused_and_a_killed_one_bars_nobody(
    project: TinyProject, labels: Path
) -> None:
    """Each would remove the other's checkpoint, and write over the samples that it learns from."""
    work = checkpoint.work_folder(Store(load_project(project.file).store).root, "mites")
    script = "import sys, time; from pathlib import Path; from soilpipe.detect.checkpoint import alone_at_work\n"
    script += "with alone_at_work(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, str(work)], stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == "held\n"
            with pytest.raises(TrainingError, match=rf"of this name is running \(process {first.pid}\); give another"):
                train(project, labels, *FRESH)
            with pytest.raises(TrainingError, match="of this name is running"):
                train(project, labels, *FRESH, "--resume")
        finally:
            first.kill()
    assert train(project, labels, *FRESH)["card"]["name"] == "mites"


@pytest.mark.slow
def test_precision_is_kept_on_the_card_and_by_what_begins_from_it(project: TinyProject, labels: Path) -> None:
    assert "precision" not in train(project, labels, *FRESH, "--size", "small", "--name", "plain")["card"]
    fast = train(project, labels, *FRESH, "--size", "small", "--name", "fast", "--precision", "bf16")
    assert fast["card"]["precision"] == "bf16"
    assert load_detector(project.store / "models" / "detector" / fast["version"], device="cpu").bf16
    after = ("--from", "fast", "--steps", "1", "--scenes", "0")
    assert train(project, labels, *after, "--name", "next")["card"]["precision"] == "bf16"
    exact = train(project, labels, *after, "--name", "exact", "--precision", "float32")
    assert exact["card"]["precision"] == "float32"


def _after(count: int, do: Any) -> Any:
    """A function that is torch's own `clip_grad_norm_` so many times, then `do`."""
    calls: list[int] = []

    def called(*given: Any) -> Any:
        calls.append(1)
        return do() if len(calls) > count else torch.nn.utils.clip_grad_norm_(*given)

    return called


def _weights(project: TinyProject, made: Any) -> bytes:
    return (project.store / "models" / "detector" / made["version"] / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_a_small_network_and_one_with_given_weights_can_be_trained(
    project: TinyProject, labels: Path, tmp_path: Path
) -> None:
    small = train(project, labels, *FRESH, "--size", "small", "--name", "small")["card"]
    assert small["parameters"] < 4e5 and small["size"] == "small"
    torch.manual_seed(5)
    torch.save(import_torchvision().models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    given = train(project, labels, "--steps", "1", "--scenes", "0", "--size", "resnet18",
                  "--backbone", str(tmp_path / "resnet18.pth"), "--name", "given")["card"]  # fmt: skip
    assert given["backbone"] == "resnet18.pth" and given["warm_start"] is None
    assert given["recipe"]["encoder_rate"] == 0.1 and given["recipe"]["learning_rate"] == 1e-3
    with pytest.raises(SoilpipeError, match="backbone are for the sizes resnet18 and resnet50"):
        train(project, labels, "--size", "small", "--backbone", str(tmp_path / "resnet18.pth"))
    version = save_encoder(tmp_path / "mine", make_network("small", 1), {"name": "mine", "um_per_px": 21.17})
    mine = train(project, labels, "--steps", "1", "--scenes", "0", "--size", "small",
                 "--backbone", str(tmp_path / "mine"), "--name", "mine")["card"]  # fmt: skip
    assert mine["backbone"] == f"mine {version}" and mine["recipe"]["encoder_rate"] == 0.25
    again = train(project, labels, "--steps", "1", "--scenes", "0", "--from", "given", "--name", "again")["card"]
    assert again["warm_start"] == "given" and again["size"] == "resnet18", "its size is that of what it begins from"


@pytest.mark.slow
def test_a_backbone_is_the_encoder_in_use_or_a_version_of_the_store(
    project: TinyProject, labels: Path, tmp_path: Path
) -> None:
    """Its size is that of the encoder; a store in a bucket is read the same way (`model_path`)."""
    store = Store(str(project.store))
    words = ("--steps", "1", "--scenes", "0", "--backbone")
    with pytest.raises(SoilpipeError, match="no encoder is in use in this project"):
        train(project, labels, *words, "champion")
    with pytest.raises(SoilpipeError, match="--backbone mine: there is no such file or folder, and there"):
        train(project, labels, *words, "mine")
    torch.manual_seed(7)
    network = make_network("small", 1)
    save_encoder(tmp_path / "mine", network, {"name": "mine", "um_per_px": 21.17})
    version = models.register(store, "encoder", tmp_path / "mine")
    now = datetime(2024, 5, 1, tzinfo=UTC)
    models.decide(store, "encoder", "promote", version, "none", now, True, "a test", {})
    for wanted in ("champion", version[:6], "mine"):
        made = train(project, labels, *words, wanted, "--name", f"on {wanted}")
        assert made["card"]["backbone"] == f"{version} {version}" and made["card"]["size"] == "small"
        assert made["card"]["warm_start"] is None
        assert f"Its backbone begins as the encoder mine ({version})." in made["told"]
    with pytest.raises(SoilpipeError, match="They must be of the same size"):
        train(project, labels, *words, "champion", "--size", "medium")


@pytest.mark.slow
def test_a_family_of_torchvision_goes_the_same_way(project: TinyProject, labels: Path) -> None:
    made = train(project, labels, "--steps", "1", "--scenes", "0", "--family", "fcos_resnet50_fpn", "--name", "fcos")
    assert made["card"]["family"] == "fcos_resnet50_fpn" and made["card"]["heads"] == ["fine"]
    assert not made["card"]["difference"]
    shown = cli.invoke(app, ["detect", str(labels.parent / "0.jpg"), "--detector", "fcos", "--threshold", "0.01",
                             "--project", str(project.file)])  # fmt: skip
    assert shown.exit_code == 0, shown.output


@pytest.mark.slow
def test_simulated_seasons_are_mixed_in_and_told(project: TinyProject, labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seasons"
    folder.mkdir()
    for file in labels.parent.glob("*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    data = json.loads(labels.read_text())
    (folder / "truth.json").write_text(json.dumps({**data, "info": {"simulated": True}}))
    card = train(project, labels, *FRESH, "--mix-simulated", str(folder))["card"]
    assert card["trained_on"]["share_of_images"] == {"real": 0.4286, "simulated": 0.5714}
    assert card["figures"]["images"] == 1 and not card["trained_on"]["simulated"], "real images alone validate"


def test_away_from_a_terminal_progress_is_lines_with_losses_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(0, 2000, 20))
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: next(clock))
    written = io.StringIO()
    lines = training_progress._Lines(Console(file=written))
    told: list[tuple[int, Mapping[str, float]]] = [
        (1, {"heat": 2.0}),
        (2, {}),
        (3, {"AP50": 0.5}),
        (100, {"heat": 1.0}),
    ]
    for done, figures in told:
        lines("training", done, 100, figures)
    assert written.getvalue().splitlines() == [
        "training 1 of 100, heat 2.000",
        "training 3 of 100, 32 min left, heat 2.000  AP50 0.500",
        "training 100 of 100, heat 1.000  AP50 0.500",
    ]
