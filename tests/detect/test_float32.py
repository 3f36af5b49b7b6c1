"""Float32 on every device: no reduced precision leaks in or out, and a GPU finds what a CPU finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pytest
import torch

from soilpipe.background import Registration, register_all
from soilpipe.detect import network
from soilpipe.detect.base import Detections
from soilpipe.detect.decode import overlaps
from soilpipe.detect.float32 import full_precision
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.predict import GPU_TOLERANCE, CentrePointDetector
from soilpipe.detect.second_stage.looking import SECOND
from soilpipe.detect.torchvision_detector import TorchvisionDetector
from soilpipe.detect.weights import SHIPPED, detector_of, load_detector
from soilpipe.simulate import SeasonSpec
from soilpipe.simulate.season import simulate_season
from soilpipe.tiles import ScanImage, image_from_array
from tests.detect.test_predict import CARD, lively

backends: Any = torch.backends


def precisions() -> list[str]:
    """What convolutions and products are computed in now: cuDNN, cuBLAS, oneDNN."""
    parts = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    return [part.fp32_precision for part in parts]


def ask_by_the_newer_name() -> None:
    backends.cuda.matmul.fp32_precision = "tf32"


def ask_for_everything() -> None:
    backends.fp32_precision = "tf32"


def ask_for_convolutions() -> None:
    backends.cudnn.conv.fp32_precision = "ieee"


ASKED: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "older": lambda: torch.set_float32_matmul_precision("medium"),
    "newer": ask_by_the_newer_name,
    "everything": ask_for_everything,
    "convolutions": ask_for_convolutions,
}


@pytest.fixture(params=ASKED)
def asked(request: pytest.FixtureRequest) -> Iterator[str]:
    """A program that has asked for some precision or other."""
    torch.set_float32_matmul_precision("highest")
    ASKED[request.param]()
    yield request.param
    backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


def test_no_other_setting_of_precision_leaks_in_or_out(asked: str) -> None:
    before = precisions()
    assert asked == "convolutions" or "tf32" in before, "what is asked for, or PyTorch's own choice for convolutions"
    with pytest.raises(KeyError), full_precision():
        assert precisions() == ["ieee"] * 4
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):  # as the encoder does
            assert precisions() == ["ieee"] * 4
        raise KeyError
    assert precisions() == before


def test_the_older_names_can_be_read_afterwards_as_before() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


class Listening:
    """Stands in for a network of torchvision's, and notes in which precision it is asked to answer."""

    taxa, family, first_label = 3, "listening", 0

    def __init__(self) -> None:
        self.heard: list[list[str]] = []

    def folded(self) -> Listening:
        return self

    def to(self, device: torch.device) -> Listening:
        return self

    def answer_from(self, threshold: float) -> None:
        pass

    def __call__(self, pixels: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        self.heard.append(precisions())
        nothing = torch.zeros(0)
        return [{"boxes": nothing.reshape(0, 4), "scores": nothing, "labels": nothing.long()}]


def test_every_detector_computes_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = image_from_array(np.full((64, 64, 3), 90, np.uint8), 21.17)
    theirs: Any = Listening()
    TorchvisionDetector(theirs, CARD, device="cpu").detect(scan, (), ())
    heard, finest = theirs.heard, CentrePointNetwork.finest

    def listened(self: CentrePointNetwork, pixels: torch.Tensor) -> torch.Tensor:
        heard.append(precisions())
        return finest(self, pixels)

    monkeypatch.setattr(CentrePointNetwork, "finest", listened)
    CentrePointDetector(lively("small"), CARD, device="cpu").detect(scan, (), ())
    assert len(heard) >= 2 and all(each == ["ieee"] * 4 for each in heard)


class Elsewhere:
    """Stands in for a folded network that is taken to a device there is none of here."""

    taxa = 3

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16

    def folded(self) -> Elsewhere:
        return self

    def in_bf16(self) -> Elsewhere:
        return Elsewhere(bf16=True)

    def to(self, device: torch.device) -> Elsewhere:
        return self


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_card_says_the_precision_and_never_the_device(device: str) -> None:
    untrained: Any = Elsewhere()
    for card, bf16 in (({}, False), ({"precision": "float32"}, False), ({"precision": "bf16"}, True)):
        detector: Any = CentrePointDetector(untrained, {**CARD, **card}, device=device)
        assert (detector.bf16, detector._folded.bf16) == (bf16, bf16)


Series = tuple[ScanImage, list[ScanImage], tuple[Registration, ...]]


@pytest.fixture(scope="module")
def series() -> list[Series]:
    """The last of four simulated scans with its references, of both generators."""
    made: list[Series] = []
    generators: tuple[Literal["peat", "loam"], ...] = ("peat", "loam")
    for seed, generator in enumerate(generators, 5):
        spec = SeasonSpec(
            scanner_id="bench",
            generator=generator,
            seed=seed,
            times=tuple(datetime(2024, 3, 6, tzinfo=UTC) + timedelta(hours=6 * slot) for slot in range(3)),
            height_px=320,
            width_px=448,
            dpi=600.0,
            animals_per_100cm2=500.0,
        )
        scans = [image_from_array(scan.image, 25_400 / 600) for scan in simulate_season(spec)]
        made.append((scans[-1], scans[:-1], tuple(register_all(scans[-1], scans[:-1]))))
    return made


STAGES = {"first": (0.05, 100), "both": (0.0, 30)}
"""Of which stages a detector consists, from which score its claims are compared, and how many there are at least."""


def shipped(stages: str, device: str) -> Any:
    """What ships, or its first stage alone."""
    detector: Any = load_detector(SHIPPED, device=device)
    if stages == "both":
        return detector
    detector.network.take_second(None)
    card = {name: told for name, told in detector.card.items() if name != SECOND}
    return detector_of(detector.network, card, device=device)


def assert_they_agree(one: Detections, other: Detections, enough: int) -> None:
    """The same animals of the same taxa, scores and sides within the tolerance."""
    assert len(one) == len(other) > enough
    nearest = overlaps(one.boxes, other.boxes).argmax(axis=1)
    assert len(set(nearest.tolist())) == len(one)
    there = other.select(nearest)
    sides = (one.boxes[:, 2:] - one.boxes[:, :2]).max(axis=1, keepdims=True)
    assert np.abs(one.scores - there.scores).max() <= GPU_TOLERANCE.score
    assert (np.abs(one.boxes - there.boxes) / sides).max() <= GPU_TOLERANCE.box
    np.testing.assert_array_equal(one.labels, there.labels)


def found(detector: Any, shown: Series, threshold: float, core: int | None = None) -> Detections:
    detector.core = core
    detections: Detections = detector.detect(*shown, threshold=threshold)
    return detections


@contextmanager
def other_kernels() -> Iterator[None]:
    """A CPU that adds up in another order: PyTorch's own kernels in place of oneDNN's."""
    with pytest.MonkeyPatch.context() as without, torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        without.setattr(network, "FUSED", None)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("stages", STAGES)
def test_the_tolerance_holds_for_another_order_of_adding_up_and_not_for_bf16(series: list[Series], stages: str) -> None:
    least, enough = STAGES[stages]
    detector = shipped(stages, "cpu")
    exact = [found(detector, shown, least) for shown in series]
    with other_kernels():
        others = [found(detector, shown, least) for shown in series]
    assert any(not np.array_equal(a.scores, b.scores) for a, b in zip(exact, others, strict=True))
    for one, other in zip(exact, others, strict=True):
        assert_they_agree(one, other, enough)
    detector._folded = detector._folded.in_bf16()
    with pytest.raises(AssertionError):
        assert_they_agree(exact[0], found(detector, series[0], least), enough)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: compares what it finds with what a CPU finds")
@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("core", [None, 128, 256])
def test_a_gpu_finds_what_a_cpu_finds_whatever_the_tiles(series: list[Series], core: int | None, stages: str) -> None:
    least, enough = STAGES[stages]
    here, there = shipped(stages, "cpu"), shipped(stages, "cuda")
    for shown in series:
        expected, answer = found(here, shown, least), found(there, shown, least, core)
        assert_they_agree(expected, answer, enough)
        for threshold in (0.3, 0.5, 0.7):
            assert (answer.scores >= threshold).sum() == (expected.scores >= threshold).sum()
