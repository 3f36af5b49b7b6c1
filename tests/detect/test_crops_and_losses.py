"""What the network is trained on: crops, where their animals are, and what it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.detect import crops, losses
from soilpipe.detect.coco import read_labels
from soilpipe.detect.crops import Crops, CropSampler
from soilpipe.detect.dataset import Sample, build_samples
from soilpipe.detect.network import Head
from tests.detect.made_samples import sample_of

CPU = torch.device("cpu")
ANY = losses.SizeRange(0.0, float("inf"), 1.3)


@pytest.fixture
def samples(labelled: Callable[..., Path]) -> list[Sample]:
    path = labelled(images=2, size=(300, 340), animals=12)
    return build_samples(read_labels(path, path.parent), 21.17)


def sampler(samples: list[Sample], seed: int = 0, head: Head = "fine") -> CropSampler:
    rng = np.random.default_rng(seed)
    return CropSampler(samples, head, crop=128, length_range=(0, 1e9), centred=0.5, device=CPU, rng=rng)


def test_the_boxes_of_a_crop_lie_on_its_animals_however_it_was_turned(samples: list[Sample]) -> None:
    drawn = sampler(samples).draw(24)
    assert drawn.pixels.shape == (24, 7, 128, 128) and drawn.pixels.dtype == torch.uint8
    checked = 0
    for index, box, ignored in zip(drawn.crop, drawn.boxes, drawn.ignored, strict=True):
        x0, y0, x1, y1 = np.round(box).astype(int)
        if ignored or min(x1 - x0, y1 - y0) < 6 or box.min() < 1 or box.max() > 127:
            continue
        red = drawn.pixels[index, 0].numpy().astype(int)
        inside = red[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
        rim = np.concatenate([red[max(y0 - 3, 0), x0:x1], red[min(y1 + 2, 127), x0:x1]])
        checked += int(np.median(inside) > np.median(rim) + 40)
    assert checked > 20


@pytest.mark.parametrize("turn", range(8))
def test_a_turn_without_scaling_copies_the_pixels_that_interpolation_would_give(turn: int) -> None:
    window = torch.arange(7 * 64, dtype=torch.float32).view(7, 8, 8)
    matrix = torch.zeros(1, 2, 3)
    matrix[0, :, :2] = torch.from_numpy(crops._TURNS[turn])
    grid = torch.nn.functional.affine_grid(matrix, [1, 7, 8, 8], align_corners=False)
    expected = torch.nn.functional.grid_sample(window[None], grid, align_corners=False)[0]
    torch.testing.assert_close(crops._turned(window, crops._TURNS[turn]), expected, atol=1e-3, rtol=0)


def test_crops_are_counted_by_what_they_are_of() -> None:
    """Real and simulated images told apart by how light they are, and of other sizes: it is no matter of images."""
    dark, light = (np.full((side, side, 3), value, np.uint8) for side, value in ((240, 40), (130, 200)))
    simulated = sample_of(light, light, [])
    simulated = replace(simulated, image=replace(simulated.image, simulated=True))
    tally: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {"crop": 64, "length_range": (0, 1e9), "centred": 0.5, "device": CPU, "light": 0}
    drawer = CropSampler([sample_of(dark, dark, []), simulated], "fine", rng=rng, tally=tally, **given)
    shown = torch.cat([drawer.draw(10).pixels[:, 0].amax(dim=(1, 2)) for _ in range(10)])
    assert tally == {crops.SIMULATED: int((shown > 120).sum()), crops.REAL: int((shown <= 120).sum())}
    assert 60 < tally[crops.REAL] < 95, "by area"


def test_the_same_seed_gives_the_same_crops(samples: list[Sample]) -> None:
    a, b, other = sampler(samples, 1).draw(6), sampler(samples, 1).draw(6), sampler(samples, 2).draw(6)
    assert torch.equal(a.pixels, b.pixels) and np.array_equal(a.boxes, b.boxes)
    assert not torch.equal(a.pixels, other.pixels)


def test_without_references_the_difference_says_nothing_in_every_crop(samples: list[Sample]) -> None:
    pixels = sampler(samples).draw(12).pixels
    assert (pixels[:, 3:6] == 128).all() and (pixels[:, 6] == 0).all()


def test_some_crops_lose_their_difference_and_the_rest_keep_it(samples: list[Sample]) -> None:
    for sample in samples:
        sample.passes["fine"].pixels[3:6] = 160
        sample.passes["fine"].pixels[6] = 255
    pixels = sampler(samples).draw(80).pixels
    kept = (pixels[:, 6] == 255).float().mean(dim=(1, 2)) > 0.5
    assert 55 < int(kept.sum()) < 78
    lost = (pixels[:, 6] == 0).all(dim=2).all(dim=1)
    assert int(lost.sum()) >= 2 and (pixels[lost][:, 3:6] == 128).all()


def left_and_right(references: int) -> float:
    """How often crops are centred on the animal on the left, per one on the other; only the other was not there when
    the background was seen."""
    picture, background = np.full((200, 900, 3), 90, np.uint8), np.full((200, 900, 3), 90, np.uint8)
    picture[90:110, 100:130] = background[90:110, 100:130] = 200
    picture[90:110, 770:800] = 200
    sample = sample_of(picture, background, [[100, 90, 130, 110], [770, 90, 800, 110]], references=references)
    rng = np.random.default_rng(0)
    drawer = CropSampler([sample], "fine", crop=64, length_range=(0, 1e9), centred=1.0, device=CPU, rng=rng)
    places = [drawer._place().x for _ in range(2000)]
    return sum(x < 450 for x in places) / sum(x > 450 for x in places)


def test_animals_that_hardly_show_in_the_difference_are_learned_more_often() -> None:
    assert left_and_right(references=4) == pytest.approx(crops.FAINT_MORE, rel=0.15)
    assert left_and_right(references=0) == pytest.approx(1, rel=0.15)


def test_what_shows_in_the_difference_is_told_by_each_box(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    pixels = torch.from_numpy(rng.integers(118, 139, (7, 300, 200), np.uint8))
    corner = rng.uniform(0, 150, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 60, (200, 2))], axis=1)
    change = np.abs(pixels[3:6].numpy().astype(float) - 128).sum(axis=0)
    monkeypatch.setattr(crops, "FAINT", 1.0)
    whole = crops.faint_of(pixels, boxes)
    monkeypatch.setattr(crops, "_ENOUGH", 10_000)  # of large images some pixels tell
    assert (crops.faint_of(pixels, boxes) == whole).mean() > 0.9
    by_hand = [
        change[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].mean() < np.median(change)
        for x0, y0, x1, y1 in boxes
    ]
    assert whole.tolist() == by_hand and 20 < sum(by_hand) < 180


def one(box: list[float], label: int = 0, ignored: bool = False, length: float | None = None) -> Crops:
    return Crops(
        torch.zeros(2, 7, 64, 64, dtype=torch.uint8),
        np.array([1]),
        np.array([box], np.float32),
        np.array([label]),
        np.array([max(box[2] - box[0], box[3] - box[1]) if length is None else length], np.float32),
        np.array([ignored]),
    )


def test_an_animal_is_asked_for_at_its_centre_and_nowhere_else() -> None:
    targets = losses.make_targets(one([20, 28, 40, 36], label=1), ANY)
    assert torch.nonzero(targets.heat == 1).tolist() == [[1, 0, 8, 7]] and set(targets.taxa.tolist()) == {1}
    assert targets.heat[0].sum() == 0 and targets.animals == 1 and targets.counted.all()
    assert targets.weight.sum() == pytest.approx(1.0)


def test_the_right_answer_has_no_box_loss_and_a_wrong_one_has() -> None:
    targets = losses.make_targets(one([20, 28, 40, 36]), ANY)
    raw = torch.zeros(2, 4, 16, 16)
    for y, x in zip(targets.y.tolist(), targets.x.tolist(), strict=True):
        centre = torch.tensor([x + 0.5, y + 0.5]) * 4
        sides = torch.cat([centre - torch.tensor([20.0, 28.0]), torch.tensor([40.0, 36.0]) - centre])
        raw[1, :, y, x] = torch.log(sides.clamp_min(1e-3) / 16)
    assert losses.box_loss(raw, targets) < 0.02
    assert losses.box_loss(raw + 1.0, targets) > 0.3


@pytest.mark.parametrize("box", [[20, 28, 40, 36], [21, 29, 23, 31], [16.5, 4, 17.5, 60]])
def test_only_cells_from_which_all_sides_are_ahead_learn_a_box_and_at_least_one_does(box: list[float]) -> None:
    targets = losses.make_targets(one(box), ANY)
    assert len(targets.x) and targets.weight.sum().item() == pytest.approx(1)
    for x, y in zip(((targets.x + 0.5) * 4).tolist(), ((targets.y + 0.5) * 4).tolist(), strict=True):
        assert len(targets.x) == 1 or (box[0] < x < box[2] and box[1] < y < box[3])


def test_the_right_taxon_costs_least() -> None:
    targets = losses.make_targets(one([20, 28, 40, 36], label=1), ANY)
    right = torch.zeros(2, 3, 16, 16)
    right[:, 1] = 20.0
    assert losses.taxon_loss(right, targets) < 1e-3 < losses.taxon_loss(-right, targets)


def test_heat_loss_is_least_for_the_right_answer() -> None:
    targets = losses.make_targets(one([20, 28, 40, 36]), ANY)
    right = torch.where(targets.heat == 1, 9.0, -9.0)
    assert losses.heat_loss(right, targets) < 1e-3 < losses.heat_loss(-right, targets)


def test_what_does_not_count_costs_nothing_either_way() -> None:
    targets = losses.make_targets(one([20, 28, 40, 36], ignored=True), ANY)
    assert targets.animals == 0 and not targets.counted[1, 0, 7:9, 5:10].any() and targets.counted[0].all()
    claim = torch.full((2, 1, 16, 16), -9.0)
    claim[1, 0, 8, 7] = 9.0
    assert losses.heat_loss(claim, targets) < 1e-3


def test_animals_of_the_other_pass_are_ground_but_for_their_centre_and_near_the_border_nothing() -> None:
    small = losses.SizeRange(0.0, 20.0, 1.3)
    near = losses.make_targets(one([20, 28, 44, 36]), small)
    assert near.animals == 0 and not near.counted[1, 0, 7:9, 5:11].any()
    clearly = losses.make_targets(one([4, 28, 60, 36]), small)
    assert not clearly.counted[1, 0, 8, 8] and clearly.counted[1, 0, 8, 1]


def test_generalised_overlap_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    torch.testing.assert_close(losses.giou(a, b), torch.tensor([1.0, -1 / 3]))
