"""One small file a format behind one protocol; which it is, is told by the content, never by the extension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from soilpipe.ingest.readers import jpeg, jpeg2000, png, tiff
from soilpipe.ingest.readers.base import Limits, Reader, Refused, refusing_the_unforeseen

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "Limits", "Reader", "Refused", "open_reader"]


@dataclass(frozen=True)
class Format:
    """A format soilpipe reads: how its files begin, how they are called, what opens them."""

    name: str
    magics: tuple[bytes, ...]
    suffixes: frozenset[str]
    open: Callable[[Path, Limits], Reader]


FORMATS = (
    Format(jpeg.NAME, (jpeg.MAGIC,), jpeg.SUFFIXES, jpeg.open_jpeg),
    Format(png.NAME, (png.MAGIC,), png.SUFFIXES, png.open_png),
    Format(tiff.NAME, tiff.MAGICS, tiff.SUFFIXES, tiff.open_tiff),
    Format(
        jpeg2000.NAME,
        (jpeg2000.BOX_MAGIC, jpeg2000.STREAM_MAGIC),
        jpeg2000.SUFFIXES,
        jpeg2000.open_jpeg2000,
    ),
)
READ_SUFFIXES = frozenset().union(*(one.suffixes for one in FORMATS))
IMAGE_SUFFIXES = READ_SUFFIXES | {".bmp", ".gif", ".webp", ".heic", ".heif", ".avif", ".jxl", ".pdf", ".raw", ".dng"}
"""Files so called are taken for scans, so that one in a format we do not read is told, not passed over."""


def open_reader(
    path: Path, *, max_pixels: int, max_memory: int, name: str | None = None, any_suffix: bool = False
) -> Reader:
    """Open an image, a context manager. ``name`` is what the file is called, where ``path`` is a temporary copy.

    ``any_suffix``: let it be called as another format.

    Raises Refused when it is empty, no image, called as another format, not complete, damaged, or too large.
    """
    suffix = PurePath(name or path.name).suffix.lower()
    if path.stat().st_size == 0:
        raise Refused("empty", "The file is empty (0 bytes).", "Copy it again from the scanner.")
    with path.open("rb") as file:
        start = file.read(16)
    for one in FORMATS:
        if start.startswith(one.magics):
            if suffix not in one.suffixes and not any_suffix:
                raise Refused(
                    "wrong_extension",
                    f"The file is {one.name} but is called {suffix or 'without an extension'}.",
                    f"Rename it to end in {min(one.suffixes, key=len)}, or accept it as it is.",
                )
            limits = Limits(int(max_pixels), int(max_memory))
            with refusing_the_unforeseen(one.name):
                reader = one.open(path, limits)
            try:
                limits.check_bands(one.name, reader.width, reader.height)
            except Refused:
                reader.__exit__(None, None, None)
                raise
            return reader
    if not start.strip(b"\0") or len(start) < 4:
        raise Refused("damaged", "The file begins with zeros, not with an image.", "Copy it again from the scanner.")
    known = ", ".join(one.name for one in FORMATS)
    raise Refused(
        "not_an_image", f"The content of the file is none of {known}.", "Remove it from the inbox, or convert it."
    )
