"""How fast animals are found, beside other ways of finding them: one image, the same threads, one run.

    python benchmarks/detection.py --data FOLDER [--size 10000] [--threads 2] [--runs 3] [--part 2048] [--images 200]
        [--device cuda] [--json FILE]

The image is a mosaic of Sticky-Pi's photographs (`FOLDER/stickypi/images`), taken in by the real ingest. Measured:

- the bare network: both its passes over as many pixels, from tensors in memory, in windows of some 1024 px, no halo;
- end to end: a stored scan to its detection file (opening, reading from Zarr, network, peaks, sizes, Parquet), alone;
  with four earlier scans of the same ground (registering them, the difference); and at half scale, as a detector does
  that was trained there: it reads the next pyramid level. All in float32 and, where it is native, in bf16;
- torchvision's FCOS and Faster R-CNN v2 with a ResNet 50, in our tiles, and SAHI with torchvision's MobileNet Faster
  R-CNN (`pip install soilpipe[bench]`), on a part of the mosaic of ``--part`` px a side: they take minutes for the
  whole. All with fresh weights; how many animals they claim says nothing, and the time hardly depends on it. What of
  their time goes into operators that this torchvision lacks in compiled form is told, and they are judged without it
  as well;
- the bare network and the rivals in two ways, with threads that share a window and with a window (an image) a core in
  one thread each, as ours goes; what is faster counts, and the table and `--json` tell which it was;
- what the difference costs: registering four references and reading all that the network looks at with them, less
  reading it without them, over the bare network;
- ``--images`` stored photographs one after the other (those there are, again and again) at half scale: detected, as
  many animals in each as are labelled there on average, measured, written, and cropped for the classifier.

With ``--device cuda`` the bare network and end to end on a GPU, in float32 and bf16, the seconds of a 1200 dpi scan,
the peak of the GPU's memory for two sizes of scan, and its counts beside a CPU's on the part of ``--part`` px.

MPix/s are medians of the runs, in pixels at full resolution; the works take turns, so that a slow minute falls on all
alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from cores import APART, Work, faster, way_told
from detection_gpu import on_gpu
from detection_judge import TARGET_BARE, judge, variant
from detection_rivals import StandIns, rivals
from detection_store import mosaic, stored_mosaic, stored_photographs
from prediction_speed import FULL_SCALE, bare_works, read_all, timed

from soilpipe.analyses import analysis_of
from soilpipe.background import Registration, register_all
from soilpipe.config import Project
from soilpipe.detect.learning import bf16_pays
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.run import detect_scan, suitable_references
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.detections import read_detection_file
from soilpipe.encoder.crops import crops_of
from soilpipe.ingest.receipts import Receipt, list_receipts
from soilpipe.store import Store
from soilpipe.tiles import ScanImage, open_image

Works = dict[str, Work]
TARGET_DIFFERENCE, TARGET_IMAGES_S = 0.4, 60.0
TARGET_SAHI = {"": 30.0, ", bf16": 60.0}
LABELLED_PER_IMAGE = 47  # animals on an annotated photograph of Sticky-Pi: 655 on 14


def precisions() -> dict[str, str]:
    """What is added to a work's name, and the precision on the card; bf16 only where it is native."""
    native = {", bf16": "bf16"} if bf16_pays(torch.device("cpu")) else {}
    return {"": "float32", **native}


def ours(project: Project, store: Store, detector: CentrePointDetector, size: int) -> Works:
    """Our works on the whole mosaic, warmed up."""
    scans = {name: list_receipts(store, name)[-1] for name in ("alone", "series")}
    works: Works = {}

    def whole(name: str, scan: str, used: CentrePointDetector) -> None:
        analysis = analysis_of(used.info)
        works[name] = lambda: detect_scan(project, store, scans[scan], used, analysis)
        works[name]()

    for added, precision in precisions().items():
        full = variant(detector, precision=precision)
        half = variant(detector, precision=precision, um_per_px=2 * detector.info.um_per_px)
        works |= bare_works(full, size, f"bare network{added}")
        whole(f"end to end{added}", "alone", full)
        whole(f"end to end, half scale{added}", "alone", half)
        whole(f"end to end, 4 references{added}", "series", full)
    return works | difference(project, store, scans["series"], detector)


