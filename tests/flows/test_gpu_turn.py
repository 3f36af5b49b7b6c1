"""The global concurrency limit `gpu`: taken where there is a GPU to compute on, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from soilpipe.counts.undetected import Undetected
from tasks import detect
from tasks.pretrain import gpu_if_used


@pytest.mark.parametrize(("there", "waits_for"), [(True, ["gpu"]), (False, [])])
def test_only_work_on_a_gpu_waits_for_its_turn(
    monkeypatch: pytest.MonkeyPatch, there: bool, waits_for: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("prefect.concurrency.sync.concurrency", lambda name, **_: asked.append(name) or nullcontext())
    with gpu_if_used():
        assert asked == waits_for


def test_a_scan_is_detected_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        did.append("waits")
        yield
        did.append("lets go")

    def answer(what: str) -> Any:
        return lambda *given: did.append(what)

    monkeypatch.setattr(detect, "gpu_if_used", turn)
    monkeypatch.setattr(detect, "opened", lambda file: (None, None))
    monkeypatch.setattr(detect, "detector_of", answer("loads"))
    monkeypatch.setattr("soilpipe.analyses.read_analysis", lambda *given: None)
    monkeypatch.setattr("soilpipe.ingest.receipts.read_receipt", lambda *given: None)
    monkeypatch.setattr("soilpipe.detect.run.detect_scan", answer("detects"))
    detect.detect_scan.fn("soilpipe.yaml", cast(Undetected, SimpleNamespace(analysis_id="a", scan_id="s")))
    assert did == ["waits", "loads", "detects", "lets go"]
