"""`--device` is checked before a command does anything else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deployments.cli import app, main
from deployments.commands.device import checked_device
from deployments.commands.options import OptionError

cli = CliRunner()
COMMANDS = (("train", "detector"), ("train", "classifier"), ("explain", "a-detection"))


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("words", COMMANDS)
def test_what_is_no_device_or_not_there_is_told_before_the_project_is_opened(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpus(monkeypatch, 0)
    for device, told in (("gpu", "Write cpu, cuda or cuda:1"), ("cuda", "no GPU here that torch can use")):
        ran = cli.invoke(app, [*words, "--project", str(tmp_path / "none.yaml"), "--device", device])
        assert isinstance(ran.exception, OptionError) and told in str(ran.exception)
    ran = cli.invoke(app, [*words, "--project", str(tmp_path / "none.yaml"), "--device", "cpu"])
    assert "There is no project file" in str(ran.exception)


def test_it_is_one_sentence_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soilpipe", "train", "detector", "--device", "gpu"])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.startswith("soilpipe: --device 'gpu' is no device") and told.count("\n") == 1


def test_of_several_gpus_only_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    for fine in (None, "cpu", "cuda", "cuda:0", "cuda:1"):
        checked_device(fine)
    with pytest.raises(OptionError, match=r"this machine has 2 GPUs\. Write cuda:0 to cuda:1"):
        checked_device("cuda:2")
    gpus(monkeypatch, 1)
    with pytest.raises(OptionError, match=r"this machine has 1 GPU\. Write cuda\.$"):
        checked_device("cuda:1")
    for wrong in ("", "CUDA", "cuda:", "cuda:-1", "mps", "cpu:0"):
        with pytest.raises(OptionError, match="is no device"):
            checked_device(wrong)
