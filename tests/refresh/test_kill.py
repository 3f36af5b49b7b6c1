"""`kill -9` in the middle of `soilpipe refresh`, as a power cut is: the next one takes up what was done.

The command itself runs, as a process of its own with its Prefect server, and both are killed at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from soilpipe.decisions import champion, decide, in_use
from soilpipe.models import model_path, register
from soilpipe.pretrain.memory import read_members
from soilpipe.refresh.records import RefreshRecord, refreshes
from tests.labels.conftest import Season
from tests.refresh.refresh_project import NOW, unlabelled
from tests.tiny_model import make_model

PATIENCE = 1800  # s; a loaded machine is slow, and nothing here waits for long on an idle one
REFRESH = "refresh: {steps: 3, minutes: 5, crops: 64, memory: 200MB}\n"


def tiny(folder: Path) -> Season:
    """A project with unlabelled scans of one scanner, and a tiny detector in use, whose trunk a refresh begins from."""
    season = unlabelled(folder, scanners=("A20",))
    with season.project.path.open("a") as file:
        file.write(REFRESH)
    version = register(season.store, "detector", make_model(folder / "detector"))
    decide(season.store, "detector", "promote", version, "shipped", NOW, True, "the smallest", {})
    return season


def start(season: Season) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    folder = season.project.path.parent
    with (folder / "told.txt").open("ab") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "refresh", "--project", str(season.project.path)],
            env={**environment, "XDG_CACHE_HOME": str(folder / "cache")},
            stdout=told,
            stderr=told,
            process_group=0,  # with all that it starts
        )


def kill_when(season: Season, pattern: str, said: str = "") -> None:
    """Start a refresh, and kill it with all that it started as soon as there is such a file, which says this."""
    process = start(season)
    folder, until = season.project.path.parent, time.monotonic() + PATIENCE
    while not any(said in path.read_text(errors="replace") for path in folder.glob(pattern) if path.is_file()):
        assert process.poll() is None, f"it ended before: {(folder / 'told.txt').read_text()}"
        assert time.monotonic() < until
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def whole(season: Season) -> RefreshRecord:
    """A refresh that is left alone; its record."""
    told = season.project.path.parent / "told.txt"
    assert start(season).wait(timeout=PATIENCE) == 0, told.read_text()
    (record,) = refreshes(season.store)
    return record


@pytest.mark.slow
def test_a_refresh_killed_at_three_of_its_steps_comes_to_the_same_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, killed = tiny(tmp_path / "undisturbed"), tiny(tmp_path / "killed")
    detector, promotions = champion(killed.store), killed.store.keys("records/promotions")

    kill_when(killed, "cache/soilpipe/refresh/*/corpus/**/*")  # while it chooses the crops
    assert not killed.store.keys("models/encoder")
    kill_when(killed, "cache/soilpipe/refresh/*/refresh.json", '"corpus"')  # chosen; while it trains
    kill_when(killed, "store/models/encoder/*/card.json")  # trained and registered, and perhaps not noted
    assert refreshes(killed.store) == [] and in_use(killed.store, "encoder") is None

    clean, record = whole(undisturbed), whole(killed)
    assert (record.outcome, record.begun_from, record.corpus) == (clean.outcome, clean.begun_from, clean.corpus)
    assert record.until == clean.until and record.classifier is None is clean.classifier
    trained, same = (
        load_file(model_path(season.store, "encoder", one.encoder) / "weights.safetensors")
        for season, one in ((killed, record), (undisturbed, clean))
    )
    assert trained.keys() == same.keys() and all((trained[name] == same[name]).all() for name in same)
    assert {one.key for one in read_members(killed.store)} == {one.key for one in read_members(undisturbed.store)}
    assert (champion(killed.store), killed.store.keys("records/promotions")) == (detector, promotions)
    assert in_use(killed.store, "encoder") is None and in_use(killed.store, "classifier") is None
    assert killed.store.folders("models/encoder") == [record.encoder], "nothing is left of what was cut short"
    assert not any((tmp_path / "killed/cache/soilpipe/refresh").glob("*/*/*")), "nothing but the lock stays"
