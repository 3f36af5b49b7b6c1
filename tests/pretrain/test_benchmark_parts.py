"""The benchmark of pretraining: which of its parts a command line runs."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs the command line; the parts that were run. They only say that they were."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining

    ran: list[str] = []

    def part(name: str) -> Callable[[Any], list[dict[str, Any]]]:
        return lambda arguments: ran.append(name) or [{"part": name, "posterise": arguments.posterise}]

    monkeypatch.setattr(pretraining, "PARTS", {name: part(name) for name in pretraining.PARTS})

    def command(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["pretraining.py", *words])
        ran.clear()
        pretraining.main()
        return list(ran)

    return command


def test_without_arguments_all_parts_run_one_after_the_other(run: Callable[..., list[str]], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert run() == ["speed", "labels", "weeks"]
    assert run("--json", str(file), "--tiny") == ["speed", "labels", "weeks"]
    figures = json.loads(file.read_text())
    assert {name: rows[0]["part"] for name, rows in figures.items()} == {name: name for name in figures}
    assert list(figures) == ["speed", "labels", "weeks"]


def test_one_part_runs_alone_and_posterising_is_off_unless_it_is_asked_for(
    run: Callable[..., list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    assert run("labels", "--json", str(file)) == ["labels"]
    assert json.loads(file.read_text()) == [{"part": "labels", "posterise": 0.0}]
    run("labels", "--posterise", "0.2", "--json", str(file))
    assert json.loads(file.read_text())[0]["posterise"] == 0.2
    with pytest.raises(SystemExit):
        run("another")


def test_what_is_finished_is_kept_while_the_rest_is_under_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import pretraining

    def rows() -> Iterator[dict[str, Any]]:
        yield {"week": 1}
        yield {"week": 2}
        raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError):
        pretraining.told(rows(), "weeks", Namespace(json=tmp_path / "figures.json"))
    assert json.loads((tmp_path / "figures-weeks-so-far.json").read_text()) == [{"week": 1}, {"week": 2}]
