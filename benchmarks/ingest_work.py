"""One measurement of `benchmarks/ingest.py`, in a process of its own: prints one line of JSON.

    python benchmarks/ingest_work.py {decode,write,ingest,dask} FILE FOLDER DPI [--originals]

``wall`` and ``cpu`` are seconds of the work itself, without starting Python or a cluster. Each process, workers too,
writes a small picture first, and then does the work twice: the second time counts, since processes last a whole run
and ask the system for their memory once. ``first_wall`` is the other. ``cpu`` counts all threads and, with a cluster,
its workers. ``peak_mb`` is VmHWM of the process (with a cluster the sum over its processes) and includes the
interpreter and the libraries, given as ``base_mb`` too.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ingest_files
import numpy as np

from soilpipe.config import load_project
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.quarantine import list_quarantine
from soilpipe.ingest.readers import open_reader
from soilpipe.ingest.receipts import list_receipts
from soilpipe.ingest.scan import ingest_file
from soilpipe.ingest.zarr_writer import SHARD, write_image
from soilpipe.store import Store

PROJECT = """
project: speed
store: ./store
timezone: UTC
settle: 0s
keep_originals: {originals}
sites: [{{id: bench}}]
scanners: [{{id: bench_1, site: bench, inbox: ./inbox, dpi: {dpi}}}]
"""
CHANGED = 3
"""Different bands that writing alone cycles through: a scan of them must fit into memory."""


def peak_mb(process: int | str = "self") -> float:
    """VmHWM, MB of 10^6 bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_of(process: int) -> float:
    """Seconds, user and system, of another process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def warm_up() -> None:
    """What a process does once in its life (imports, codecs, threads), by a small picture."""
    shape = (600, 10 * SHARD)  # wide enough for every worker to get a shard
    with tempfile.TemporaryDirectory() as folder:
        write_image([np.zeros((*shape, 3), np.uint8)], shape, Store(folder), "warm.zarr", "warm", None)


def decode(file: Path) -> int:
    """Every band, thrown away."""
    with open_reader(file, max_pixels=2_000_000_000, max_memory=16_000_000_000) as reader:
        return sum(len(band) for band in reader.bands(SHARD))


def prepared_write(dpi: int, folder: Path) -> Callable[[], object]:
    """Compressing and writing a scan of that size, from bands that are in memory already."""
    height, width = ingest_files.A4[dpi]
    held = list(itertools.islice(ingest_files.bands(height, width, SHARD), CHANGED))

    def source() -> Iterable[object]:
        for top in range(0, height, SHARD):
            yield held[top // SHARD % CHANGED][: min(SHARD, height - top)]

    store = Store(folder / "store")
    key = f"scans/bench_1/2024/{folder.name}/image.zarr"
    return lambda: write_image(source(), (height, width), store, key, "bench", 25_400 / dpi)  # type: ignore[arg-type]


def prepared_ingest(file: Path, dpi: int, folder: Path, originals: bool) -> Callable[[], str]:
    """The whole ingest of one file; its receipt's files as one digest."""
    inbox = folder / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    name = inbox / f"bench_1_2024-03-06_06H00M{file.suffix}"
    if not name.exists():
        os.link(file, name)
    (folder / "soilpipe.yaml").write_text(PROJECT.format(dpi=dpi, originals=str(originals).lower()))
    project = load_project(folder / "soilpipe.yaml")
    store, scanner = Store(project.store), project.scanners[0]
    now = datetime.now(UTC) + timedelta(minutes=5)

    def ingest() -> str:
        (arrival,) = find_arrivals(project, scanner, store, now).ready
        outcome = ingest_file(project, scanner, store, arrival, now)
        if outcome.kind != "accepted":
            codes = ", ".join(refusal.code for refusal in list_quarantine(store, scanner.id))
            raise SystemExit(f"{file.name}: {outcome.kind} ({codes}): {outcome.reason}")
        (receipt,) = list_receipts(store, scanner.id)
        pixels = sorted((one.path, one.sha256) for one in receipt.files if "/c/" in one.path)
        return hashlib.sha256(repr(pixels).encode()).hexdigest()

    return ingest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", choices=["decode", "write", "ingest", "dask"])
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("dpi", type=int)
    parser.add_argument("--originals", action="store_true")
    arguments = parser.parse_args()
    file, folder, dpi = arguments.file, arguments.folder, arguments.dpi
    workers: list[int] = []

    def prepared(turn: str) -> Callable[[], object]:
        if arguments.work == "decode":
            return lambda: decode(file)
        if arguments.work == "write":
            return prepared_write(dpi, folder / turn)
        return prepared_ingest(file, dpi, folder / turn, arguments.originals)

    with ExitStack() as stack:
        if arguments.work == "dask":
            from distributed import Client, LocalCluster

            cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(Client(cluster))
            workers = list(client.run(os.getpid).values())
        warm_up()
        first, work = prepared("first"), prepared("second")
        first_wall = time.perf_counter()
        first()
        first_wall = time.perf_counter() - first_wall
        base = peak_mb() + sum(peak_mb(worker) for worker in workers)
        cpu, wall = time.process_time(), time.perf_counter()
        cpu += sum(cpu_of(worker) for worker in workers)
        result = work()
        wall = time.perf_counter() - wall
        cpu = time.process_time() + sum(cpu_of(worker) for worker in workers) - cpu
        peak = peak_mb() + sum(peak_mb(worker) for worker in workers)
        told = {"wall": wall, "first_wall": first_wall, "cpu": cpu, "peak_mb": peak, "base_mb": base}
        if isinstance(result, str):
            told["pixels"] = result
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
