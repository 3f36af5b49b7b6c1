"""What every format's reader offers, and how a file is refused.

A reader gives the whole image from top to bottom in bands of rows, as 8-bit RGB, and never pixels that the file does
not hold: a file that is not complete raises Refused, when it is opened or while its bands are read. The one rule that
turns other samples into 8-bit RGB: grey is repeated three times, alpha is dropped (a scanner has none to blend with),
of 16 bits the upper 8 are kept, white-is-zero is inverted. Colours are as in the file (`ingest.colours` converts
them where the project asks for it).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

import numpy as np

from soilpipe.errors import SoilpipeError

_LOGGER = logging.getLogger(__name__)
_BANDS_HELD, _BAND_ROWS = 4, 2048
"""What ingest holds at a time: the band in hand and the next, and what is made of them; each as high as a shard."""

LOWEST_DPI = 150.0
"""Below this a resolution in a file is a program's default (72, 96, 100, 25.4, 1), not a scanner's: it is unknown.

At 150 dpi a springtail has 3 to 17 px; no soil scanner works coarser than that.
"""
HIGHEST_DPI = 20_000.0
"""Above this a resolution is a damaged or careless header, so it is unknown: the finest flat-beds work at 12,800."""


class Refused(SoilpipeError):  # noqa: N818 - it is the outcome, not an error of ours
    """A file that is no good scan: a code for programs, the reason and the remedy for people."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.code = code
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return Refused, (self.code, self.reason, self.remedy)


DELIVER_AGAIN = "Copy it again from the scanner; the good file will take its place."


def truncated(format_name: str, what: str) -> Refused:
    """The refusal of a file that ends too early or has a hole; ``what`` names the part of the format."""
    return Refused("truncated", f"The {format_name} file is not complete: {what}.", DELIVER_AGAIN)


def damaged(format_name: str, what: str) -> Refused:
    """The refusal of a file whose bytes contradict its format."""
    return Refused("damaged", f"The {format_name} file is damaged: {what}.", DELIVER_AGAIN)


def unsupported(format_name: str, what: str) -> Refused:
    """The refusal of what the format allows but no scanner writes."""
    return Refused(
        "unsupported",
        f"The {format_name} file holds {what}, which soilpipe does not read.",
        "Set the scanner to write 8-bit or 16-bit grey or RGB.",
    )


UNFORESEEN = "something that soilpipe did not foresee"
"""In the reason of what was refused by `refusing_the_unforeseen`, so that a fuzzer finds it."""


