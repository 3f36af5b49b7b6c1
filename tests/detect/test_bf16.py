"""Half precision is used where the device has it, and not where it only pretends."""

from __future__ import annotations

import pytest
import torch

from soilpipe.detect.learning import bf16_pays


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bf16_computes_in_float32(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert bf16_pays(torch.device("cuda")) is native
