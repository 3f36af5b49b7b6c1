"""Which animals the training loop shows to a network: all of them in some pass, whatever their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from soilpipe.detect import fitting
from soilpipe.detect.crops import SCALES, Crops
from soilpipe.detect.dataset import Sample, SamplePass
from soilpipe.detect.fitting import Recipe, TrainingError, fit, size_ranges
from soilpipe.detect.learning import Batch, CentrePointLearner
from soilpipe.detect.losses import SizeRange
from soilpipe.detect.network import Head
from soilpipe.detect.passes import PassName
from soilpipe.detect.scenes import make_scenes
from soilpipe.detect.sizes import make_network
from tests.detect.made_samples import UM, ground, sample_of, with_animal

BORDER_MM = 1.52  # 72 px at 1200 dpi
LONG = [70.0, 60.0, 170.0, 100.0]  # 100 px
SHORT = [100.0, 100.0, 140.0, 130.0]


class Watching:
    """A learner that learns nothing, and keeps what it is shown."""

    parts = ("all",)

    def __init__(self) -> None:
        self.network: nn.Module = nn.Linear(1, 1)
        self.seen: list[tuple[Crops, SizeRange]] = []

    def targets(self, crops: Crops, size: SizeRange) -> Any:
        self.seen.append((crops, size))
        return None

    def losses(self, batch: Batch) -> tuple[Tensor, ...]:
        loss = self.network(torch.ones(1, 1)).sum()
        return loss, loss


def one(box: list[float], seed: int) -> Sample:
    picture = ground(seed)
    return sample_of(with_animal(picture, box), picture, [box])


def shown(
    samples: Sequence[Sample],
    *,
    passes: Sequence[Head],
    crop: int = 64,
    scenes: float = 0.0,
    finest_share: float = 0.0,
) -> tuple[list[tuple[Crops, SizeRange]], int]:
    """What a training of ten steps draws, and how many animals it pasted."""
    learner = Watching()
    recipe = Recipe(steps=10, batch=8, crop=crop, centred=1.0, scenes=scenes, finest_share=finest_share)
    made = make_scenes(samples, [], ["animal"], share=scenes)
    fit(
        samples,
        learner,
        UM,
        recipe,
        border_mm=BORDER_MM,
        tolerance=1.3,
        device=torch.device("cpu"),
        passes=passes,
        scenes=made,
    )
    return learner.seen, 0 if made is None else made.tally["animal 0"]


@pytest.mark.parametrize("box", [LONG, SHORT])
def test_a_single_pass_is_shown_animals_of_every_length(box: list[float]) -> None:
    """All crops are asked to be centred on an animal; of crops of 64 px anywhere in 240 px, less than half hold one."""
    seen, _ = shown([one(box, seed) for seed in range(3)], passes=("fine",))
    assert {(size.least, size.most) for _, size in seen} == {(0.0, math.inf)}
    assert all(set(crops.crop.tolist()) == set(range(8)) for crops, _ in seen)


@pytest.mark.parametrize("box", [LONG, SHORT])
def test_a_single_pass_has_animals_of_every_length_pasted(box: list[float]) -> None:
    _, pasted = shown([one(box, seed) for seed in range(3)], passes=("fine",), crop=192, scenes=0.5)
    assert pasted > 10


def test_two_passes_share_the_animals_at_the_border() -> None:
    sizes = size_ranges(UM, BORDER_MM, 1.3)
    border = 1000 * BORDER_MM / UM
    assert (sizes["fine"].least, sizes["fine"].most) == (0.0, border)
    assert (sizes["coarse"].least, sizes["coarse"].most) == (border / 4, math.inf)


def test_crops_for_a_finest_pass_show_the_shortest_animals_larger() -> None:
    """Of every batch their share, centred on animals of up to twice the finest pass's border, and the fine head's."""
    samples = [
        one([100.0, 100.0, 118.0, 110.0], seed) for seed in range(3)
    ]  # 18 px, where the pass sees it at 1200 dpi
    for sample in samples:
        whole = sample.passes["fine"].pixels
        sample.passes.update(
            {"fine": SamplePass(whole[:, ::2, ::2], 2.0), "coarse": SamplePass(whole[:, ::8, ::8], 8.0)}
        )
        sample.passes["finest"] = SamplePass(whole, 1.0)
    seen, _ = shown(samples, passes=("fine", "coarse"), finest_share=0.25)
    assert [len(crops.pixels) for crops, _ in seen] == [6, 2] * 10, "no animal is long enough for a coarse pass"
    assert all(size == seen[0][1] for _, size in seen), "one head answers, and owns the same sizes in px"
    for crops, _ in seen[1::2]:
        whole = crops.length[~crops.ignored]
        assert len(whole) >= 2 and (whole >= 18 * SCALES[0]).all() and (whole <= 18 * SCALES[1]).all()
    for crops, _ in seen[::2]:
        assert (crops.length <= 9 * SCALES[1]).all()


def test_without_anything_finer_to_see_there_are_no_crops_of_it() -> None:
    samples = [one(SHORT, seed) for seed in range(3)]
    plain, _ = shown(samples, passes=("fine", "coarse"))
    seen, _ = shown(samples, passes=("fine", "coarse"), finest_share=0.25)
    assert [len(crops.pixels) for crops, _ in seen] == [len(crops.pixels) for crops, _ in plain]
    assert all(torch.equal(ours.pixels, theirs.pixels) for (ours, _), (theirs, _) in zip(seen, plain, strict=True))


@pytest.mark.parametrize(("batch", "coarse", "finest"), [(8, 0.9, 0.15), (8, 0.25, -0.1), (8, 0.5, 0.5)])
def test_shares_that_leave_the_fine_pass_nothing_are_refused(batch: int, coarse: float, finest: float) -> None:
    with pytest.raises(TrainingError, match="finest_share"):
        Recipe(batch=batch, coarse_share=coarse, finest_share=finest)


def test_a_batch_too_small_for_all_passes_leaves_the_finest_out() -> None:
    recipe = Recipe(batch=2, coarse_share=0.25, finest_share=0.15)
    assert fitting._shares(recipe, ("fine", "coarse", "finest")) == {"fine": 1, "coarse": 1}
    assert fitting._shares(replace(recipe, batch=3), ("fine", "coarse", "finest")) == {
        "fine": 1,
        "coarse": 1,
        "finest": 1,
    }
    assert fitting._shares(replace(recipe, batch=20), ("fine", "finest")) == {"fine": 17, "finest": 3}


def test_passes_that_share_a_head_ask_it_together() -> None:
    """Its batch normalisation then sees the crops of both in proportion; each gets its own answers."""
    torch.manual_seed(0)
    network = make_network("small", 2)
    network.train()
    pixels = torch.randint(0, 256, (6, 7, 64, 64), dtype=torch.uint8)
    learner = CentrePointLearner(network, torch.device("cpu"))
    batch = {
        name: (part, None) for name, part in zip(("fine", "coarse", "finest"), pixels.split([3, 2, 1]), strict=True)
    }
    features = network.features(pixels)
    ours = learner._answers(cast(Batch, batch), features)
    together = network.head("fine")(torch.cat([features[:3], features[5:]]))
    for name, rows in (("fine", slice(0, 3)), ("finest", slice(3, 4))):
        for mine, whole in zip(ours[cast(PassName, name)], together, strict=True):
            torch.testing.assert_close(mine, whole[rows], rtol=0, atol=0)
    for mine, whole in zip(ours["coarse"], network.head("coarse")(features[3:5]), strict=True):
        torch.testing.assert_close(mine, whole, rtol=0, atol=0)
