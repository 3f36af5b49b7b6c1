"""How much the pixels shrink, and how fast, by each codec that zarr-python and napari read without a plugin.

    python benchmarks/codecs.py IMAGE_OR_FOLDER ... [--simulated] [--runs 3] [--json FILE]

Each image is written to memory as `ingest.zarr_writer` does (CYX, chunks 3 x 512 x 512, shards 3 x 2048 x 2048) and
read back, by one thread; the figures are CPU seconds, the best of the runs, over all images of a folder together.
JPEG XL, lossless, is measured by the chunk (3 bands of 512 x 512 as one colour picture, by one thread): no codec of
zarr-python or napari reads it, so that no store is made of it.
Images that were JPEG before are smoother than what a scanner's TIFF holds: their ratios are too good. ``--simulated``
adds a scan of each generator, whose noise is that of a sensor.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta
from zarr.storage import MemoryStore

from soilpipe.ingest.zarr_writer import CHUNK, shard_side
from soilpipe.simulate import SeasonSpec, simulate_season

SUFFIXES = {".jpg", ".png", ".tif", ".tiff"}
SIMULATED_SIDE = 2048
JPEGXL_EFFORTS = (1, 3)


def codecs() -> dict[str, dict[str, Any]]:
    """By name: what `create_array` takes. The numcodecs filter is no part of the Zarr 3 specification."""
    plain: dict[str, dict[str, Any]] = {}
    for level in (1, 3, 6, 9):
        plain[f"zstd {level}"] = {"compressors": ZstdCodec(level=level, checksum=True), "filters": None}
    shuffled = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    plain["blosc zstd 1, bits shuffled"] = {"compressors": shuffled, "filters": None}
    for level in (1, 3):
        plain[f"delta + zstd {level}"] = {
            "compressors": ZstdCodec(level=level, checksum=True),
            "filters": [Delta(dtype="|u1")],
        }
    return plain


def images_in(place: Path) -> list[np.ndarray]:
    """Every image of a folder, or the one, (H, W, 3) uint8 RGB."""
    paths = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{place} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def simulated(generator: Any) -> list[np.ndarray]:
    """One scan."""
    side, times = SIMULATED_SIDE, (datetime(2024, 3, 6, tzinfo=UTC),)
    spec = SeasonSpec("codecs", generator, seed=7, times=times, height_px=side, width_px=side)
    return [scan.image for scan in simulate_season(spec)]


def measure(images: Iterable[np.ndarray], options: dict[str, Any], runs: int) -> dict[str, float]:
    """Ratio, and CPU seconds to write and to read."""
    raw = stored = 0
    write = read = 0.0
    for image in images:
        channels = np.ascontiguousarray(image.transpose(2, 0, 1))
        _, height, width = channels.shape
        writes, reads = [], []
        for _ in range(runs):
            memory = MemoryStore()
            array = zarr.create_array(
                memory,
                shape=channels.shape,
                dtype="uint8",
                chunks=(3, CHUNK, CHUNK),
                shards=(3, shard_side(height), shard_side(width)),
                **options,
            ).with_config({"write_empty_chunks": True})
            began = time.process_time()
            array[:] = channels
            writes.append(time.process_time() - began)
            began = time.process_time()
            back = array[:]
            reads.append(time.process_time() - began)
            if not np.array_equal(back, channels):
                raise SystemExit(f"{options} does not give the same pixels back")
        raw += channels.size
        stored += sum(len(buffer.to_bytes()) for path, buffer in memory._store_dict.items() if "/c/" in f"/{path}")
        write += min(writes)
        read += min(reads)
    pixels = raw / 3e6
    return {"ratio": raw / stored, "write_mpix_s": pixels / write, "read_mpix_s": pixels / read, "mpix": pixels}


def measure_jpegxl(images: Iterable[np.ndarray], effort: int, runs: int) -> dict[str, float]:
    """Like measure, of the chunks alone. Those at the edges are filled up with zeros, as Zarr does."""
    raw = stored = 0
    write = read = 0.0
    for image in images:
        height, width, _ = image.shape
        padded = np.pad(image, ((0, -height % CHUNK), (0, -width % CHUNK), (0, 0)))
        corners = [(top, left) for top in range(0, height, CHUNK) for left in range(0, width, CHUNK)]
        chunks = [np.ascontiguousarray(padded[top : top + CHUNK, left : left + CHUNK]) for top, left in corners]
        writes, reads = [], []
        for _ in range(runs):
            began = time.process_time()
            coded = [
                imagecodecs.jpegxl_encode(chunk, lossless=True, effort=effort, usecontainer=False, numthreads=1)
                for chunk in chunks
            ]
            writes.append(time.process_time() - began)
            began = time.process_time()
            back = [imagecodecs.jpegxl_decode(data, numthreads=1) for data in coded]
            reads.append(time.process_time() - began)
            if not all(map(np.array_equal, back, chunks)):
                raise SystemExit("JPEG XL does not give the same pixels back")
        raw += image.size
        stored += sum(map(len, coded))
        write += min(writes)
        read += min(reads)
    pixels = raw / 3e6
    return {"ratio": raw / stored, "write_mpix_s": pixels / write, "read_mpix_s": pixels / read, "mpix": pixels}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("places", nargs="*", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--simulated", action="store_true", help="also a scan of each generator")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*not in the Zarr version 3 specification.*")
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
    sets = {str(place): images_in(place) for place in arguments.places}
    if arguments.simulated:
        sets |= {f"simulated {name}": simulated(name) for name in ("loam", "peat")}
    if not sets:
        parser.error("name at least one image or folder, or --simulated")
    figures = []
    for place, images in sets.items():
        print(f"{place}: {len(images)} images")
        print(f"  {'':30s}{'ratio':>8s}{'write':>10s}{'read':>10s}   MPix per CPU second")
        works = {name: partial(measure, images, options, arguments.runs) for name, options in codecs().items()}
        if imagecodecs.JPEGXL.available:
            for effort in JPEGXL_EFFORTS:
                works[f"JPEG XL, effort {effort}"] = partial(measure_jpegxl, images, effort, arguments.runs)
        for name, work in works.items():
            found = work()
            figures.append({"images": place, "codec": name, **found})
            speed = f"{found['write_mpix_s']:10.0f}{found['read_mpix_s']:10.0f}"
            print(f"  {name:30s}{found['ratio']:8.2f}{speed}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
