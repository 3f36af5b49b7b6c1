"""How fast animals are found on a GPU, in what memory, and whether it finds what a CPU finds: for `detection.py`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from detection_judge import TARGET_BARE, judge, variant
from prediction_speed import bare, timed

from soilpipe.analyses import analysis_of
from soilpipe.config import Project
from soilpipe.detect.predict import GPU_TOLERANCE, CentrePointDetector
from soilpipe.detect.run import detect_scan
from soilpipe.detect.tiled import GPU_BATCH, GPU_CORE
from soilpipe.ingest.receipts import list_receipts
from soilpipe.store import Store
from soilpipe.tiles import image_from_array

A4_MPIX = 139.2  # of a scan at 1200 dpi
TARGET_SCAN_S = 2.0  # for one, from Zarr to the detection file, on an H200
TARGET_MEMORY = 1.1  # of what a scan of a quarter of the pixels takes
PRECISIONS = {"": "float32", ", bf16": "bf16"}


def on_gpu(
    project: Project,
    store: Store,
    picture: np.ndarray,
    detector: CentrePointDetector,
    *,
    runs: int,
    part: int,
    device: str = "cuda",
) -> None:
    """Measure on the stored mosaic, (side, side, 3) uint8 in memory as `picture`, and print what was met and missed.

    A CPU's answer is compared on the `part` x `part` px of its corner.
    """
    side = len(picture)
    megapixels = side**2 / 1e6
    for added, precision in PRECISIONS.items():
        used = variant(detector, device, precision=precision)
        works = _works(project, store, used, side)
        for work in works.values():
            work()
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(runs):
            for name, work in works.items():
                seconds[name].append(timed(work))
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        for name, values in seconds.items():
            spread = f"{min(values):.2f} to {max(values):.2f} s"
            print(f"  {name + added:42s} {megapixels:7.1f} MPix {megapixels / middle[name]:8.1f} MPix/s   ({spread})")
        judge(f"end to end over bare{added}", middle["bare network"] / middle["end to end"], TARGET_BARE)
        for name in ("end to end", "end to end, 4 references"):
            whole = middle[name] * A4_MPIX / megapixels
            judge(f"seconds for a 1200 dpi scan in proportion, {name}{added}", whole, TARGET_SCAN_S, most=True)
        corner = picture[: side // 2, : side // 2]
        small, large = peak_bytes(partial(_found, used, corner)), peak_bytes(partial(_found, used, picture))
        told = f"{small / 1e9:.2f} GB for {side // 2} px a side, {large / 1e9:.2f} GB for {side}"
        print(f"peak GPU memory{added}: {told}")
        judge(f"peak GPU memory, four times the pixels over once{added}", large / small, TARGET_MEMORY, most=True)
    compare(detector, picture[:part, :part], device)


def _works(project: Project, store: Store, used: CentrePointDetector, side: int) -> dict[str, Callable[[], object]]:
    analysis = analysis_of(used.info)
    scans = {name: list_receipts(store, name)[-1] for name in ("alone", "series")}
    return {
        "bare network": lambda: bare(used, side, GPU_CORE, GPU_BATCH),
        "end to end": lambda: detect_scan(project, store, scans["alone"], used, analysis),
        "end to end, 4 references": lambda: detect_scan(project, store, scans["series"], used, analysis),
    }


def compare(detector: CentrePointDetector, picture: np.ndarray, device: str) -> None:
    """Print whether a device finds as many animals as a CPU, both in float32, and how far their scores lie apart."""
    here, there = (np.sort(_found(variant(detector, each, precision="float32"), picture)) for each in ("cpu", device))
    same = len(here) == len(there)
    print(f"animals found on {device}: {len(there)}, on a CPU: {len(here)}: {'met' if same else 'MISSED'}")
    if same and len(here):
        judge(
            "largest difference of a score, of 0.0001",
            float(np.abs(here - there).max()) / GPU_TOLERANCE.score,
            1.0,
            most=True,
        )


def _found(detector: CentrePointDetector, picture: np.ndarray) -> np.ndarray:
    """(n,) float32 scores of what is found in a picture."""
    return detector.detect(image_from_array(picture, detector.info.um_per_px), (), ()).scores


def peak_bytes(work: Callable[[], object]) -> int:
    """The most GPU memory that tensors took at once while it worked."""
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated()
