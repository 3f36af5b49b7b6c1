"""Scans whose drift is chosen: which animals a week shows, how dark its soil is, whether the glass fogs.

Ground, bodies and the way they are laid before the glass are those of the simulated seasons (`soilpipe.simulate`,
generator `peat`, which no shipped detector was trained on); who is there, and the light, is set here week by week.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from soilpipe.simulate.compose import LINE_S_AT_1200, Look, paste
from soilpipe.simulate.peat import Peat

DPI = 1200.0
PER_MM = DPI / 25.4
SEEN = 0.35  # coverage from which a pixel is of the body
SIZES_MM = {  # of a body, from and to
    "Poduromorpha": (1.0, 2.5),
    "Oribatida": (0.4, 1.0),
    "Enchytraeidae": (4.0, 9.0),
    "Symphyla": (2.5, 6.0),
    "Rhabdura": (3.0, 6.0),
    "Formicidae": (2.5, 4.5),
}
TAXA = tuple(SIZES_MM)
EARLY_TAXA, NEW_TAXON = TAXA[:-1], TAXA[-1]


@dataclass(frozen=True)
class Marked:
    """One animal: its taxon, and the box of its body, x_min y_min x_max y_max, px, half-open."""

    taxon: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Light:
    """gain: of the soil and all on it; fog: share of the scan that a grey veil takes, with its blur; garbage: nothing
    but stripes and noise."""

    gain: float = 1.0
    fog: float = 0.0
    garbage: bool = False


class Window:
    """One scanner's window: its ground is drawn once, and stays."""

    def __init__(self, scanner_id: str, seed: int, height: int, width: int) -> None:
        self.scanner_id = scanner_id
        self._seed = seed
        self._peat = Peat()
        self._ground = self._peat.ground(height, width, PER_MM, np.random.default_rng([seed, 1]))

    def scan(
        self, number: int, taxa: Sequence[str], animals: int, light: Light
    ) -> tuple[np.ndarray, tuple[Marked, ...]]:
        """(h, w, 3) uint8, and who is on it: about `animals`, evenly of `taxa`. The same number, the same scan."""
        rng = np.random.default_rng([self._seed, 2, number])
        height, width = self._ground.shape[:2]
        if light.garbage:
            stripes = rng.integers(0, 256, (1, width, 3)).repeat(height, 0)
            return np.clip(stripes + rng.normal(0, 60, (height, width, 3)), 0, 255).astype(np.uint8), ()
        scene = self._ground.copy()
        marked = []
        for _ in range(rng.poisson(animals)):
            taxon = str(rng.choice(list(taxa)))
            low, high = SIZES_MM[taxon]
            sprite = self._peat.animal(
                taxon, float(rng.uniform(low, high)), float(rng.uniform(0, 2 * np.pi)), PER_MM, int(rng.integers(9)), 0
            )
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            pasted = paste(scene, sprite, y, x, Look(), LINE_S_AT_1200)
            box = None if pasted is None or pasted.visible < 0.5 else _box(pasted.body, pasted.origin, height, width)
            if box is not None:
                marked.append(Marked(taxon, box))
        seen = scene * light.gain * rng.uniform(0.95, 1.05)
        if light.fog:
            seen = (1 - light.fog) * cv2.GaussianBlur(seen, (0, 0), 1 + 3 * light.fog) + light.fog * 170
        seen = seen + rng.normal(0, 2.5, seen.shape)
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8), tuple(marked)


def _box(body: np.ndarray, origin: tuple[int, int], height: int, width: int) -> Any:
    ys, xs = np.nonzero(body > SEEN)
    if len(ys) < 4:
        return None
    top, left = origin
    x0, y0 = max(0, left + xs.min()), max(0, top + ys.min())
    x1, y1 = min(width, left + xs.max() + 1), min(height, top + ys.max() + 1)
    return (float(x0), float(y0), float(x1), float(y1)) if x1 - x0 >= 2 and y1 - y0 >= 2 else None


@dataclass(frozen=True)
class Shown:
    """A scan as it goes into a label file."""

    scanner_id: str
    captured_at: datetime
    image: np.ndarray
    marked: tuple[Marked, ...]
    labelled: bool = True


def write_labels(folder: Path, scans: Sequence[Shown]) -> Path:
    """The scans as PNGs with a COCO file; those that are not labelled serve as references."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scan in enumerate(scans, start=1):
        name = f"{scan.scanner_id}_{scan.captured_at:%Y-%m-%d_%HH%M}M.png"
        cv2.imwrite(str(folder / name), scan.image[..., ::-1])
        height, width = scan.image.shape[:2]
        images.append(
            {
                "id": number,
                "file_name": name,
                "width": width,
                "height": height,
                "dpi": DPI,
                "scanner_id": scan.scanner_id,
                "date_captured": scan.captured_at.isoformat(),
                "labelled": scan.labelled,
            }
        )
        for one in scan.marked if scan.labelled else ():
            x0, y0, x1, y1 = one.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": TAXA.index(one.taxon) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    path = folder / "labels.json"
    categories = [{"id": number, "name": taxon} for number, taxon in enumerate(TAXA, start=1)]
    info = {"description": "scenes of benchmarks/pretraining.py", "simulated": True}
    path.write_text(json.dumps({"info": info, "images": images, "annotations": annotations, "categories": categories}))
    return path
