"""The global concurrency limit `gpu`: taken where there is a GPU to compute on, and nowhere else."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

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
