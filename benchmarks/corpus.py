"""What choosing a corpus costs, and whether what it drops is rightly dropped.

    python benchmarks/corpus.py [--scanners 2] [--scans 12] [--size 1536] [--eps 0.003,0.01,0.03] [--large 20000]

Simulated scanners (generator peat, 1200 dpi) go through the real ingest and are detected; the corpus is built with the
trunk of the detector as the encoder. Printed: time by stage, and per million places looked at; memory; the share of
candidates that show an animal, by why they were taken; and for each eps the share dropped, and what is lost with it:
animals (each once, by its track in the simulation) that a candidate shows and no kept crop does, and dropped crops that
show an animal while the crop that stands for them shows none. Last, near-duplicates and the replay memory alone on
--large random vectors.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FIRST = datetime(2024, 3, 6, tzinfo=UTC)
VISIBLE = 0.5
"""Share of an animal's box that must lie in a crop for the crop to show it."""
PROJECT = "project: corpus\nstore: ./store\ntimezone: UTC\nsettle: 0s\nsites: [{id: bench}]\nscanners:\n"

Animals = Mapping[str, list[tuple[str, tuple[float, float, float, float]]]]
"""By scan id: the animals that it shows, as (track, box in px at full resolution)."""


def make_store(folder: Path, scanners: int, scans: int, size: int, detect: bool, threads: int) -> None:
    """Simulate, ingest and detect; runs in a process of its own, so that its memory is not counted."""
    import torch

    from soilpipe.analyses import analysis_of, publish, write_analysis
    from soilpipe.config import load_project
    from soilpipe.detect.run import detect_scan
    from soilpipe.detect.weights import SHIPPED, load_detector
    from soilpipe.ingest.arrivals import find_arrivals
    from soilpipe.ingest.receipts import list_receipts
    from soilpipe.ingest.scan import ingest_file
    from soilpipe.simulate import SeasonSpec, write_season
    from soilpipe.store import Store

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    names = [f"bench_{number}" for number in range(1, scanners + 1)]
    blocks = [f"  - {{id: {name}, site: bench, inbox: ./inbox/{name}, dpi: 1200}}\n" for name in names]
    (folder / "soilpipe.yaml").write_text(PROJECT + "".join(blocks))
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    now = datetime.now(UTC) + timedelta(minutes=1)
    detector = load_detector(SHIPPED, device="cpu")
    analysis = analysis_of(detector.info)
    for number, name in enumerate(names):
        times = tuple(FIRST + timedelta(hours=6 * slot) for slot in range(scans))
        spec = SeasonSpec(name, "peat", 100 + number, times, size, size, 1200.0, animals_per_100cm2=40.0)
        write_season(spec, folder / "inbox" / name, extension="jpg")
        scanner = project.scanner(name)
        for arrival in find_arrivals(project, scanner, store, now).ready:
            outcome = ingest_file(project, scanner, store, arrival, now)
            if outcome.kind != "accepted":
                raise SystemExit(f"{outcome.name}: {outcome.reason}")
        if detect:
            write_analysis(store, analysis)
            publish(store, name, analysis.id, None)
            for receipt in list_receipts(store, name):
                detect_scan(project, store, receipt, detector, analysis)


def true_animals(folder: Path, scan_ids: list[str]) -> Animals:
    """What the simulation drew, by the scan that it became."""
    by_time = {}
    for truth in sorted((folder / "inbox").glob("*/truth.json")):
        told = json.loads(truth.read_text())
        images = {image["id"]: image for image in told["images"]}
        for image in told["images"]:
            by_time[image["scanner_id"], datetime.fromisoformat(image["date_captured"])] = []
        for one in told["annotations"]:
            image = images[one["image_id"]]
            x, y, w, h = one["bbox"]
            key = image["scanner_id"], datetime.fromisoformat(image["date_captured"])
            by_time[key].append((f"{image['scanner_id']}-{one['track_id']}", (x, y, x + w, y + h)))
    from soilpipe.layout import parse_scan_id

    parts = {scan_id: parse_scan_id(scan_id) for scan_id in scan_ids}
    return {scan_id: by_time[part.scanner_id, part.device_time.replace(tzinfo=UTC)] for scan_id, part in parts.items()}