def difference(project: Project, store: Store, receipt: Receipt, detector: CentrePointDetector) -> Works:
    """What tells the cost of a difference: registering, and reading with and without the references' median."""
    scale = detector.info.um_per_px

    def registered() -> tuple[ScanImage, list[ScanImage], list[Registration]]:
        scan = open_image(store, receipt.scan_id, scale)
        references = suitable_references(store, project.scanner(receipt.scanner_id), receipt, scale)
        registrations = register_all(scan, references)
        if sum(found.ok for found in registrations) < 4:
            raise SystemExit("the references of the mosaic cannot be registered")
        return scan, references, registrations

    return {
        "registering 4 references": registered,
        "registering and reading, 4 references": lambda: read_all(*registered(), detector.scales(scale).values()),
        "reading, no references": lambda: read_all(
            open_image(store, receipt.scan_id, scale), (), (), detector.scales(scale).values()
        ),
    }


def photographs(project: Project, store: Store, detector: CentrePointDetector, count: int) -> None:
    """Detect and crop `count` photographs at half scale, and say how long it took."""
    receipts = list_receipts(store, "photos")
    scale = 2 * detector.info.um_per_px
    plain = {"um_per_px": scale, "difference": False, "thresholds": {}}
    some = [open_image(store, receipt.scan_id, scale) for receipt in receipts[:4]]
    looking = variant(detector, **plain)
    scores = np.sort(np.concatenate([looking.detect(scan, (), (), threshold=0.01).scores for scan in some]))
    threshold = float(scores[-min(LABELLED_PER_IMAGE * len(some), len(scores))])
    for added, precision in precisions().items():
        used = variant(detector, **plain, threshold=threshold, precision=precision)
        analysis = analysis_of(used.info)
        pixels = found = 0
        began = time.perf_counter()
        for receipt in itertools.islice(itertools.cycle(receipts), count):
            detect_scan(project, store, receipt, used, analysis)
            table = read_detection_file(store, analysis.id, receipt.scan_id).table
            boxes = np.stack([table[side].to_numpy() for side in ("x_min", "y_min", "x_max", "y_max")], axis=1)
            boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
            scan = open_image(store, receipt.scan_id, scale)
            found += len(crops_of(scan, (), (), boxes, um_per_px=scale)[0]) if len(boxes) else 0
            pixels += scan.height * scan.width
        seconds = time.perf_counter() - began
        print(f"{count} images ({pixels / 1e6:.0f} MPix), {found} animals cropped, half scale{added}: {seconds:.1f} s")
        judge(f"seconds for 200 such images, half scale{added}", seconds * 200 / count, TARGET_IMAGES_S, most=True)


def table(
    pixels: Mapping[str, float], seconds: Mapping[str, list[float]], rivals: Sequence[str], cores: int
) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, float]]:
    """A row for each work; the rate of each in its faster way; that of rivals if operators that stand in cost nothing.

    pixels: MPix of a work. seconds: of its runs, and under its name and `*` what of them such operators took in all
    threads. Rates in MPix/s, from medians.
    """
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: pixels[name] / middle[name] for name in pixels}
    stand_ins = {name: middle[f"{name}*"] / (cores if name.endswith(APART) else 1) for name in pixels}
    without = {name: pixels[name] / (middle[name] - stand_ins[name]) for name in rivals}
    taken = faster(rates)
    rows = [
        {
            "name": name,
            "megapixels": pixels[name],
            "seconds": seconds[name],
            "rate": rates[name],
            "stand_ins": stand_ins[name] / middle[name],
            **({"way": way_told(name), "faster": name in taken.values()} if f"{_plain(name)}{APART}" in rates else {}),
        }
        for name in pixels
    ]
    best = {name: rates[way] for name, way in taken.items()}
    return rows, best, {name: without[way] for name, way in faster(without).items()}


def _plain(name: str) -> str:
    return name.removesuffix(APART)


def line(row: Mapping[str, Any]) -> str:
    """A row in words."""
    spread = f"{min(row['seconds']):.2f} to {max(row['seconds']):.2f} s"
    note = f"; {row['stand_ins']:.0%} in operators that are not compiled here" if row["stand_ins"] else ""
    way = f"; {row['way']}{', the faster: it counts' if row['faster'] else ''}" if "way" in row else ""
    return f"  {row['name']:50s} {row['megapixels']:7.1f} MPix {row['rate']:8.2f} MPix/s   ({spread}{note}{way})"


