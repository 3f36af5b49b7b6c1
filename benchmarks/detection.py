"""How fast animals are found, beside other ways of finding them: one image, the same threads, one run.

    python benchmarks/detection.py --data FOLDER [--size 10000] [--threads 2] [--runs 3] [--part 2048]

The image is a mosaic of Sticky-Pi's photographs (`FOLDER/stickypi/images`), taken in by the real ingest. Measured:

- the bare network: both its passes over as many pixels, from tensors in memory, in tiles without a halo;
- end to end: a stored scan to its detection file (opening, reading from Zarr, network, peaks, sizes, Parquet), alone,
  and with four earlier scans of the same ground (registering them, the difference);
- torchvision's FCOS and Faster R-CNN v2 with a ResNet 50, in our tiles, and SAHI with torchvision's MobileNet Faster
  R-CNN (`pip install soilpipe[bench]`), on a part of the mosaic of ``--part`` px a side: they take minutes for the
  whole. All with fresh weights; how many animals they claim says nothing, and the time hardly depends on it.

MPix/s are medians of the runs; the works take turns, so that a slow minute falls on all alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import torch
from prediction_speed import bare, timed

from soilpipe.analyses import analysis_of
from soilpipe.background import register_all
from soilpipe.config import Project, load_project
from soilpipe.detect.predict import CentrePointDetector
from soilpipe.detect.run import detect_scan, suitable_references
from soilpipe.detect.weights import SHIPPED, detector_of, load_detector
from soilpipe.ingest.arrivals import find_arrivals
from soilpipe.ingest.receipts import Receipt, list_receipts
from soilpipe.ingest.scan import ingest_file
from soilpipe.store import Store
from soilpipe.tiles import image_from_array, open_image

PROJECT = """
project: speed
store: ./store
timezone: UTC
settle: 0s
keep_originals: false
slots: irregular
dpi: 1200
sites: [{id: bench}]
scanners:
  - {id: alone, site: bench, inbox: ./alone}
  - {id: series, site: bench, inbox: ./series}
