"""How fast tiles come back from a stored scan: a walk along the rows beside one tile at a time.

    python benchmarks/reading.py [--size 8192] [--tile 1024] [--halo 128] [--runs 3]

The scan is written as ingest writes it. ``walk`` reads every tile with its halo through one `ZarrPixels`, which keeps
the strips that the next row of tiles needs again; ``single`` keeps nothing from tile to tile, reading either whole
strips or what zarr is asked for; ``whole chunks`` decodes the level once, chunk row by chunk row, which is the most a
walk can reach. MPix are those of the cores: each pixel of the scan once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import ingest_files
import numpy as np
import zarr

from soilpipe.ingest.zarr_writer import CHUNK, SHARD, write_image
from soilpipe.store import Store
from soilpipe.tiles import ZarrPixels, tile_grid

KEY = "scans/bench/2024/bench/image.zarr"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=8192, help="height and width of the scan, px")
    parser.add_argument("--tile", type=int, default=1024, help="core of a tile, px")
    parser.add_argument("--halo", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    size = arguments.size
    tiles = tile_grid(size, size, core=arguments.tile, halo=arguments.halo, stride=32)
    with tempfile.TemporaryDirectory(prefix="soilpipe-bench-") as scratch:
        store = Store(scratch)
        write_image(ingest_files.bands(size, size, SHARD), (size, size), store, KEY, "bench", 21.17)

        def level() -> zarr.Array:
            return zarr.open_group(store.zarr(KEY, read_only=True), mode="r", zarr_format=3)["0"]

        def inside(window: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
            y0, y1, x0, x1 = window  # the grid pads the image to its stride
            return y0, min(y1, size), x0, min(x1, size)

        def walk() -> None:
            pixels = ZarrPixels(level())
            for tile in tiles:
                pixels.read(*inside(tile.window))

        def single() -> None:
            array = level()
            for tile in tiles:
                ZarrPixels(array).read(*inside(tile.window))

        def straight() -> None:
            array = level()
            for y0, y1, x0, x1 in (inside(tile.window) for tile in tiles):
                np.ascontiguousarray(np.moveaxis(array[:, y0:y1, x0:x1], 0, 2))

        def whole() -> None:
            array = level()
            for top in range(0, size, CHUNK):
                array[:, top : top + CHUNK]

        works: dict[str, Callable[[], None]] = {
            "walk": walk,
            "single, by strips": single,
            "single, from zarr": straight,
            "whole chunks": whole,
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for _ in range(arguments.runs):
            for name, work in works.items():
                wall, cpu = time.perf_counter(), time.process_time()
                work()
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    megapixels = size * size / 1e6
    print(f"{size} x {size} px, tiles of {arguments.tile} + 2 x {arguments.halo}, {arguments.runs} runs, medians")
    for name, found in seconds.items():
        wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        rates = f"{megapixels / wall:8.1f} MPix/s{megapixels / cpu:8.1f} MPix a CPU second"
        print(f"{name:20s}{wall:7.2f} s{cpu:7.2f} CPU s{rates}")


if __name__ == "__main__":
    main()
