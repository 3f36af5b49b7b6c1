"""torchvision without its compiled operators: what stands in for them is exact, and a whole one is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.detect import torchvision_here
from soilpipe.detect.torchvision_here import import_torchvision, nms

ROOT = Path(__file__).resolve().parents[2]


def naive(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> list[int]:
    """As the definition says it, one box after the other."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda index: (-scores[index], index)):
        a = boxes[row]
        for other in kept:
            b = boxes[other]
            width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
            height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
            shared = width * height
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
            if union > 0 and float(shared / union) > iou_threshold:
                break
        else:
            kept.append(row)
    return kept


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    count=st.integers(0, 60),
    grid=st.sampled_from([6, 20, 1000]),
    levels=st.sampled_from([2, 1000]),
    threshold=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]),
    block=st.sampled_from([1, 4, 256]),
    seed=st.integers(0, 999),
)
def test_suppression_is_that_of_the_definition_with_ties_by_row(
    count: int, grid: int, levels: int, threshold: float, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, grid, (count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)  # some without area
    scores = (rng.integers(0, levels, count) / levels).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torchvision_here, "NMS_BLOCK", block)
        kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.dtype == torch.int64 and kept.tolist() == naive(boxes, scores, threshold)


def test_suppression_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"not \(n, 4\) and \(n,\)"):
        nms(torch.zeros(3, 4), torch.zeros(2), 0.5)


def test_torchvision_can_be_used_and_batched_suppression_keeps_classes_apart() -> None:
    torchvision = import_torchvision()
    assert import_torchvision() is torchvision and sys.modules["torchvision"] is torchvision
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 40, (1500, 2))  # more than torchvision offsets at once: both of its ways
    boxes = np.concatenate([corners, corners + rng.integers(1, 20, (1500, 2))], axis=1).astype(np.float32)
    scores, labels = rng.random(1500).astype(np.float32), rng.integers(0, 3, 1500)
    for count in (200, 1500):
        kept = torchvision.ops.batched_nms(
            *(torch.from_numpy(part[:count]) for part in (boxes, scores, labels)), iou_threshold=0.4
        )
        rows = [np.flatnonzero(labels[:count] == label) for label in range(3)]
        expected = np.concatenate([row[naive(boxes[row], scores[row], 0.4)] for row in rows])
        assert kept.tolist() == expected[np.argsort(-scores[expected], kind="stable")].tolist()
    first = torch.ops.torchvision.nms(torch.from_numpy(boxes[:50]), torch.from_numpy(scores[:50]), 0.4)
    assert first.tolist() == naive(boxes[:50], scores[:50], 0.4)


def test_regions_are_pooled_as_bilinear_means_whatever_their_number() -> None:
    """A plane is reproduced by bilinear interpolation, so the mean of a bin is the plane at the bin's middle."""
    torchvision = import_torchvision()
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    plane = torch.stack([3 * y + 2 * x, y - x])[None].requires_grad_()
    starts = torch.rand(150, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([20.0, 10.0]) + 1
    regions = torch.cat([torch.zeros(150, 1), starts, starts + torch.tensor([7.0, 5.0])], dim=1)
    pooled = torchvision.ops.roi_align(plane, regions, (2, 2), sampling_ratio=2, aligned=True)
    bins = torch.tensor([0.25, 0.75])
    middle_y = (starts[:, 1, None] + 5 * bins - 0.5)[:, :, None].expand(150, 2, 2)
    middle_x = (starts[:, 0, None] + 7 * bins - 0.5)[:, None, :].expand(150, 2, 2)
    expected = torch.stack([3 * middle_y + 2 * middle_x, middle_y - middle_x], dim=1)
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-4)
    (gradient,) = torch.autograd.grad(pooled.sum(), plane)
    assert float(gradient.sum()) == pytest.approx(150 * 2 * 4, rel=1e-4)
    lower = torchvision_here.roi_align(plane.bfloat16(), regions, 1.0, 2, 2, 2, True)
    assert lower.dtype == torch.bfloat16  # places stay exact, values are as exact as bf16 is
    torch.testing.assert_close(lower.float(), expected, rtol=2e-2, atol=0.3)
    assert torchvision.ops.roi_align(plane, regions[:0], (2, 2), sampling_ratio=2).shape == (0, 2, 2, 2)


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(path), str(ROOT)] if path else [str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_lightly_can_be_imported_afterwards_and_one_warning_at_most_is_given() -> None:
    done = run(
        """
        import logging
        logging.basicConfig(format="LOG %(message)s")
        from soilpipe.detect.torchvision_here import import_torchvision
        import_torchvision(); import_torchvision()
        import lightly, torch
        from lightly.models.modules import heads
        from lightly.loss import NTXentLoss
        from lightly.transforms import SimCLRTransform
        from PIL import Image
        views = SimCLRTransform(input_size=32)(Image.new("RGB", (40, 40)))
        import torchvision
        features = torchvision.models.resnet18(num_classes=8)(torch.stack(views))
        print(float(NTXentLoss()(features[:1].repeat(2, 1), features[1:].repeat(2, 1))) >= 0)
        """
    )
    assert done.stdout.strip() == "True", done.stderr
    assert done.stderr.count("LOG") <= 1


def fake_torchvision(folder: Path, text: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(text)
    return folder


TRY = """
    import logging, torch
    logging.basicConfig(level=0)
    from soilpipe.detect import torchvision_here
    try:
        print(torchvision_here.import_torchvision().__file__)
    except torchvision_here.TorchvisionError as error:
        print("TOLD", error)
    print(torchvision_here._library, hasattr(torch.ops.torchvision, "nms"))
"""


def test_a_whole_torchvision_is_not_touched(tmp_path: Path) -> None:
    done = run(TRY, fake_torchvision(tmp_path, ""))
    assert done.stdout.splitlines() == [str(tmp_path / "torchvision" / "__init__.py"), "None False"], done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("raise RuntimeError('CUDA of another kind')", "does not fit torch", marks=pytest.mark.slow),
        ("import nowhere_to_be_found", "is needed for this and can't be imported"),
        ("raise ImportError('undefined symbol')", "does not fit torch"),
    ],
)
def test_what_else_is_wrong_with_it_is_told(tmp_path: Path, text: str, told: str) -> None:
    done = run(TRY, fake_torchvision(tmp_path, text))
    assert done.stdout.startswith("TOLD") and told in done.stdout and "None False" in done.stdout, done.stderr
