"""Files of a scan's size in every format, written band by band, for `benchmarks/ingest.py`.

The picture is a mosaic of simulated ground (loam and peat, with a sensor's noise), each patch turned and somewhat
lighter or darker, so that it compresses as a scan does and no codec finds the same patch twice in its window.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pyvips
import tifffile
from PIL import Image

from soilpipe.simulate import SeasonSpec, simulate_season

A4 = {600: (7016, 4960), 1200: (14031, 9921), 2400: (28063, 19842)}
"""Height and width, px, by dpi."""
PATCH = 1024
STRIP = 128


@cache
def _patches() -> tuple[np.ndarray, ...]:
    """(PATCH, PATCH, 3) uint8 each."""
    found = []
    for generator in ("loam", "peat"):
        times = (datetime(2024, 3, 6, tzinfo=UTC),)
        spec = SeasonSpec("bench", generator, seed=3, times=times, height_px=PATCH, width_px=PATCH)
        found += [scan.image for scan in simulate_season(spec)]
    return tuple(found)


def bands(height: int, width: int, rows: int) -> Iterator[np.ndarray]:
    """The picture in bands (r, width, 3) uint8; ``rows`` must divide PATCH or be a multiple of it."""
    held: np.ndarray | None = None
    for top in range(0, height, PATCH):
        row = _row(top // PATCH, width)[: height - top]
        held = row if held is None else np.concatenate([held, row])
        while len(held) >= rows:
            yield held[:rows]
            held = held[rows:]
    if held is not None and len(held):
        yield held


def _row(number: int, width: int) -> np.ndarray:
    chance = np.random.default_rng(number)
    parts = []
    for _ in range(-(-width // PATCH)):
        patch = np.rot90(_patches()[chance.integers(2)], chance.integers(4))
        patch = patch[:, ::-1] if chance.random() < 0.5 else patch
        table = np.clip(np.arange(256) * chance.uniform(0.8, 1.25), 0, 255).astype(np.uint8)
        parts.append(table[patch])
    return np.ascontiguousarray(np.concatenate(parts, axis=1)[:, :width])


_STRIP_CODECS: dict[str, Callable[[np.ndarray], bytes]] = {
    "zlib": lambda strip: imagecodecs.zlib_encode(imagecodecs.delta_encode(strip, axis=1), level=6),
    "lzw": lambda strip: imagecodecs.lzw_encode(imagecodecs.delta_encode(strip, axis=1)),
    "zstd": lambda strip: imagecodecs.zstd_encode(imagecodecs.delta_encode(strip, axis=1), level=3),
    "jpeg": lambda strip: imagecodecs.jpeg8_encode(strip, level=90),
}
"""Differences along the row first where that is the habit of scanners' software."""


def _deepened(band: np.ndarray) -> np.ndarray:
    """uint16 of which the lower eight bits are not those of the upper, as a scanner's are not."""
    return band.astype(np.uint16) << 8 | band[:, ::-1]


def _tiff(path: Path, dpi: int, compression: str | None = None, *, deep: bool = False, big: bool = False) -> None:
    """Strips of STRIP rows."""
    height, width = A4[dpi]

    def strips() -> Iterator[np.ndarray | bytes]:
        for band in bands(height, width, STRIP):
            samples = _deepened(band) if deep else band
            yield _STRIP_CODECS[compression](samples) if compression else samples

    _write_strips(path, dpi, strips(), STRIP, compression, np.uint16 if deep else np.uint8, big)


def _one_strip(path: Path, dpi: int) -> None:
    """All rows in one strip of deflate, packed as a stream; its coded bytes are held in memory."""
    height, width = A4[dpi]
    packer = zlib.compressobj(6)
    coded = [packer.compress(imagecodecs.delta_encode(band, axis=1)) for band in bands(height, width, STRIP)]
    _write_strips(path, dpi, iter([b"".join([*coded, packer.flush()])]), height, "zlib", np.uint8, big=False)


def _write_strips(
    path: Path,
    dpi: int,
    strips: Iterator[np.ndarray | bytes],
    rows: int,
    compression: str | None,
    dtype: type,
    big: bool,
) -> None:
    height, width = A4[dpi]
    options = {"compression": compression, "predictor": compression != "jpeg"} if compression else {}
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        file.write(
            strips,
            shape=(height, width, 3),
            dtype=dtype,
            photometric="ycbcr" if compression == "jpeg" else "rgb",
            rowsperstrip=rows,
            resolution=(dpi, dpi),
            resolutionunit="INCH",
            metadata=None,
            **options,
        )


