"""How many random tiles could judge a version is told from the records, as judging then finds it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from soilpipe import models
from soilpipe.detect import weights
from soilpipe.detect.ancestry import times_of
from soilpipe.labels.taken import image_name
from soilpipe.random_tiles import RandomTiles, random_tiles
from soilpipe.store import Store
from tests.test_held_out import FIRST, project_of, scan, take
from tests.tiny_model import make_model

cli = CliRunner()


class Trained:
    """An image that was trained on."""

    def __init__(self, scanner: str, day: int) -> None:
        self.scanner_id, self.captured_at = scanner, FIRST.replace(tzinfo=UTC) + timedelta(days=day)


def card(*images: Trained, **more: Any) -> dict[str, Any]:
    return {"trained_on": {"simulated": False, "image_names": [], **times_of(images, 99)}, "served": {}, **more}


def test_what_a_version_is_not_familiar_with_is_counted(tmp_path: Path) -> None:
    """Two tiles a scan, a scan a day; midnight in Paris is an hour before UTC's."""
    project = project_of(tmp_path, "AB")
    store = Store(project.store)
    take(store, 0, {"A": range(10), "B": range(10)})
    assert random_tiles(project, store, {}) == RandomTiles(40, 8, 40, 8, None)
    mine = card(Trained("A", 1))
    last = datetime(2024, 3, 10, tzinfo=UTC)
    assert random_tiles(project, store, mine) == RandomTiles(40, 8, 30, 8, last), (
        "an hour before it, and up to three days after"
    )
    by_name = {"trained_on": {"image_names": [image_name((scan("B", 2), 9, 0, 18, 9))]}, "served": {}}
    assert random_tiles(project, store, by_name) == RandomTiles(40, 8, 39, 8, None)
    later = card(Trained("B", 7), ancestors=[{"name": "a", "version": "1", **mine}])
    assert random_tiles(project, store, later).hold_out_fit == 4
    assert random_tiles(project_of(tmp_path, "A"), store, {}) == RandomTiles(20, 4, 20, 4, None)


def test_label_status_says_what_counts_for_whom_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="shipped"))
    project = project_of(tmp_path, "AB")
    store = Store(project.store)
    take(store, 0, {"A": range(10), "B": range(10)})

    def status(*words: str) -> str:
        ran = cli.invoke(app, ["label", "status", "--project", str(project.path), *words])
        assert ran.exit_code == 0, ran.output
        return " ".join(ran.output.split())

    told = status()
    assert "Random tiles looked at: 40, of them 8 in the hold-out" in told
    assert "For shipped, the detector in use, 40 of them count. Its counts are marked `local`" in told
    assert "judged on the hold-out: 22 more random tiles there are needed" in told
    images = [Trained("A", 1), Trained("B", 1), Trained("B", 6)]
    mine = models.register(store, "detector", make_model(tmp_path / "mine", name="mine", **card(*images)))
    promoted = ["models", "promote", mine, "--force", "--reason", "a test", "--project", str(project.path)]
    assert cli.invoke(app, promoted).exit_code == 0
    told = status()
    assert "For mine, the detector in use, 10 of them count (30 show what it, or one that it began from" in told
    assert "`local` from 30 on: 20 are missing of scans taken after 2024-03-15." in told
    shown = json.loads(status("--json"))
    assert shown["champion"] == "mine" and shown["random_places"] == 40
    assert (shown["random_tiles"]["fit"], shown["random_tiles"]["hold_out"]) == (10, 8)
    project.path.write_text(project.path.read_text() + "detector: change\n")
    assert "For change, the detector in use, 40 of them count" in status(), "the one that runs use, not the champion"
    shown = json.loads(status("--json"))
    assert (shown["champion"], shown["detector"], shown["random_tiles"]["fit"]) == ("mine", "change", 40)
