"""How fast one stored scan becomes a detection file, beside what the network alone takes, in one run.

    python benchmarks/prediction_speed.py [--size 4096] [--runs 5] [--threads 2]

A simulated scanner's five scans go through the real ingest; the last is detected again and again: opening, registering
its references, reading tiles and the difference from Zarr, the network, peaks, sizes, the Parquet file. The bare
network gets as many pixels as its detector looks at, as tensors in memory, windows without a halo: with its
threads in one window, and a window a core, of which the faster counts. Medians, and the ratio run by run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import cv2
import torch
from cores import APART, Work, faster, one_a_core, way_told

from soilpipe.analyses import analysis_of
from soilpipe.background import ModelInput, Registration, even_contrast, register_all
from soilpipe.config import Project, load_project
from soilpipe.detect.base import evens_contrast
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.network import TOTAL_STRIDE, CentrePointNetwork, Head
from soilpipe.detect.passes import HEAD_OF
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.run import detect_scan
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.detections import read_detection_file
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.receipts import list_receipts
from soilpipe.ingest.scan import ingest_file
from soilpipe.simulate import SeasonSpec, write_season
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, open_image

TILE = 1024
FULL_SCALE = 25_400 / 1200  # um/px of the scans
PROJECT = """
project: speed
store: ./store
timezone: UTC
settle: 0s
sites: [{id: bench}]
scanners: [{id: bench_1, site: bench, inbox: ./inbox, dpi: 1200}]
"""


def stored_season(folder: Path, size: int) -> tuple[Project, Store]:
    """Five simulated scans of `size` x `size` px in a store."""
    spec = SeasonSpec(
        scanner_id="bench_1",
        generator="peat",
        seed=11,
        times=tuple(datetime(2024, 3, 6, tzinfo=UTC) + timedelta(hours=6 * slot) for slot in range(5)),
        height_px=size,
        width_px=size,
        dpi=1200.0,
        animals_per_100cm2=60.0,
    )
    write_season(spec, folder / "inbox", extension="jpg")
    (folder / "soilpipe.yaml").write_text(PROJECT)
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    now = datetime.now(UTC) + timedelta(minutes=1)
    scanner = project.scanners[0]
    for arrival in find_arrivals(project, scanner, store, now).ready:
        outcome = ingest_file(project, scanner, store, arrival, now)
        if outcome.kind != "accepted":
            raise SystemExit(f"{outcome.name}: {outcome.reason}")
    return project, store


def bare(detector: CentrePointDetector, size: int, tile: int = TILE, batch: int = 1, *, cores: int = 1) -> None:
    """The network over as many pixels as each of its passes sees of a scan, `batch` windows at once, from its device's
    memory; waits until they are done. size: height and width of the scan, px of the detector's scale. `cores`: above 1,
    so many batches at a time in one thread each, on a CPU."""
    network, device = detector._folded, detector.device
    works = []
    for name, scale in detector.scales(detector.info.um_per_px).items():
        side = round(size * detector.info.um_per_px / scale)
        count, window = windows_of(side, tile, network.smallest_input)
        pixels = torch.full((min(batch, count), 7, window, window), 120, dtype=torch.uint8, device=device)
        works += [partial(_answered, network, pixels[: count - done], HEAD_OF[name]) for done in range(0, count, batch)]
    with full_precision():
        if cores > 1:
            one_a_core(works, cores)
        else:
            for work in works:
                work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)


@torch.inference_mode()
def _answered(network: CentrePointNetwork, pixels: torch.Tensor, head: Head) -> None:
    network(pixels, head)


def bare_works(detector: CentrePointDetector, size: int, name: str) -> dict[str, Work]:
    """The bare network on a CPU under its name, its threads in one window, and with more than one thread also `APART`;
    warmed up."""
    threads = torch.get_num_threads()
    works: dict[str, Work] = {name: lambda: bare(detector, size)}
    if threads > 1:
        works[name + APART] = lambda: bare(detector, size, cores=threads)
    for work in works.values():
        work()
    return works


def windows_of(side: int, tile: int, smallest: int) -> tuple[int, int]:
    """How many equal square windows of at most `tile` px have as many pixels as `side` x `side`, within 2 % or so, and
    their side: a multiple of the network's stride, `smallest` or more. All px."""
    along = -(-side // tile)
    return along**2, max(round(side / along / TOTAL_STRIDE) * TOTAL_STRIDE, smallest)


def read_all(
    scan: ScanImage,
    references: Sequence[ScanImage],
    registrations: Sequence[Registration],
    scales: Iterable[float],
    *,
    evened: bool = False,
) -> None:
    """Read all that the passes look at, difference and all, in bands of TILE rows. `evened`: their contrast is."""
    even = even_contrast(scan) if evened else None
    for scale in scales:
        windows = ModelInput(scan, references, registrations, scale, even=even)
        for y in range(0, windows.height, TILE):
            windows.read(y, min(y + TILE, windows.height), 0, windows.width)


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=4096, help="height and width of the scan, px at 1200 dpi")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="a folder with weights and card")
    parser.add_argument("--json", type=Path, default=None, help="write the seconds and the ratio here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    detector = load_detector(arguments.detector, device="cpu")
    if not isinstance(detector, CentrePointDetector):
        parser.error(f"{arguments.detector}: not a centre-point detector")
    analysis = analysis_of(detector.info)
    with tempfile.TemporaryDirectory() as scratch:
        project, store = stored_season(Path(scratch), arguments.size)
        receipt = list_receipts(store, "bench_1")[-1]
        found = detect_scan(project, store, receipt, detector, analysis)  # warm up, and names the references
        scale = detector.info.um_per_px
        looked_at = round(arguments.size * FULL_SCALE / scale)  # px a side: the detector's may be a coarser scale

        def opened() -> tuple[list[ScanImage], list[ScanImage]]:
            scan = open_image(store, receipt.scan_id, FULL_SCALE)
            names = read_detection_file(store, analysis.id, receipt.scan_id).metadata["references"]
            references = [open_image(store, name["scan_id"], FULL_SCALE) for name in names]
            return [scan], references

        def registering() -> None:
            (scan,), references = opened()
            register_all(scan, references)

        (scan,), references = opened()
        registrations = register_all(scan, references)

        def reading() -> None:
            (fresh,), others = opened()
            scales, evened = detector.scales(fresh.um_per_px).values(), evens_contrast(detector.card)
            read_all(fresh, others, registrations, scales, evened=evened)

        works: dict[str, Work] = {
            "end to end": lambda: detect_scan(project, store, receipt, detector, analysis),
            **bare_works(detector, looked_at, "network alone"),
            "registering references": registering,
            "reading with difference": reading,
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(arguments.runs):
            for name, work in works.items():
                seconds[name].append(timed(work))
    megapixels = arguments.size**2 / 1e6
    print(
        f"{arguments.size} x {arguments.size} px ({megapixels:.1f} MPix), {len(found.references)} references, "
        f"{found.n} detections, {arguments.threads} threads, {arguments.runs} runs"
    )
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    network = faster({name: megapixels / value for name, value in middle.items()})["network alone"]
    for name, values in seconds.items():
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"{name:26s} median {middle[name]:6.2f} s  {spread:18s} {megapixels / middle[name]:6.1f} MPix/s")
    ratio = statistics.median(b / a for a, b in zip(seconds["end to end"], seconds[network], strict=True))
    print(f"end to end runs at {ratio:.2f} of the bare network's rate (median of runs; of it, {way_told(network)})")
    if arguments.json:
        told = {"seconds": seconds, "megapixels": megapixels, "threads": arguments.threads}
        ways = {"network alone": way_told(network)}
        arguments.json.write_text(json.dumps({**told, "faster": ways, "end_to_end_over_bare": ratio}, indent=1) + "\n")


if __name__ == "__main__":
    main()