def _tiled_tiff(path: Path, dpi: int) -> None:
    height, width = A4[dpi]
    side = 512

    def tiles() -> Iterator[np.ndarray]:
        for band in bands(height, width, side):
            padded = np.pad(band, ((0, side - len(band)), (0, -width % side), (0, 0)))
            for left in range(0, padded.shape[1], side):
                yield np.ascontiguousarray(padded[:, left : left + side])

    with tifffile.TiffWriter(path) as file:
        file.write(
            tiles(),
            shape=(height, width, 3),
            dtype=np.uint8,
            photometric="rgb",
            tile=(side, side),
            compression="zlib",
            compressionargs={"level": 6},
            predictor=True,
            resolution=(dpi, dpi),
            resolutionunit="INCH",
            metadata=None,
        )


def _by_vips(path: Path, dpi: int, save: Callable[[pyvips.Image], None]) -> None:
    """Through a raw file, so that libvips reads it from top to bottom too."""
    height, width = A4[dpi]
    raw = path.with_suffix(".raw")
    try:
        with raw.open("wb") as file:
            for band in bands(height, width, PATCH):
                file.write(band.data)
        image = pyvips.Image.rawload(str(raw), width, height, 3, access="sequential")
        save(image.copy(interpretation="srgb", xres=dpi / 25.4, yres=dpi / 25.4))
    finally:
        raw.unlink(missing_ok=True)


def _jpeg(path: Path, dpi: int, progressive: bool = False) -> None:
    _by_vips(path, dpi, lambda image: image.jpegsave(str(path), Q=90, interlace=progressive))


def _png(path: Path, dpi: int) -> None:
    _by_vips(path, dpi, lambda image: image.pngsave(str(path), compression=3, filter="up"))


def _jpeg2000(path: Path, dpi: int, tile: int | None = None) -> None:
    """About 40 dB, as a scanner's "high quality"; made whole in memory, since no encoder here takes bands."""
    height, width = A4[dpi]
    whole = np.concatenate(list(bands(height, width, PATCH)))
    if tile is None:
        threads = os.cpu_count() or 1
        path.write_bytes(imagecodecs.jpeg2k_encode(whole, level=40, codecformat="jp2", numthreads=threads))
    else:
        quality = {"quality_mode": "dB", "quality_layers": [40], "irreversible": True}
        Image.fromarray(whole).save(path, "JPEG2000", tile_size=(tile, tile), **quality)


FORMATS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "jpeg": (".jpg", _jpeg),
    "png": (".png", _png),
    "tiff": (".tif", _tiff),
    "tiff deflate": (".tif", lambda path, dpi: _tiff(path, dpi, "zlib")),
    "tiff lzw": (".tif", lambda path, dpi: _tiff(path, dpi, "lzw")),
    "tiff zstd": (".tif", lambda path, dpi: _tiff(path, dpi, "zstd")),
    "tiff jpeg": (".tif", lambda path, dpi: _tiff(path, dpi, "jpeg")),
    "tiff 16 bit": (".tif", lambda path, dpi: _tiff(path, dpi, deep=True)),
    "tiff big": (".tif", lambda path, dpi: _tiff(path, dpi, big=True)),
    "tiff one strip": (".tif", _one_strip),
    "tiff tiled": (".tif", _tiled_tiff),
    "jpeg progressive": (".jpg", lambda path, dpi: _jpeg(path, dpi, progressive=True)),
    "jp2": (".jp2", _jpeg2000),
    "jp2 tiled": (".jp2", lambda path, dpi: _jpeg2000(path, dpi, tile=1024)),
}
"""By name: suffix, and what writes the file of a path and dpi."""


def make_file(folder: Path, name: str, dpi: int) -> Path:
    """The file of a format at a resolution, made once. Written to the end or not there."""
    suffix, write = FORMATS[name]
    path = folder / f"{name.replace(' ', '_')}_{dpi}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name("unfinished" + suffix)
        write(unfinished, dpi)
        unfinished.rename(path)
    return path