def judge_all(rates: dict[str, float], without: dict[str, float]) -> None:
    """Every target on the mosaic. rates: MPix/s; without: those of rivals if operators that stand in cost nothing."""
    for added in precisions():
        whole, network = rates[f"end to end{added}"], rates[f"bare network{added}"]
        judge(f"end to end over bare{added}", whole / network, TARGET_BARE)
        with_references = rates[f"end to end, 4 references{added}"]
        print(f"end to end with 4 references over bare{added}: {with_references / network:.2f}")
        for name in without:
            if name.startswith("SAHI"):
                judge(f"end to end{added} over SAHI", whole / rates[name], TARGET_SAHI[added])
                judge("  had it compiled operators that cost nothing", whole / without[name], TARGET_SAHI[added])
            else:
                print(f"end to end{added} over {name}: {whole / rates[name]:.1f} ({whole / without[name]:.1f})")
        share = network / rates["registering and reading, 4 references"] - network / rates["reading, no references"]
        judge(f"registering and median of 4 references over bare{added}", share, TARGET_DIFFERENCE, most=True)


def measured(works: Works, names: Sequence[str], runs: int, seconds: dict[str, list[float]], told: StandIns) -> None:
    """Add the seconds of `runs` rounds, and what of them operators took that stand in, under the name and `*`."""
    for run in range(runs):
        for name in names:
            told.restart()
            seconds.setdefault(name, []).append(timed(works[name]))
            seconds.setdefault(f"{name}*", []).append(sum(told.seconds.values()))
            parts = "".join(f", of it {what} {spent:.2f}" for what, spent in told.seconds.items())
            line = f"{time.strftime('%H:%M:%S')} run {run + 1}, {name}: {seconds[name][-1]:.2f} s{parts}"
            print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds stickypi/")
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--part", type=int, default=2048, help="side of what the rivals get, px; 0: no rivals")
    parser.add_argument("--images", type=int, default=200, help="photographs to detect and crop; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--detector", type=Path, default=SHIPPED)
    parser.add_argument("--json", type=Path, default=None, help="write the table of a CPU here as well")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    images = sorted((arguments.data / "stickypi" / "images").glob("*.jpg"))
    if not images:
        parser.error(f"there are no photographs in {arguments.data / 'stickypi' / 'images'}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here")
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    detector = variant(
        load_detector(arguments.detector, device="cpu"), um_per_px=FULL_SCALE
    )  # its own may be a coarser one
    if not isinstance(detector, CentrePointDetector):
        parser.error(f"{arguments.detector}: not a centre-point detector")
    told, seconds = StandIns(), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as scratch:
        picture = mosaic(images, arguments.size)
        stored = stored_mosaic(picture, Path(scratch) / "mosaic")
        if arguments.device == "cuda":
            on_gpu(*stored, picture, detector, runs=arguments.runs, part=arguments.part or 2048)
            return
        part = picture[: arguments.part, : arguments.part].copy()
        works = ours(*stored, detector, arguments.size)
        pixels = dict.fromkeys(works, arguments.size**2 / 1e6)
        others = rivals(part, told, arguments.threads) if arguments.part else {}
        del picture
        one = arguments.part**2 / 1e6
        pixels |= {name: one * (arguments.threads if name.endswith(APART) else 1) for name in others}
        works |= others
        measured(works, list(works), arguments.runs, seconds, told)
        rows, rates, without = table(pixels, seconds, list(others), arguments.threads)
        print(f"mosaic of {arguments.size} px a side, {arguments.threads} threads, medians of {arguments.runs} runs")
        print("\n".join(line(row) for row in rows))
        if arguments.json:
            told_of = {"size": arguments.size, "threads": arguments.threads, "runs": arguments.runs}
            arguments.json.write_text(json.dumps({**told_of, "works": rows}, indent=1) + "\n")
        judge_all(rates, without)
        if arguments.images:
            photographs(*stored_photographs(images, Path(scratch) / "photos"), detector, arguments.images)


if __name__ == "__main__":
    main()
