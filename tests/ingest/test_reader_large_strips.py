"""TIFFs whose strips or tiles are large: read in pieces where the codec allows, held to the memory limit where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from soilpipe.ingest.readers import open_reader


def read(path: Path, rows: int = 256, **limits: int) -> np.ndarray:
    with open_reader(path, **{"max_pixels": 10**9, "max_memory": 10**9, **limits}) as reader:
        return np.concatenate(list(reader.bands(rows)))


def tiff(path: Path, image: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack", metadata=None, **options)
    return path


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1800, 1600, 3), np.uint8)


@pytest.mark.parametrize("layout", [{"rowsperstrip": 1800}, {"tile": (1808, 1600)}])
def test_a_jpeg_strip_of_many_megabytes_is_read(layout: dict, noise: np.ndarray, tmp_path: Path) -> None:
    path = tiff(tmp_path / "scan.tif", noise, compression="jpeg", compressionargs={"level": 98}, **layout)
    with tifffile.TiffFile(path) as file:
        assert max(file.pages[0].databytecounts) > 1 << 22
        whole = file.asarray()
    assert np.abs(read(path).astype(int) - whole).max() <= 1