def shown(entry: Any, animals: Animals) -> set[str]:
    """The tracks of the animals of which a crop shows half or more."""
    x0, y0, x1, y1 = entry.box
    found = set()
    for track, (a, b, c, d) in animals[entry.scan_id]:
        inside = max(0.0, min(x1, c) - max(x0, a)) * max(0.0, min(y1, d) - max(y0, b))
        if inside >= VISIBLE * (c - a) * (d - b):
            found.add(track)
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, its wall seconds, and its CPU seconds, which count on a machine that others use."""
    began, busy = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - began, time.process_time() - busy


def peak_mb() -> float:
    """The most memory this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """(n, dim) float32: random directions about n / 4 grounds, each seen some times with a little noise."""
    grounds = rng.standard_normal((max(1, n // 4), dim))
    rows = grounds[rng.integers(0, len(grounds), n)] + 0.05 * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def report_drops(corpus: Any, animals: Animals, eps_list: list[float]) -> None:
    """The table of eps: what is dropped, and what is lost with it. `corpus` holds every candidate."""
    from soilpipe.pretrain.near_duplicates import eps_by_places, near_duplicates

    tracks = [shown(entry, animals) for entry in corpus.entries]
    by_reason: dict[str, list[bool]] = defaultdict(list)
    for entry, found in zip(corpus.entries, tracks, strict=True):
        by_reason[entry.reason].append(bool(found))
    print("\ncandidates by why they were taken, and the share that shows an animal")
    for reason, there in sorted(by_reason.items()):
        print(f"  {reason:<10} {len(there):6d}  {np.mean(there):6.1%}")
    every = set().union(*tracks)
    appearances = sum(bool(found) for found in tracks)
    print(f"\n{'eps':>7} {'dropped':>8} {'of these: the same place':>25} {'animals lost':>13} {'empty stand-in':>15}")
    fitted = eps_by_places(corpus.embeddings, corpus.place)
    for eps in sorted([*eps_list, fitted]):
        found = near_duplicates(corpus.embeddings, eps)
        dropped = np.flatnonzero(~found.keep)
        same = np.mean(corpus.place[dropped] == corpus.place[found.twin[dropped]]) if len(dropped) else 0.0
        kept = set().union(*(tracks[row] for row in np.flatnonzero(found.keep)))
        empty = sum(bool(tracks[row]) and not tracks[found.twin[row]] for row in dropped)
        print(
            f"{eps:7.4f} {found.dropped / len(found.keep):8.1%} {same:25.1%} {len(every - kept):6d} of {len(every):3d} "
            f"{empty:7d} of {appearances:4d}" + ("   <- by the places" if eps == fitted else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scanners", type=int, default=2)
    parser.add_argument("--scans", type=int, default=12, help="of each scanner")
    parser.add_argument("--size", type=int, default=1536, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--side", type=int, default=256, help="of a crop, px")
    parser.add_argument("--eps", default="0.001,0.003,0.01,0.03,0.1")
    parser.add_argument("--no-detections", action="store_true", help="as before the first detection")
    parser.add_argument("--large", type=int, default=20_000, help="vectors for the last part")
    parser.add_argument("--dim", type=int, default=368, help="of those vectors")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps the store and the corpus there, and uses a store that is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "soilpipe.yaml").is_file():
            detect = not arguments.no_detections
            told = (folder, arguments.scanners, arguments.scans, arguments.size, detect, arguments.threads)
            process = multiprocessing.get_context("spawn").Process(target=make_store, args=told)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit("the store could not be made")
        run(folder, arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    """Build the corpus of a store, and print the tables."""
    import torch

    from soilpipe.config import load_project
    from soilpipe.detect.weights import SHIPPED
    from soilpipe.encoder.weights import encoder_of_detector
    from soilpipe.pretrain.corpus import CorpusBudget, build_corpus
    from soilpipe.pretrain.memory_diverse import keep_diverse
    from soilpipe.pretrain.near_duplicates import near_duplicates
    from soilpipe.store import Store

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    encoder = encoder_of_detector(SHIPPED, device="cpu")
    embedding = np.zeros(2)
    embed = encoder.embed

    def watched(pixels: np.ndarray) -> np.ndarray:
        done, *seconds = timed(lambda: embed(pixels))
        embedding[:] += seconds
        return np.asarray(done)

    encoder.embed = watched  # type: ignore[method-assign]
    eps_list = [float(eps) for eps in arguments.eps.split(",")]
    before = peak_mb()

    def built(eps: float | None, name: str) -> Any:
        budget = CorpusBudget(
            crops=100_000, memory=0, bytes=4_000_000_000, side=arguments.side, eps=eps, oversample=1.0
        )
        return build_corpus(
            store,
            project,
            since=None,
            encoder=encoder,
            budget=budget,
            folder=folder / name,
            workers=arguments.threads,
        )

    shutil.rmtree(folder / "candidates", ignore_errors=True)  # a finished one would only be opened
    corpus, seconds, busy = timed(lambda: built(0.0, "candidates"))
    counts = corpus.manifest.counts
    taken = sum(counts.candidates.values())
    print(f"{counts.scans_read} scans, {counts.cells} places, {counts.changed} of them with change, {taken} candidates")
    print(
        f"  all: {seconds:.1f} s, {busy:.1f} s of CPU; of that embedding {embedding[0]:.1f} s and {embedding[1]:.1f} s"
    )
    million = 1e6 / counts.cells / 3600
    print(
        f"  per million places: {seconds * million:.1f} h, {busy * million:.1f} h of CPU ({arguments.threads} threads)"
    )
    print(f"  peak memory {peak_mb():.0f} MB, {before:.0f} MB before (libraries and encoder)")
    animals = true_animals(folder, sorted({entry.scan_id for entry in corpus.entries}))
    report_drops(corpus, animals, eps_list)
    rng = np.random.default_rng(0)
    vectors = unit(rng, arguments.large, arguments.dim)
    found, _, busy = timed(lambda: near_duplicates(vectors, 0.01))
    told = f"{arguments.large} vectors of {arguments.dim}"
    print(f"\nnear-duplicates of {told}: {busy:.1f} s of CPU, {found.dropped} dropped")
    capacity = arguments.large // 2
    _, _, busy = timed(lambda: keep_diverse(vectors, capacity))
    print(f"replay memory of {capacity} after that stream: {busy:.1f} s of CPU; peak memory {peak_mb():.0f} MB")
    chosen = built(None, "corpus")
    reasons = Counter(entry.reason for entry in chosen.entries)
    print(f"\nwith eps by the places ({chosen.manifest.eps:.4f}): {dict(reasons)} crops")
    if arguments.folder:
        print(f"pictures: crops.png and near_duplicates.png in {folder / 'corpus'}")


if __name__ == "__main__":
    main()
