"""Float32 that is float32, on every device.

GPUs multiply float32 in TF32, with 10 bits after the point in place of 23, where a program allows it, and PyTorch
allows it in convolutions by default; CPUs can be told to use bf16. Scores then move by some thousandths, and with them
what is counted. PyTorch has two ways of asking for it, older names and newer ones, and the older ones refuse to be read
where the newer ones were used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, convolutions and matrix products of float32 are IEEE float32; afterwards what the program asked for.

    Of cuDNN, cuBLAS and oneDNN. bf16 tensors are not concerned.
    """
    matmul, convolution = _readable(torch.get_float32_matmul_precision), _readable(_allows_tf32)
    settings = _settings()
    before = [setting.fp32_precision for setting in settings]
    # By the older names too, so that whoever reads them within is told the same.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolution is not None:
            torch.backends.cudnn.allow_tf32 = convolution
        for setting, wanted in zip(settings, before, strict=True):
            for value in ("none", wanted):  # none: as that has it from which it inherits
                if setting.fp32_precision != wanted:
                    setting.fp32_precision = value


def _settings() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return (  # what inherits comes after that from which it inherits
        backends,
        backends.cudnn,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.cuda.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.matmul,
    )


def _allows_tf32() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)


def _readable(read: Callable[[], Any]) -> Any:
    """None where PyTorch refuses, since the program has asked by the newer names."""
    try:
        return read()
    except RuntimeError:
        return None
