"""What a second stage learns from, and that it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from soilpipe.detect.base import Detections
from soilpipe.detect.dataset import Sample
from soilpipe.detect.recipe import TrainingError
from soilpipe.detect.second_stage.examples import ALONE_EVERY, MOST, Examples, examples_of, joined
from soilpipe.detect.second_stage.network import SIDE, SecondStage
from soilpipe.detect.second_stage.training import SecondRecipe, drawn, train_second
from tests.detect import made_samples

TAXA = ("Acari", "Collembola")


def sample_of(boxes: list[list[float]], labels: list[int], crowd: list[bool] | None = None) -> Sample:
    sample = made_samples.sample_of(made_samples.ground(), made_samples.ground(), boxes)
    told = {"labels": np.array(labels, np.int64)} | ({} if crowd is None else {"crowd": np.array(crowd)})
    return replace(sample, image=replace(sample.image, **told))


def claimed(boxes: object, scores: object = None) -> Detections:
    box = np.array(boxes, np.float32).reshape(-1, 4)
    score = np.full(len(box), 0.5, np.float32) if scores is None else np.array(scores, np.float32)
    return Detections(box, score, np.zeros(len(box), np.int64), TAXA)


def test_a_candidate_on_an_animal_learns_its_box_and_taxon_and_others_that_they_are_none() -> None:
    sample = sample_of([[100, 100, 160, 140]], labels=[1])
    found = claimed([[104, 100, 160, 140], [10, 10, 40, 40], [100, 100, 160, 170]], [0.9, 0.8, 0.3])
    examples = examples_of([sample], lambda _: found)
    assert len(examples) == 3 and examples.pixels.shape == (3, 7, SIDE, SIDE)
    assert examples.near.tolist() == [True, False, True] and examples.taxon.tolist() == [1, 0, 1]
    likeness = [56 / 60, 0, 40 / 70]
    np.testing.assert_allclose(examples.animal, np.clip((np.array(likeness) - 0.35) / 0.3, 0, 1), atol=1e-6)
    np.testing.assert_allclose(examples.sides[1], 0)
    there = examples.boxes + examples.sides
    for one in (0, 2):  # moved by them, both are the label's box, which is 60 by 40 px
        crop = (60 if one == 2 else 56) / (examples.boxes[one, 2] - examples.boxes[one, 0])
        np.testing.assert_allclose((there[one, 2:] - there[one, :2]) * crop, [60, 40], rtol=1e-5)


def test_what_lies_on_a_crowd_is_left_out_and_of_the_rest_the_best_are_taken() -> None:
    sample = sample_of([[100, 100, 160, 140], [150, 150, 230, 230]], labels=[0, 1], crowd=[False, True])
    others = [[13 * x, 13 * y, 13 * x + 12, 13 * y + 12] for y in range(5) for x in range(10)]
    assert len(others) == MOST + 10
    found = claimed(
        [[100, 100, 160, 140], [160, 160, 190, 190], *others], [0.2, 0.99, *np.linspace(0.9, 0.3, len(others))]
    )
    examples = examples_of([sample], lambda _: found)
    assert len(examples) == 1 + MOST and examples.near.sum() == 1
    assert 0.99 not in examples.scores and np.isclose(examples.scores.min(), 0.2)
    assert np.sort(examples.scores)[1] == np.float32(np.linspace(0.9, 0.3, len(others))[MOST - 1])


def test_an_image_without_animals_or_without_candidates_gives_what_it_has() -> None:
    empty = sample_of([], labels=[])
    assert not examples_of([empty], lambda _: claimed([[10, 10, 30, 30]])).near.any()
    assert len(examples_of([empty], lambda _: claimed([]))) == 0
    assert len(joined([])) == 0 and len(examples_of([], lambda _: claimed([]))) == 0


def test_of_some_samples_it_learns_too_what_is_found_without_a_difference() -> None:
    shown: list[Sample] = []

    def candidates(sample: Sample) -> Detections:
        shown.append(sample)
        return claimed([[10, 10, 40, 40]] if sample.references else [[100, 100, 160, 140], [60, 60, 90, 90]])

    compared = made_samples.sample_of(made_samples.ground(1), made_samples.ground(2), [[100, 100, 160, 140]])
    examples = examples_of([compared] * ALONE_EVERY, candidates)
    assert [sample.references for sample in shown] == [4] * ALONE_EVERY + [0]
    assert examples.near.tolist() == [False] * ALONE_EVERY + [True, False]
    assert (examples.pixels[:-2, 6] == 255).all() and (examples.pixels[:-2, 3:6] != 128).any()
    assert (examples.pixels[-2:, 6] == 0).all() and (examples.pixels[-2:, 3:6] == 128).all()
    for plain in (compared, shown[-1]):  # the colours stay, and what is given stays as it is
        np.testing.assert_array_equal(plain.passes["fine"].pixels[:3], compared.passes["fine"].pixels[:3])
    assert (compared.passes["coarse"].pixels[6] == 255).all()
    uncompared = shown[-1]
    shown.clear()
    examples_of([uncompared] * ALONE_EVERY, candidates)
    assert len(shown) == ALONE_EVERY  # what had no difference is not shown twice


def marked(count: int, seed: int) -> Examples:
    """Bright squares in the middle are animals, bright bars none; the box stands a tenth of the crop too far left.

    Where the square lies is marked in the box, so that flips can be followed."""
    rng = np.random.default_rng(seed)
    pixels = np.full((count, 7, SIDE, SIDE), 60, np.uint8)
    pixels[:, 3:6], pixels[:, 6] = 128, 255
    pixels += rng.integers(0, 20, pixels.shape, dtype=np.uint8) * (np.arange(7) < 3)[:, None, None].astype(np.uint8)
    animal = rng.random(count) < 0.4
    taxon = rng.integers(0, 2, count)
    for one in range(count):
        if animal[one]:
            pixels[one, 0 if taxon[one] else 2, 20:44, 20:44] = 220
        else:
            pixels[one, :3, 30:34, 8:56] = 220
    box = np.tile(np.array([20, 20, 44, 44], np.float32) / SIDE, (count, 1))
    off = np.array([0.1, 0, 0.1, 0], np.float32)
    return Examples(
        pixels,
        np.tile(np.array([0, 0, 0.375, 0.375], np.float32), (count, 1)),
        animal.astype(np.float32),
        animal,
        np.where(animal[:, None], off, np.float32(0)).astype(np.float32),
        (box - off).astype(np.float32),
        taxon,
        np.full(count, 0.5, np.float32),
    )


def test_flipped_and_turned_the_box_still_lies_on_the_animal() -> None:
    examples = marked(40, 1)
    there = np.flatnonzero(examples.near)
    shapes = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        batch = drawn(examples, there, rng, light=0.0)
        boxes = (batch.boxes + batch.sides) * SIDE
        for pixels, box in zip(batch.pixels, boxes, strict=True):
            bright = (pixels[[0, 2]] > 150).any(axis=0)
            rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
            np.testing.assert_allclose(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1e-3)
        shapes.add(tuple(np.round(batch.sides[0], 3)))
    assert len(shapes) == 4  # the box stands too far left, right, up or down


def test_it_learns_what_is_an_animal_of_which_taxon_and_where_its_box_lies() -> None:
    torch.set_num_threads(1)
    told: list[Mapping[str, float]] = []
    recipe = SecondRecipe(steps=60, batch=24, light=0.3)
    network = train_second(
        SecondStage(2), marked(300, 2), recipe, device=torch.device("cpu"),
        progress=lambda done, of, figures: told.append({"done": done, "of": of, **figures}),
    )  # fmt: skip
    assert not network.training and told[-1]["done"] == told[-1]["of"] == 60
    assert told[-1]["animal"] < 0.5 * told[0]["animal"]
    fresh = marked(100, 3)
    with torch.inference_mode():
        answer = network(torch.from_numpy(fresh.pixels), torch.from_numpy(fresh.told))
    animal = answer.animal.numpy() > 0
    assert (animal == fresh.near).mean() > 0.95
    assert (answer.taxon.numpy().argmax(axis=1) == fresh.taxon)[fresh.near].mean() > 0.9


def test_its_score_is_a_chance_though_animals_are_drawn_more_often() -> None:
    """Of crops that all look the same each is as likely an animal as there are animals among them."""
    torch.set_num_threads(1)
    plain = marked(200, 4)
    animal = (np.arange(200) % 5 == 0).astype(np.float32)
    alike = replace(
        plain,
        pixels=np.full_like(plain.pixels, 90),
        told=np.zeros_like(plain.told),
        animal=animal,
        near=animal > 0,
        scores=np.full(200, 0.5, np.float32),
    )
    recipe = SecondRecipe(steps=60, batch=32, learning_rate=1e-2, light=0.0)
    network = train_second(SecondStage(2), alike, recipe, device=torch.device("cpu"))
    with torch.inference_mode():
        answer = network(torch.from_numpy(alike.pixels[:1]), torch.from_numpy(alike.told[:1]))
    assert torch.sigmoid(answer.animal).item() == pytest.approx(0.2, abs=0.05)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    torch.set_num_threads(1)

    def trained(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        recipe = SecondRecipe(steps=3, batch=8, seed=seed)
        return list(
            train_second(SecondStage(2), marked(40, 2), recipe, device=torch.device("cpu")).state_dict().values()
        )

    one, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("which", ["none on an animal", "all on animals", "none at all"])
def test_of_one_kind_alone_nothing_can_be_learned(which: str) -> None:
    sample = sample_of([[100, 100, 160, 140]], labels=[1])
    found = {"none on an animal": [[10, 10, 40, 40]], "all on animals": [[100, 100, 160, 140]], "none at all": []}
    examples = examples_of([sample], lambda _: claimed(found[which]))
    with pytest.raises(TrainingError, match="some that are and some that are not"):
        train_second(SecondStage(2), examples, SecondRecipe(), device=torch.device("cpu"))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}])
def test_a_recipe_without_steps_or_crops_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(TrainingError):
        SecondRecipe(**wrong)