@contextmanager
def refusing_the_unforeseen(format_name: str) -> Iterator[None]:
    """What goes wrong in a parser or decoder without a Refused of its own is told of the file all the same.

    Else a file that is broken in a new way would stop each run anew. The log has the traceback. An OSError passes:
    a disk or a network that fails is no fault of the file.
    """
    try:
        yield
    except MemoryError as error:
        _LOGGER.warning("out of memory while a %s file was read", format_name, exc_info=error)
        raise Refused(
            "needs_memory",
            f"Memory ran out while the {format_name} file was read.",
            "Close other programs or take a machine with more memory and retry it; if other scans of its size can be "
            "read, copy it again from the scanner.",
        ) from error
    except (ValueError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        _LOGGER.warning("unforeseen error in a %s file", format_name, exc_info=error)
        what = (str(error).splitlines() or [""])[0][:160]
        raise damaged(format_name, f"it holds {UNFORESEEN} ({type(error).__name__}: {what})") from error


@dataclass(frozen=True)
class Limits:
    """``max_pixels``: refuse more. ``max_memory``: bytes, for what can only be decoded whole."""

    max_pixels: int
    max_memory: int

    def check_pixels(self, format_name: str, width: int, height: int) -> None:
        """Refuse an image without pixels, or with more than the project allows, before anything is decoded."""
        if width < 1 or height < 1:
            raise damaged(format_name, f"its header says {width} x {height} pixels")
        if width * height > self.max_pixels:
            raise Refused(
                "too_large",
                f"The {format_name} file says it is {width} x {height} pixels, more than the project's limit of "
                f"{self.max_pixels:.3g}.",
                "If it really is a scan of that size, raise `max_pixels` in the project file and retry it.",
            )

    def check_bands(self, format_name: str, width: int, height: int) -> None:
        """Refuse an image so wide that its bands alone would need more memory than the project allows."""
        need = _BANDS_HELD * min(_BAND_ROWS, height) * width * 3
        if need > self.max_memory:
            raise Refused(
                "needs_memory",
                f"The {format_name} file is {width} pixels wide: the bands in which it is taken in need about "
                f"{need / 1e9:.1f} GB; the project allows {self.max_memory / 1e9:.1f} GB.",
                "If it really is a scan of that size, raise `max_memory` in the project file and retry it.",
            )

    def check_memory(self, format_name: str, need: int, why: str) -> None:
        """Refuse what would need more memory than the project allows."""
        if need > self.max_memory:
            raise Refused(
                "needs_memory",
                f"The {format_name} file can only be decoded whole ({why}), which needs about {need / 1e9:.1f} GB; "
                f"the project allows {self.max_memory / 1e9:.1f} GB.",
                "Raise `max_memory` in the project file and retry it, or have the scanner write another format.",
            )


class Reader(Protocol):
    """One open image. ``captured`` is the device's own (naive) time, if the file holds one.

    ``exif_orientation``: 1 to 8 by EXIF's rule, 1 where the file does not say. The rows come as they lie in the file,
    whatever it is. ``icc``: the colour profile in the file, as it stands; it is not applied.
    """

    @property
    def format(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def dpi(self) -> float | None: ...
    @property
    def captured(self) -> datetime | None: ...
    @property
    def exif_orientation(self) -> int: ...
    @property
    def icc(self) -> bytes | None: ...
    def bands(self, rows: int) -> Iterator[np.ndarray]:
        """(r, width, 3) uint8 from top to bottom, ``r = rows`` but for the last. May be called once."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


def plausible_dpi(x: float, y: float) -> float | None:
    """The resolution in dots per inch if it can be a scanner's and is the same both ways, else None."""
    if not (min(x, y) >= LOWEST_DPI and max(x, y) <= HIGHEST_DPI) or abs(x - y) > 0.01 * x:
        return None
    return float(round(x, 2))


def rgb8(samples: np.ndarray, *, white_is_zero: bool = False) -> np.ndarray:
    """(h, w) or (h, w, 1..4) uint8 or uint16 → (h, w, 3) uint8, by the rule in the module's docstring."""
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.shape[2] in (2, 4):
        samples = samples[:, :, :-1]
    if samples.dtype == np.uint16:
        deep, samples = samples, np.empty(samples.shape, np.uint8)
        np.right_shift(deep, 8, out=samples, casting="unsafe")
    if white_is_zero:
        samples = 255 - samples
    if samples.shape[2] == 1:
        samples = np.repeat(samples, 3, axis=2)
    return np.ascontiguousarray(samples)


def cut(blocks: Iterator[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Blocks of any heights, again as blocks of ``rows`` rows (the last may be lower).

    Only one block of ``rows`` rows is held at a time, and none once it was given.
    """
    band: np.ndarray | None = None
    filled = 0
    for block in blocks:
        while len(block):
            if band is None and len(block) >= rows:
                yield block[:rows]
                block = block[rows:]
                continue
            if band is None:
                band = np.empty((rows, *block.shape[1:]), block.dtype)
            take = min(rows - filled, len(block))
            band[filled : filled + take] = block[:take]
            filled += take
            block = block[take:]
            if filled == rows:
                whole, band, filled = band, None, 0
                yield whole
                del whole
    if band is not None:
        yield band[:filled]
