"""The option `--device`, checked before anything else is done: what it names must be there."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from deployments.commands.options import OptionError

Device = Annotated[
    str | None, typer.Option(metavar="D", help="cpu, cuda, or cuda:1 for the second GPU; a GPU if there is one.")
]
_KNOWN = re.compile(r"cpu|cuda(:(?P<number>\d{1,3}))?")


def checked_device(device: str | None) -> None:
    """OptionError when what was given is no device, or not in this machine."""
    if device is None or device == "cpu":
        return
    known = _KNOWN.fullmatch(device)
    if known is None:
        raise OptionError(f"--device {device!r} is no device. Write cpu, cuda or cuda:1; a GPU is taken if left out.")
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        raise OptionError(
            f"--device {device}: there is no GPU here that torch can use. Leave --device out, or write cpu; where "
            "there is an NVIDIA card, its driver is missing, or the torch that is installed is the one for CPUs only."
        )
    if int(known["number"] or 0) >= there:
        names = "cuda" if there == 1 else f"cuda:0 to cuda:{there - 1}"
        raise OptionError(f"--device {device}: this machine has {there} GPU{'s' * (there > 1)}. Write {names}.")
