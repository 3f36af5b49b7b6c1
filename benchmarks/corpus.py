"""What choosing a corpus costs, and whether what it drops is rightly dropped.

    python benchmarks/corpus.py [--scanners 2] [--scans 12] [--size 4096] [--eps 0.003,0.01,0.03] [--large 20000]

Simulated scanners (generator peat, 1200 dpi) go through the real ingest and are detected; the corpus is built with the
trunk of the detector as the encoder. Printed: time by stage, and per million places looked at; memory; the share of
candidates that show an animal, by why they were taken; and for each eps the share dropped, and what is lost with it:
animals (each once, by its track in the simulation) that a candidate shows and no kept crop does, and dropped crops that
show an animal while the crop that stands for them shows none. Last, near-duplicates and the replay memory alone on
--large random vectors.

As set, it is about places enough for three clusters, and takes some ten minutes on two cores, most of them for the
store. One scan is gone through before the clock starts: what is paid once has no part in a million places.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from corpus_store import Animals, make_store, true_animals
from kept_settings import check_seasons

VISIBLE = 0.5
"""Share of an animal's box that must lie in a crop for the crop to show it."""

BEFORE = {"scanners": 2, "scans": 12, "size": 1536, "no_detections": False}
"""What the stores of earlier releases were made with, where nothing else was asked for."""
READING, DUPLICATES = "reading scans", "near-duplicates"  # stages, as `build_corpus` tells them


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


def now() -> np.ndarray:
    """(2,) float64: seconds by the wall and of the CPU, from some moment on."""
    return np.array([time.perf_counter(), time.process_time()])


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
    clusters = 0
    for eps in sorted([*eps_list, fitted]):
        found = near_duplicates(corpus.embeddings, eps)
        clusters = found.clusters
        dropped = np.flatnonzero(~found.keep)
        same = np.mean(corpus.place[dropped] == corpus.place[found.twin[dropped]]) if len(dropped) else 0.0
        kept = set().union(*(tracks[row] for row in np.flatnonzero(found.keep)))
        empty = sum(bool(tracks[row]) and not tracks[found.twin[row]] for row in dropped)
        print(
            f"{eps:7.4f} {found.dropped / len(found.keep):8.1%} {same:25.1%} {len(every - kept):6d} of {len(every):3d} "
            f"{empty:7d} of {appearances:4d}" + ("   <- by the places" if eps == fitted else "")
        )
    alone = "" if clusters > 1 else ": nothing for k-means to do. Take more scans, or larger ones"
    print(f"{len(tracks)} candidates in {clusters} cluster{'s' * (clusters > 1)}{alone}")


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments, or those of the words given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scanners", type=int, default=2)
    parser.add_argument("--scans", type=int, default=12, help="of each scanner")
    parser.add_argument("--size", type=int, default=4096, help="height and width of a scan, px at 1200 dpi")
    parser.add_argument("--side", type=int, default=256, help="of a crop, px")
    parser.add_argument("--eps", default="0.001,0.003,0.01,0.03,0.1")
    parser.add_argument("--no-detections", action="store_true", help="as before the first detection")
    parser.add_argument("--large", type=int, default=20_000, help="vectors for the last part")
    parser.add_argument("--dim", type=int, default=368, help="of those vectors")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps the store and the corpus there, and uses a store that is")
    return parser.parse_args(words)


def main() -> None:
    arguments = arguments_of()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        check_seasons(folder / "inbox", {name: getattr(arguments, name) for name in BEFORE}, BEFORE)
        if not (folder / "soilpipe.yaml").is_file():
            detect = not arguments.no_detections
            told = (folder, arguments.scanners, arguments.scans, arguments.size, detect, arguments.threads)
            process = multiprocessing.get_context("spawn").Process(target=make_store, args=told)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit("the store could not be made")
        run(folder, arguments)


def cells_of_a_scan(arguments: argparse.Namespace, um_per_px: float) -> int:
    """How many crops lie side by side on a scan, at the encoder's scale; one at least."""
    return max(1, int(arguments.size * 25_400 / 1200 / um_per_px) // arguments.side) ** 2


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
        began = now()
        done = embed(pixels)
        embedding[:] += now() - began
        return np.asarray(done)

    encoder.embed = watched  # type: ignore[method-assign]
    eps_list = [float(eps) for eps in arguments.eps.split(",")]
    before = peak_mb()
    places = arguments.scanners * arguments.scans * cells_of_a_scan(arguments, encoder.info.um_per_px)
    marks: dict[str, np.ndarray] = {}

    def built(eps: float | None, name: str, scans: int = CorpusBudget.scans) -> Any:
        shutil.rmtree(folder / name, ignore_errors=True)  # a finished one would only be opened
        budget = CorpusBudget(
            crops=4 * places,  # so many that every place of a scan is a candidate, with change or without
            memory=0,
            bytes=4_000_000_000,
            scans=scans,
            side=arguments.side,
            eps=eps,
            oversample=1.0,
        )
        return build_corpus(
            store,
            project,
            since=None,
            encoder=encoder,
            budget=budget,
            folder=folder / name,
            progress=lambda stage, done, of: marks.update({stage: now()}),
            workers=arguments.threads,
        )

    built(0.0, "warm-up", scans=1)
    shutil.rmtree(folder / "warm-up")
    embedding[:] = 0
    began = now()
    corpus = built(0.0, "candidates")
    ended = now()
    counts = corpus.manifest.counts
    taken = sum(counts.candidates.values())
    print(f"{counts.scans_read} scans, {counts.cells} places, {counts.changed} of them with change, {taken} candidates")
    stages = {
        "all": ended - began,
        "reading, registering, crops": marks[READING] - began - embedding,
        "embedding": embedding,
        "near-duplicates": marks[DUPLICATES] - marks[READING],
        "pictures, pixels, manifest": ended - marks[DUPLICATES],
    }
    print(f"\n{'stage':28s} {'s':>8s} {'s of CPU':>9s} {'h a million places':>19s} {'h of CPU':>9s}")
    for name, (seconds, busy) in stages.items():
        million = 1e6 / counts.cells / 3600
        print(f"{name:28s} {seconds:8.1f} {busy:9.1f} {seconds * million:19.1f} {busy * million:9.1f}")
    print(f"{arguments.threads} threads; peak memory {peak_mb():.0f} MB, {before:.0f} MB before (libraries, encoder)")
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
