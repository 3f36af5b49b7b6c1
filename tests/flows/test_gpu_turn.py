"""The global concurrency limit `gpu`: taken where there is a GPU to compute on, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from soilpipe.counts.undetected import Undetected
from tasks import detect, pretrain
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


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, and from when to when it was its turn."""
    did: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        did.append("waits")
        try:
            yield
        finally:
            did.append("lets go")

    for module in (detect, pretrain):
        monkeypatch.setattr(module, "gpu_if_used", turn)
        monkeypatch.setattr(module, "opened", lambda file: (None, None))
    return did


def test_a_scan_is_detected_in_its_turn(monkeypatch: pytest.MonkeyPatch, did: list[str]) -> None:
    def answer(what: str) -> Any:
        return lambda *given: did.append(what)

    monkeypatch.setattr(detect, "detector_of", answer("loads"))
    monkeypatch.setattr("soilpipe.analyses.read_analysis", lambda *given: None)
    monkeypatch.setattr("soilpipe.ingest.receipts.read_receipt", lambda *given: None)
    monkeypatch.setattr("soilpipe.detect.run.detect_scan", answer("detects"))
    detect.detect_scan.fn("soilpipe.yaml", cast(Undetected, SimpleNamespace(analysis_id="a", scan_id="s")))
    assert did == ["waits", "loads", "detects", "lets go"]


STEPS: list[tuple[Any, str, tuple[object, ...]]] = [
    (pretrain.choose_corpus, "steps.choose_corpus", ()),
    (pretrain.pretrain_encoder, "steps.pretrain_encoder", ()),
    (pretrain.fit_classifier, "bundle.fit_classifier", ()),
    (pretrain.judge_bundle, "bundle.judge_bundle", (None,)),
    (pretrain.decide_on_bundle, "bundle.decide_on_bundle", (None,)),
]


@pytest.mark.parametrize(("task", "step", "given"), STEPS, ids=[step for _, step, _ in STEPS])
def test_each_step_of_a_refresh_is_done_in_its_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, did: list[str], task: Any, step: str, given: tuple[object, ...]
) -> None:
    def done(*_: object, **more: object) -> None:
        did.append("works")
        raise KeyError("no more is asked")

    monkeypatch.setattr(f"soilpipe.refresh.{step}", done)
    monkeypatch.setattr(pretrain, "_work", lambda file: tmp_path)
    with pytest.raises(KeyError, match="no more"):
        task.fn("soilpipe.yaml", *given, lambda *told: None)
    assert did == ["waits", "works", "lets go"]
