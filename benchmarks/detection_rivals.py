"""Other detectors for benchmarks/detection.py, and how long the operators take that run as PyTorch code here.

Where torchvision has no compiled operators (`soilpipe.detect.torchvision_here`), suppression of doubles and RoI align
are slower than they need be. Their seconds are counted, so that rivals can also be judged as if both cost nothing.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soilpipe.detect import torchvision_here
from soilpipe.detect.torchvision_family import FAMILIES, make_family
from soilpipe.detect.torchvision_here import TorchvisionError, import_torchvision
from soilpipe.detect.weights import detector_of
from soilpipe.tiles import image_from_array

SAHI_SLICE, OVERLAP, THRESHOLD = 512, 0.2, 0.2


@dataclass
class StandIns:
    """Seconds spent in operators that stand in for compiled ones, since `restart`; nothing where those are there."""

    seconds: dict[str, float] = field(default_factory=dict)

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
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return counted


def rivals(part: np.ndarray, stand_ins: StandIns) -> dict[str, Callable[[], object]]:
    """Other detectors over a part of the mosaic, with fresh weights; one that is not installed is told of and left out.

    SAHI as its users call it: slices of 512 px with an overlap of a fifth, besides a look at the whole.
    """
    works: dict[str, Callable[[], object]] = {}
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
        detector = detector_of(network, {**card, "validation": "none", "heads": ["fine"]}, device="cpu")
        works[f"{family}, our tiles"] = lambda detector=detector: detector.detect(image, (), ())
    try:
        from sahi.models.torchvision import TorchVisionDetectionModel
        from sahi.predict import get_sliced_prediction
    except ImportError as error:
        print(f"SAHI is left out: {error}; pip install 'soilpipe[bench]'", file=sys.stderr)
        return works
    mobile = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    model = TorchVisionDetectionModel(model=mobile, confidence_threshold=THRESHOLD, device="cpu", load_at_init=True)
    slices = {"slice_height": SAHI_SLICE, "slice_width": SAHI_SLICE, "overlap_height_ratio": OVERLAP}
    works[f"SAHI {SAHI_SLICE} px, MobileNet Faster R-CNN"] = lambda: get_sliced_prediction(
        part, model, **slices, overlap_width_ratio=OVERLAP, verbose=0
    )
    return works
