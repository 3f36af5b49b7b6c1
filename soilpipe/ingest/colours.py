"""Colours turned to sRGB by the profile in the file, where the project asks for it (`colours: srgb`).

By Little CMS (Pillow's ImageCms), relative colorimetric with black-point compensation: colours that sRGB has stay what
they are, whatever else is in the picture. Pixels are converted one by one, so that bands give what the whole image
would. A profile that no conversion would change by more than ALIKE levels is sRGB, and its pixels stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from soilpipe.config import FrozenModel

ALIKE = 2
"""Levels of 255: what the many profiles called sRGB differ by, far below what anybody sees."""
ROWS = 256
"""Converted at a time: what they need besides is small."""
LONGEST = 80

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


class Colours(FrozenModel):
    """What became of a scan's colours, in its receipt. ``profile``: what the profile in the file calls itself.

    ``converted`` to sRGB; ``is_srgb``: they were; ``no_profile``: nobody knows what they are; ``not_converted``: as
    they were, since the profile is of no use.
    """

    outcome: Literal["converted", "is_srgb", "no_profile", "not_converted"]
    profile: str | None = None


@dataclass(frozen=True)
class Conversion:
    """``told`` None: nobody asked. ``doubt``: why a profile is of no use, for people."""

    told: Colours | None = None
    transform: ImageCms.ImageCmsTransform | None = None
    doubt: str | None = None

    def applied(self, bands: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The bands, (rows, width, 3) uint8 RGB, converted; or as they are."""
        return bands if self.transform is None else _converted(bands, self.transform)


def colours_of(profile: bytes | None, wanted: Literal["as_is", "srgb"]) -> Conversion:
    """What is to be done with the colours of a file with this ICC profile. Raises nothing: a bad one is a doubt."""
    if wanted == "as_is":
        return Conversion()
    if not profile:
        return Conversion(Colours(outcome="no_profile"))
    name = None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = _printable(ImageCms.getProfileDescription(opened))
        space = opened.profile.xcolor_space.strip()
        if space != "RGB":
            return _useless(name, f"is for {space}, not for RGB")
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(opened, srgb, "RGB", "RGB", _INTENT, _FLAGS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return _useless(name, f"cannot be read ({error})")
    if _changes_nothing(transform):
        return Conversion(Colours(outcome="is_srgb", profile=name))
    return Conversion(Colours(outcome="converted", profile=name), transform)


def _useless(name: str | None, why: str) -> Conversion:
    doubt = f"its colours are as in the file: the colour profile {name or 'in it'} {why}"
    return Conversion(Colours(outcome="not_converted", profile=name), doubt=doubt)


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether colours all over the cube, and all greys, come out as they went in, but for rounding."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    colours = np.concatenate([cube, greys])
    after = _convert(colours, transform)
    return int(np.abs(after.astype(np.int16) - colours).max()) <= ALIKE


def _converted(bands: Iterator[np.ndarray], transform: ImageCms.ImageCmsTransform) -> Iterator[np.ndarray]:
    for band in bands:
        out = np.empty_like(band)
        for top in range(0, len(band), ROWS):
            out[top : top + ROWS] = _convert(band[top : top + ROWS], transform)
        del band
        yield out
        del out


def _convert(pixels: np.ndarray, transform: ImageCms.ImageCmsTransform) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(pixels), "RGB")
    return np.asarray(ImageCms.applyTransform(picture, transform))


def _printable(name: str) -> str | None:
    text = "".join(letter for letter in name if letter.isprintable()).strip()
    return text[:LONGEST] or None