"""
END, SAHI_SLICE, OURS = datetime(2024, 3, 6, tzinfo=UTC), 512, 0.2
TARGET_BARE, TARGET_SAHI = 0.8, 30.0


def mosaic(images: Sequence[Path], side: int) -> np.ndarray:
    """(side, side, 3) uint8, RGB: the photographs side by side, again and again."""
    canvas = np.zeros((side, side, 3), np.uint8)
    y = index = 0
    while y < side:
        x, tallest = 0, 0
        while x < side:
            picture = cv2.imread(str(images[index % len(images)]))[..., ::-1][: side - y, : side - x]
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x, tallest, index = x + picture.shape[1], max(tallest, picture.shape[0]), index + 1
        y += tallest
    return canvas


def stored(picture: np.ndarray, folder: Path) -> tuple[Project, Store]:
    """The mosaic as one scan of a scanner, and as the last of five of another, each with a noise of its own."""
    (folder / "soilpipe.yaml").write_text(PROJECT)
    noise = np.random.default_rng(1)
    for scanner, count in (("alone", 1), ("series", 5)):
        (folder / scanner).mkdir()
        for k in range(count):
            when = END - timedelta(hours=(0, 6, 24, 48, 72)[k])
            grains = noise.integers(-3, 4, picture.shape, np.int8)
            noisy = cv2.add(picture, grains, dtype=cv2.CV_8U) if count > 1 else picture
            cv2.imwrite(str(folder / scanner / f"{scanner}_{when:%Y-%m-%d_%HH%MM}.tiff"), noisy[..., ::-1])
    project = load_project(folder / "soilpipe.yaml")
    store = Store(project.store)
    now = datetime.now(UTC) + timedelta(minutes=1)
    for scanner in project.scanners:
        for arrival in find_arrivals(project, scanner, store, now).ready:
            outcome = ingest_file(project, scanner, store, arrival, now)
            if outcome.kind != "accepted":
                raise SystemExit(f"{outcome.name}: {outcome.reason}")
    return project, store


def rivals(part: np.ndarray) -> dict[str, Callable[[], object]]:
    """Other detectors over a part of the mosaic; one that is not installed is told of and left out."""
    from soilpipe.detect.torchvision_family import FAMILIES, make_family
    from soilpipe.detect.torchvision_here import TorchvisionError, import_torchvision

    works: dict[str, Callable[[], object]] = {}
    image = image_from_array(part, 21.17)
    try:
        torchvision = import_torchvision()
    except TorchvisionError as error:
        print(f"left out: {error}", file=sys.stderr)
        return works
    for family in FAMILIES:
        card = {"name": family, "taxa": ["Invertebrata"], "um_per_px": 21.17, "threshold": OURS, "validation": "none"}
        detector = detector_of(make_family(family, 1).eval(), {**card, "heads": ["fine"]}, device="cpu")
        works[f"{family}, our tiles"] = lambda detector=detector: detector.detect(image, (), ())
    try:
        from sahi.models.torchvision import TorchVisionDetectionModel
        from sahi.predict import get_sliced_prediction
    except ImportError as error:
        print(f"SAHI is left out: {error}", file=sys.stderr)
        return works
    mobile = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    model = TorchVisionDetectionModel(model=mobile, confidence_threshold=OURS, device="cpu", load_at_init=True)
    slices = {"slice_height": SAHI_SLICE, "slice_width": SAHI_SLICE, "overlap_height_ratio": OURS}
    works[f"SAHI {SAHI_SLICE} px, MobileNet Faster R-CNN"] = lambda: get_sliced_prediction(
        part, model, **slices, overlap_width_ratio=OURS, verbose=0
    )
    return works


def ours(project: Project, store: Store, detector: CentrePointDetector, size: int) -> dict[str, Callable[[], object]]:
    """Our works on the whole mosaic, warmed up."""
    analysis = analysis_of(detector.info)
    scans: dict[str, Receipt] = {name: list_receipts(store, name)[-1] for name in ("alone", "series")}
    for receipt in scans.values():
        detect_scan(project, store, receipt, detector, analysis)
    scale = detector.info.um_per_px

    def registering() -> None:
        scan = open_image(store, scans["series"].scan_id, scale)
        references = suitable_references(store, project.scanner("series"), scans["series"], scale)
        if sum(found.ok for found in register_all(scan, references)) < 4:
            raise SystemExit("the references of the mosaic cannot be registered")

    return {
        "bare network": lambda: bare(detector, size),
        "end to end": lambda: detect_scan(project, store, scans["alone"], detector, analysis),
        "end to end, 4 references": lambda: detect_scan(project, store, scans["series"], detector, analysis),
        "registering 4 references": registering,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds stickypi/")
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--part", type=int, default=2048, help="side of what the rivals get, px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--detector", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    images = sorted((arguments.data / "stickypi" / "images").glob("*.jpg"))
    if not images:
        parser.error(f"there are no photographs in {arguments.data / 'stickypi' / 'images'}")
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    detector = load_detector(arguments.detector, device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        picture = mosaic(images, arguments.size)
        project, store = stored(picture, Path(scratch))
        works = ours(project, store, detector, arguments.size)
        pixels = dict.fromkeys(works, arguments.size**2 / 1e6)
        others = rivals(picture[: arguments.part, : arguments.part].copy())
        del picture
        pixels |= dict.fromkeys(others, arguments.part**2 / 1e6)
        works |= others
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for run in range(arguments.runs):
            for name, work in works.items():
                seconds[name].append(timed(work))
                told = f"{time.strftime('%H:%M:%S')} run {run + 1}, {name}: {seconds[name][-1]:.2f} s"
                print(told, file=sys.stderr, flush=True)
    rates = {name: pixels[name] / statistics.median(values) for name, values in seconds.items()}
    print(f"mosaic of {arguments.size} px a side, {arguments.threads} threads, medians of {arguments.runs} runs")
    for name, values in seconds.items():
        spread = f"{min(values):.2f} to {max(values):.2f} s"
        print(f"  {name:42s} {pixels[name]:7.1f} MPix {rates[name]:8.2f} MPix/s   ({spread})")
    judge("end to end over bare", rates["end to end"] / rates["bare network"], TARGET_BARE)
    cost = statistics.median(seconds["registering 4 references"]) / statistics.median(seconds["bare network"])
    print(f"registering 4 references takes {cost:.0%} of the bare network's time (at most 40 % wanted)")
    for name in rates:
        if name.startswith("SAHI"):
            judge("end to end over SAHI", rates["end to end"] / rates[name], TARGET_SAHI)


def judge(what: str, value: float, target: float) -> None:
    """Say whether a target was met."""
    print(f"{what}: {value:.2f}, {'met' if value >= target else f'MISSED by {1 - value / target:.0%}'} ({target:g})")


if __name__ == "__main__":
    main()
