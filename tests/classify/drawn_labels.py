"""Pictures with labelled discs ("mites") and bars ("springtails") on grey ground, some scans of some scanners."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.encoder import Encoder
from soilpipe.encoder.weights import load_encoder, save_encoder

SIDE = 220
COLOURS = {"Acari": (230, 90, 70), "Collembola": (220, 210, 160), "Isopoda": (40, 40, 60), "root": (120, 90, 60)}
SIZES = {"Acari": (16, 16), "Collembola": (34, 8), "Isopoda": (60, 30), "root": (90, 6)}


def draw_labels(
    folder: Path,
    animals: Mapping[str, int],
    *,
    scanners: Sequence[str] = ("A", "B", "C"),
    scans: int = 3,
    entry: Mapping[str, Any] | None = None,
    categories: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """labels.json in `folder`, with `animals` of each category in every scan; `entry`: more for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*animals, *categories]
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for scanner in scanners:
        for scan in range(scans):
            rng = np.random.default_rng([seed, sum(scanner.encode()), scan])
            ground = cv2.GaussianBlur(rng.normal(100, 40, (SIDE, SIDE, 3)), (0, 0), 2).clip(0, 255).astype(np.uint8)
            name = f"{scanner}{scan}.png"
            images.append(
                {"id": len(images), "file_name": name, "width": SIDE, "height": SIDE, "dpi": 1200,
                 "scanner_id": scanner, "date_captured": f"2024-03-{1 + 4 * scan:02d}T06:00:00Z", **(entry or {})}
            )  # fmt: skip
            cells = rng.permutation(16)
            for place, taxon in enumerate(taxon for taxon, count in animals.items() for _ in range(count)):
                w, h = SIZES.get(taxon, (20, 20))
                w, h = (min(w, 50), h) if place else (w, h)
                x, y = 2 + 54 * int(cells[place] % 4), 10 + 54 * int(cells[place] // 4)
                x = min(x, SIDE - w - 2)
                cv2.ellipse(ground, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360,
                            COLOURS.get(taxon, (200, 200, 200)), -1)  # fmt: skip
                boxes.append({"id": len(boxes), "image_id": len(images) - 1, "category_id": names.index(taxon),
                              "bbox": [x, y, w, h]})  # fmt: skip
            cv2.imwrite(str(folder / name), ground[..., ::-1])
    file = folder / "labels.json"
    named = [{"id": number, "name": name} for number, name in enumerate(names)]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": named}))
    return file


def tiny_encoder(folder: Path, seed: int = 0) -> Encoder:
    """An encoder of a few channels with random weights."""
    import torch

    torch.manual_seed(seed)
    network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    save_encoder(folder, network, {"name": f"tiny {seed}", "um_per_px": 21.17})
    return load_encoder(folder, device="cpu")
