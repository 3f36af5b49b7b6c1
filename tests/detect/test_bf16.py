"""bf16 on a CPU that cannot multiply it: the same rounding of what goes in and out, as fast as float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from soilpipe.detect import bf16
from soilpipe.detect.network import CentrePointNetwork
from tests.detect.test_predict import lively, scene

OTHER_CPU = pytest.mark.skipif(not bf16.cpu_multiplies_bf16(), reason="this CPU has no bf16 to compare with")


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("bf16", "network"):
        monkeypatch.setattr(f"soilpipe.detect.{module}.cpu_multiplies_bf16", lambda: False)


def rounded(conv: nn.Conv2d) -> nn.Conv2d:
    conv = conv.to(torch.bfloat16)
    bf16.round_convolutions(conv)
    return conv


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize("bias", [True, False])
def test_values_are_rounded_once_going_in_and_once_coming_out(bias: bool) -> None:
    torch.manual_seed(0)
    conv, x = rounded(nn.Conv2d(16, 8, 3, padding=1, bias=bias)), torch.randn(2, 16, 20, 24).to(torch.bfloat16)
    with torch.inference_mode():
        answer = conv(x)
        exact = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double() if bias else None, padding=1)
    assert answer.dtype == torch.bfloat16
    # Half a unit in the last of bf16's 8 bits, and the sums' own error.
    torch.testing.assert_close(answer.double(), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.usefixtures("without_bf16")
def test_other_values_are_convolved_as_ever() -> None:
    torch.manual_seed(0)
    plain, x = nn.Conv2d(4, 3, 3), torch.randn(1, 4, 9, 9)
    expected = plain(x)
    bf16.round_convolutions(plain)
    assert torch.equal(plain(x), expected)


def answered(network: CentrePointNetwork) -> torch.Tensor:
    with torch.inference_mode():
        heat: torch.Tensor = network(torch.from_numpy(scene(384, 416, 2).pixels)[None]).heat
    return heat


def test_a_network_answers_without_bf16_what_it_rounds_to(without_bf16: None) -> None:
    folded = lively("small").folded()
    exact, fast = answered(folded), answered(folded.in_bf16())
    assert fast.dtype == torch.float32 and not torch.equal(exact, fast)
    assert (exact - fast).abs().mean() < 0.02 * exact.std()


@OTHER_CPU
def test_cpus_with_and_without_bf16_agree_but_for_the_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = lively("small").folded()
    exact, natively = answered(folded), answered(folded.in_bf16())
    for module in ("bf16", "network"):
        monkeypatch.setattr(f"soilpipe.detect.{module}.cpu_multiplies_bf16", lambda: False)
    emulated = answered(folded.in_bf16())
    assert (natively - emulated).abs().mean() < 0.5 * (natively - exact).abs().mean()
