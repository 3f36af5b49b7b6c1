"""A store that is away for longer than Prefect tries: the weekly flow fails, and the next one goes on where it was."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from soilpipe.detect import weights
from soilpipe.local_files import LocalFiles
from soilpipe.refresh.begin import begin
from soilpipe.refresh.records import dropped
from soilpipe.refresh.state import read_state, refresh_folder
from tests.refresh.refresh_project import unlabelled
from tests.tiny_model import make_model

pytestmark = pytest.mark.usefixtures("prefect")


def test_an_outage_of_the_store_costs_no_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.pretrain import refresh_pretraining
    from tasks.pretrain import choose_corpus
    from tasks.retries import RETRIES

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped", name="of the package"))
    monkeypatch.setattr(choose_corpus, "retry_delay_seconds", 0)
    season = unlabelled(tmp_path / "project", weeks=0)
    season.scan(4, scanner_id="A20", size=(64, 96))
    work, keys, tried = refresh_folder(season.store.root), LocalFiles.keys, [0]

    def away(*given: Any, **more: Any) -> Any:
        if read_state(work) is None:  # not begun
            return keys(*given, **more)
        tried[0] += 1
        raise OSError(errno.ETIMEDOUT, "connection timed out")

    with monkeypatch.context() as patched:
        patched.setattr(LocalFiles, "keys", away)
        state = refresh_pretraining(str(season.project.path), steps=2, minutes=2, return_state=True)
    assert state.is_failed() and "timed out" in str(state.message) and tried[0] == 1 + RETRIES

    before = read_state(work)
    assert before is not None and before.failures == {}
    now = datetime.now(UTC)
    after = begin(season.project, season.store, work, plan=before.plan, now=now)
    assert after.run_id == before.run_id and after.notes == () and dropped(season.store) == []
