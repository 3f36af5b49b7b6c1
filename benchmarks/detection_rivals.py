"""Other detectors for benchmarks/detection.py, and how long the operators take that run as PyTorch code here.

Where torchvision has no compiled operators (`soilpipe.detect.torchvision_here`), suppression of doubles and RoI align
are slower than they need be. Their seconds are counted, so that rivals can also be judged as if both cost nothing.
"""

from __future__ import annotations

import copy
import importlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from cores import APART, Work, one_a_core

from soilpipe.detect import torchvision_here
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.torchvision_family import FAMILIES, make_family
from soilpipe.detect.torchvision_here import TorchvisionError, import_torchvision
from soilpipe.detect.weights import detector_of
from soilpipe.tiles import image_from_array

SAHI_SLICE, OVERLAP, THRESHOLD = 512, 0.2, 0.2


@dataclass
class StandIns:
    """Seconds spent in operators that stand in for compiled ones, since `restart`, those of all threads added up;
    nothing where those are there."""

    seconds: dict[str, float] = field(default_factory=dict)
    _adding: threading.Lock = field(default_factory=threading.Lock)

    def restart(self) -> None:
        self.seconds.clear()

    def watch(self) -> None:
        """Count from now on."""
        boxes = importlib.import_module("torchvision.ops.boxes")
        if boxes.nms is not torchvision_here.nms:
            return
        boxes.nms = self._counted("suppression of doubles", boxes.nms)  # type: ignore[attr-defined]
        detector = importlib.import_module("soilpipe.detect.torchvision_detector")
        detector.nms = self._counted("suppression of doubles", detector.nms)  # type: ignore[attr-defined]
        align = importlib.import_module("torchvision.ops.roi_align")
        align._roi_align = self._counted("RoI align", align._roi_align)  # type: ignore[attr-defined]

    def _counted(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                spent = time.perf_counter() - began
                with self._adding:
                    self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return counted


def rivals(part: np.ndarray, stand_ins: StandIns, cores: int) -> dict[str, Work]:
    """Other detectors over a part of the mosaic, with fresh weights; one that is not installed is told of and left out.

    Each with its threads in one window, and on several cores with `APART` after its name: `cores` detectors, each over
    the whole part in one thread, so `cores` times the pixels. SAHI as its users call it: slices of 512 px with an
    overlap of a fifth, besides a look at the whole.
    """
    works: dict[str, Work] = {}
    try:
        torchvision = import_torchvision()
    except TorchvisionError as error:
        print(f"left out: {error}", file=sys.stderr)
        return works
    stand_ins.watch()
    image = image_from_array(part, 21.17)
    for family in FAMILIES:
        card = {"name": family, "taxa": ["Invertebrata"], "um_per_px": 21.17, "threshold": THRESHOLD}
        network = make_family(family, 1).eval()
        card |= {"validation": "none", "heads": ["fine"]}
        detectors = [detector_of(network, card, device="cpu") for _ in range(cores)]
        looks = [partial(detector.detect, image, (), ()) for detector in detectors]
        works |= both_ways(f"{family}, our tiles", looks, precisely=True)
    try:
        from sahi.models.torchvision import TorchVisionDetectionModel
        from sahi.predict import get_sliced_prediction
    except ImportError as error:
        print(f"SAHI is left out: {error}; pip install 'soilpipe[bench]'", file=sys.stderr)
        return works
    mobile = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    slices = {"slice_height": SAHI_SLICE, "slice_width": SAHI_SLICE, "overlap_height_ratio": OVERLAP}
    looks = []
    for _ in range(cores):  # a model keeps what it found last, so it is for one thread
        model = TorchVisionDetectionModel(
            model=copy.deepcopy(mobile), confidence_threshold=THRESHOLD, device="cpu", load_at_init=True
        )
        looks.append(partial(get_sliced_prediction, part, model, **slices, overlap_width_ratio=OVERLAP, verbose=0))
    return works | both_ways(f"SAHI {SAHI_SLICE} px, MobileNet Faster R-CNN", looks)


def both_ways(name: str, looks: Sequence[Work], *, precisely: bool = False) -> dict[str, Work]:
    """One look with the threads in one window, and as many as there are at a time, in one thread each.

    precisely: each look sets the precision of float32 for the whole program and sets it back; side by side they need it
    to be the same before and after.
    """

    def apart() -> None:
        with full_precision() if precisely else nullcontext():
            one_a_core(looks, len(looks))

    return {name: looks[0], **({name + APART: apart} if len(looks) > 1 else {})}
