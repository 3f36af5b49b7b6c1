"""What the tests of the corpus stand on: an encoder without a network, and a small season in a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import yaml

from soilpipe.config import load_project
from soilpipe.pretrain.corpus import CorpusBudget
from soilpipe.store import Store
from tests.labels.conftest import Season

SIDE = 64
SMALL = CorpusBudget(crops=200, memory=60, bytes=60_000_000, scans=50, side=SIDE, eps=0.002)
ANIMAL_BOX = (165.0, 138.0, 235.0, 162.0)


@dataclass
class Thumbnails:
    """An encoder: the crop at 8 x 8 px without its mean, unit length. `seen`: how many crops it was given."""

    version: str = "thumbnails"
    um_per_px: float = 21.17
    seen: int = field(default=0)

    @property
    def info(self) -> Any:
        return SimpleNamespace(name="thumbnails", version=self.version, um_per_px=self.um_per_px, size=None, dim=192)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        self.seen += len(pixels)
        small = [cv2.resize(np.moveaxis(one[:3], 0, -1), (8, 8), interpolation=cv2.INTER_AREA) for one in pixels]
        flat = np.stack(small).reshape(len(pixels), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def make_season(folder: Path, *scanners: str, scans: int = 0, detected: bool = False) -> Season:
    """Scanners with `scans` scans each, every fourth with an animal; `detected`: with detection files."""
    names = scanners or ("A20",)
    document = {
        "project": "casca",
        "store": "./store",
        "timezone": "UTC",
        "sites": [{"id": "wood"}],
        "scanners": [{"id": one, "site": "wood", "inbox": f"./in/{one}", "dpi": 1200} for one in names],
        "taxa": "soil",
    }
    file = folder / "soilpipe.yaml"
    file.write_text(yaml.safe_dump(document))
    project = load_project(file)
    season = Season(project, Store(project.store))
    for scanner in names:
        for number in range(scans):
            animal = number % 4 == 3
            found = [("Collembola", 0.9, ANIMAL_BOX)] if animal else []
            season.scan(number, scanner_id=scanner, animal=animal, found=found if detected else None)
    return season
