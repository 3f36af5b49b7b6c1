"""Letters and scale bars on pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
INK: RGB = (32, 33, 36)
MUTED: RGB = (95, 99, 104)
_NICE_MM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib: the same letters on every machine, so the same bytes."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def text_width(text: str, letters: ImageFont.FreeTypeFont) -> int:
    return int(letters.getlength(text) + 0.5)


def nice_length_mm(most_mm: float) -> float:
    """The longest round length of at most `most_mm`.

    >>> nice_length_mm(13.0)
    10
    """
    return max((length for length in _NICE_MM if length <= most_mm), default=most_mm)


def draw_scale_bar(canvas: Image.Image, um_per_px: float, *, share: float = 0.2, small: bool = False) -> None:
    """A white bar with its length in mm on a dark plate, bottom left; um_per_px is that of the canvas."""
    length_mm = nice_length_mm(canvas.width * share * um_per_px / 1000)
    length_px = max(1, round(length_mm * 1000 / um_per_px))
    letters = font(10 if small else 15)
    label = f"{length_mm:g} mm"
    pad, thick = (3, 2) if small else (9, 4)
    line_height = 12 if small else 19
    plate_width = max(length_px, text_width(label, letters)) + 2 * pad
    plate_height = line_height + thick + 2 * pad
    corner = 0 if small else 12
    left, top = corner, canvas.height - plate_height - corner
    plate = Image.new("L", (plate_width, plate_height), 165)
    canvas.paste(Image.new("RGB", plate.size), (left, top), plate)
    draw = ImageDraw.Draw(canvas)
    draw.text((left + pad, top + pad - 2), label, font=letters, fill=PAPER)
    bar_top = top + plate_height - pad - thick
    draw.rectangle((left + pad, bar_top, left + pad + length_px - 1, bar_top + thick - 1), fill=PAPER)
