"""bf16 on CPUs that cannot multiply it: the same rounding, in float32.

A network whose card says bf16 has to answer wherever its project is taken. CPUs without the instructions (before
AVX-512 or AVX-NE-CONVERT, or not x86) are refused by oneDNN, and PyTorch's own kernel for bf16 takes a hundred times as
long. Those that have them round what goes in and what comes out and sum in float32; so does this, and answers differ by
the order of the sums alone. It takes a little longer than float32 does.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether oneDNN is there and has convolutions of bf16 for this CPU."""
    has = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return torch.backends.mkldnn.is_available() and has is not None and bool(has())


class RoundedConv2d(nn.Conv2d):
    """A convolution of bf16 values with float32 sums, on any CPU; elsewhere one like any other."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu" or cpu_multiplies_bf16():
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        return self._conv_forward(x.float(), self.weight.float(), bias).to(torch.bfloat16)


def round_convolutions(network: nn.Module) -> None:
    """Make every convolution of the network a `RoundedConv2d`, in place; its weights stay where they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = RoundedConv2d
