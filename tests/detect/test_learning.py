"""In which numbers a step is computed."""

from __future__ import annotations

import pytest
import torch

from soilpipe.detect.learning import bf16_pays


@pytest.mark.parametrize(
    ("tiles", "dot_products", "pays"),
    [(True, True, True), (False, True, True), (True, False, True), (False, False, False)],
)
def test_learns_in_bf16_on_cpus_that_multiply_it_and_on_no_others(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, dot_products: bool, pays: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dot_products)
    assert bf16_pays(torch.device("cpu")) is pays
    assert not bf16_pays(torch.device("meta"))
