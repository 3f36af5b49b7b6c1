"""Makes docs/demo.png, the picture at the head of the README, from the pages of a finished `soilpipe demo`.

    .venv/bin/python scripts/readme_picture.py demo/store/reports meadow_2

Left the newest overlay of that scanner, right its counts through time; in few colours, so that it stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH = 560  # px of each half
GAP = 16


def main(reports: Path, scanner_id: str, output: Path) -> None:
    parts = [Image.open(reports / scanner_id / name).convert("RGB") for name in ("overlay-1.png", "counts.png")]
    # The head of the overlay's sheet: title, picture and legend, without the magnified animals.
    parts[0] = parts[0].crop((0, 0, parts[0].width, min(parts[0].height, round(1.1 * parts[0].width))))
    parts = [part.resize((WIDTH, round(part.height * WIDTH / part.width)), Image.Resampling.LANCZOS) for part in parts]
    # Each half has colours of its own, so that the brown of the soil does not take those of the plot.
    parts = [
        part.quantize(n, dither=Image.Dither.NONE).convert("RGB") for part, n in zip(parts, (128, 96), strict=True)
    ]
    sheet = Image.new("RGB", (2 * WIDTH + GAP, max(part.height for part in parts)), "white")
    sheet.paste(parts[0], (0, 0))
    sheet.paste(parts[1], (WIDTH + GAP, 0))
    output.parent.mkdir(exist_ok=True)
    sheet.quantize(256, dither=Image.Dither.NONE).save(output, optimize=True)
    print(f"{output}: {sheet.width} x {sheet.height} px, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(__file__).resolve().parent.parent / "docs" / "demo.png")
