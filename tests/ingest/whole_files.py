"""Files of every format made by other encoders, and a reader's pixels of them, for comparison."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from soilpipe.ingest.readers import Reader, open_reader

Read = Callable[..., tuple[np.ndarray, Reader]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes, suffix: str, rows: int = 37) -> tuple[np.ndarray, Reader]:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
            return np.concatenate(list(reader.bands(rows))), reader

    return read


def pil(image: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def deepened(image: np.ndarray) -> np.ndarray:
    """16 bits, the lower eight not those of the upper."""
    low = np.random.default_rng(3).integers(0, 256, image.shape, np.uint16)
    return image.astype(np.uint16) << 8 | low


def by_the_rule(image: np.ndarray, white_is_zero: bool = False) -> np.ndarray:
    """Samples as a whole-image decoder gives them → 8-bit RGB by the rule in readers/base.py, in other words."""
    image = image // 256 if image.dtype == np.uint16 else image
    image = 255 - image if white_is_zero else image
    if image.ndim == 2:
        return np.stack([image] * 3, axis=2).astype(np.uint8)
    return image[:, :, :3].astype(np.uint8)


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **{"metadata": None, **options})
    return file.getvalue()
