"""Artificial scenes: what is pasted where, how often, and what of it counts in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soilpipe.detect import losses, scenes_draw
from soilpipe.detect.crops import CropSampler
from soilpipe.detect.dataset import Sample
from soilpipe.detect.scenes import Scenes, make_scenes
from soilpipe.detect.scenes_draw import COUNTED, GAP, Scene, ScenesOfPass
from soilpipe.detect.scenes_residency import POOLED, STAYED, measure_stays, stays
from soilpipe.taxonomy import SOIL
from tests.detect.made_samples import SIDE, UM, ground, sample_of, with_animal

CPU = torch.device("cpu")
TAXA = ("Acari", "Geophilomorpha")
TABLE = Path(__file__).parents[3] / "shared/data/soil_scan_tables/descent_manual_points.csv"
MITES = [[30.0, 30.0, 46.0, 44.0], [100.0, 40.0, 116.0, 54.0], [180.0, 60.0, 196.0, 74.0], [60.0, 180.0, 76.0, 194.0]]
LONG = [120.0, 150.0, 180.0, 160.0]


def labelled(references: int = 4, seed: int = 0) -> Sample:
    """Four mites, pale, and one long animal, reddish."""
    picture = with_animal(ground(seed), LONG, (220, 90, 60))
    for box in MITES:
        picture = with_animal(picture, box)
    sample = sample_of(picture, ground(seed), [*MITES, LONG], references=references)
    sample.image.labels[4] = 1
    return sample


def bare(references: int = 4, known: bool = False, um_per_px: float = UM) -> Sample:
    return replace(sample_of(ground(7), ground(7), [], references=references, labelled=known), um_per_px=um_per_px)


def made(*grounds: Sample, share: float = 0.5, seed: int = 0, references: int = 4) -> Scenes:
    scenes = make_scenes([labelled(references)], grounds, TAXA, share=share, seed=seed)
    assert scenes is not None
    return scenes


def drawer(scenes: Scenes, longest: float = 1e9) -> ScenesOfPass:
    drawing = scenes.of_pass("fine", (0, longest))
    assert drawing is not None
    return drawing


def drawn(scenes: Scenes, count: int, side: int = 200, seed: int = 1) -> list[Scene]:
    rng, drawing = np.random.default_rng(seed), drawer(scenes)
    return [drawing.draw(side, 160.0, rng) for _ in range(count)]


def test_the_same_seed_gives_the_same_scenes() -> None:
    one, same, other = drawn(made(bare()), 3), drawn(made(bare()), 3), drawn(made(bare()), 3, seed=2)
    for a, b in zip(one, same, strict=True):
        assert np.array_equal(a.pixels, b.pixels) and np.array_equal(a.boxes, b.boxes)
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_every_scene_holds_animals_in_its_middle_and_none_lies_on_another() -> None:
    scenes = made(labelled(seed=5))
    for scene in drawn(scenes, 40):
        boxes = scene.boxes
        assert scene.pixels.shape == (7, 200, 200) and len(boxes) == len(scene.labels) == len(scene.crowd)
        apart = (boxes[:, None, :2] >= boxes[None, :, 2:] + GAP) | (boxes[:, None, 2:] <= boxes[None, :, :2] - GAP)
        others = ~np.eye(len(boxes), dtype=bool)
        assert apart.any(axis=2)[others].all()
    told = scenes.told()
    assert told["crops"] == 40 and sum(told["pasted"].values()) > 40
    assert told["bare_patches"] > 10


def test_pasted_animals_keep_their_size_and_stand_where_their_boxes_say() -> None:
    seen = 0
    for scene in drawn(made(bare()), 40):
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            sides = sorted(box[2:] - box[:2])
            assert sides == ([14, 16] if label == 0 else [10, 60])
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            red, green = scene.pixels[0, y, x], scene.pixels[1, y, x]
            assert int(red) - int(green) < 60 if label == 0 else int(red) - int(green) > 60
            seen += 1
    assert seen > 40


def test_only_cut_outs_of_the_grounds_scale_are_pasted() -> None:
    assert make_scenes([labelled()], [bare(um_per_px=UM * 1.2)], TAXA).of_pass("fine", (0, 1e9)) is None  # type: ignore[union-attr]
    assert drawer(made(bare(um_per_px=UM * 1.02)))


def test_a_pass_pastes_the_animals_that_it_is_to_find() -> None:
    rng, drawing = np.random.default_rng(0), drawer(made(bare()), longest=50)
    assert {int(label) for _ in range(20) for label in drawing.draw(200, 160.0, rng).labels} == {0}
    assert made(bare()).of_pass("fine", (100, 1e9)) is None


def test_rare_taxa_come_more_often_than_their_share() -> None:
    """One animal in five is long; by 1/sqrt of the number it is one in three of those drawn."""
    scenes = made(bare())
    drawn(scenes, 300)
    pasted = scenes.told()["pasted"]
    assert pasted["Geophilomorpha"] / sum(pasted.values()) == pytest.approx(1 / 3, abs=0.07)
    assert scenes.told()["cut_out"] == {"Acari": 8, "Geophilomorpha": 2}, "of both passes"


@pytest.mark.slow
def test_animals_rest_at_the_rates_of_the_campaign() -> None:
    """In the background of four references is what sat there 48 hours before; half of it, what sat there 24."""
    scenes = made(bare())
    drawn(scenes, 800)
    told = scenes.told()
    counts = np.array([told["pasted"][taxon] for taxon in TAXA])
    shares = np.array([stays(taxon, SOIL) for taxon in TAXA])
    assert told["resting"] == pytest.approx(float(counts @ shares[:, 2]), rel=0.25)
    assert told["half_in_background"] == pytest.approx(float(counts @ (shares[:, 1] - shares[:, 2])), rel=0.3)


def test_static_look_alikes_show_in_the_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes_draw, "PATCHES", 0.0)
    static = with_animal(ground(0), [60.0, 60.0, 80.0, 70.0], (10, 10, 10))
    source = sample_of(with_animal(static, MITES[2]), static, [MITES[2]])
    scenes = make_scenes([source], [bare()], ("Acari",), seed=0)
    assert scenes is not None
    shown = 0
    for scene in drawn(scenes, 20, side=SIDE):
        free = np.ones((SIDE, SIDE), bool)
        for x0, y0, x1, y1 in scene.boxes.astype(int):
            free[y0 - 12 : y1 + 12, x0 - 12 : x1 + 12] = False
        changed = np.abs(np.moveaxis(scene.pixels[:3], 0, -1).astype(int) - ground(7)).max(axis=2) > 30
        if (changed & free).sum() > 60:
            shown += 1
            assert np.abs(scene.pixels[3:6].astype(int) - 128)[:, changed & free].mean() < 8
    assert shown > 5 and scenes.told()["look_alikes"] > 10


def test_on_ground_that_nobody_knows_only_what_was_pasted_counts() -> None:
    scenes = made(bare(references=0), references=0)
    for scene in drawn(scenes, 20):
        counted = np.ones((200, 200), bool)
        for box in scene.boxes[scene.crowd]:
            x0, y0, x1, y1 = np.round(box).astype(int)
            counted[max(y0, 0) : y1, max(x0, 0) : x1] = False
        assert scene.crowd.any() and not scene.crowd.all()
        for box in scene.boxes[~scene.crowd]:
            x0, y0, x1, y1 = np.clip(np.round(box + np.array([-COUNTED, -COUNTED, COUNTED, COUNTED])), 0, 200).astype(
                int
            )
            assert counted[y0:y1, x0:x1].all()
        assert counted.mean() < 0.9
    known = drawn(made(bare(references=0, known=True), references=0), 5)
    assert not any(scene.crowd.any() for scene in known), "where somebody looked, all of it counts"


def test_labels_of_the_ground_stay() -> None:
    scene = drawn(made(labelled(seed=5)), 1, side=SIDE)[0]
    assert scene.boxes[:5].tolist() == [*MITES, LONG] and scene.labels[:5].tolist() == [0, 0, 0, 0, 1]


def test_without_animals_or_without_a_share_there_are_no_scenes() -> None:
    assert make_scenes([labelled()], [bare()], TAXA, share=0.0) is None
    assert make_scenes([], [bare()], TAXA) is None
    assert make_scenes([bare(known=True)], [bare()], TAXA) is None
    with pytest.raises(ValueError, match="between 0 and 1, not at 30"):
        make_scenes([labelled()], [], TAXA, share=30)


def sampler(scenes: Scenes | None, seed: int = 0, crop: int = 128) -> CropSampler:
    rng = np.random.default_rng(seed)
    return CropSampler(
        [labelled()], "fine", crop=crop, length_range=(0, 1e9), centred=0.5, device=CPU, rng=rng, light=0, scenes=scenes
    )


def test_crops_are_made_of_scenes_at_their_share_and_the_boxes_lie_on_the_animals() -> None:
    scenes = made(bare(), share=0.4)
    crops = sampler(scenes).draw(200)
    assert 55 < scenes.told()["crops"] < 105
    on = 0
    checked = 0
    for index, box, label, ignored in zip(crops.crop, crops.boxes, crops.labels, crops.ignored, strict=True):
        if ignored or label or box.min() < 1 or box.max() > 127:
            continue
        x, y = ((box[:2] + box[2:]) / 2).astype(int)
        checked += 1
        on += int(crops.pixels[index, 0, y, x] > 170)
    assert checked > 200 and on > 0.97 * checked


def test_crops_of_scenes_are_drawn_by_the_samplers_seed() -> None:
    a, b = sampler(made(bare())).draw(8), sampler(made(bare())).draw(8)
    assert torch.equal(a.pixels, b.pixels) and np.array_equal(a.boxes, b.boxes)


def test_without_scenes_of_its_pass_a_sampler_draws_what_it_draws_without_any() -> None:
    far = made(bare(um_per_px=UM * 2))
    a, b = sampler(far).draw(8), sampler(None).draw(8)
    assert torch.equal(a.pixels, b.pixels)


def test_a_crop_larger_than_its_ground_is_a_scene_all_the_same() -> None:
    scenes = made(bare(), share=1.0)
    targets = losses.make_targets(sampler(scenes, crop=256).draw(4), losses.SizeRange(0.0, 1e9, 1.3))
    assert targets.animals >= 4


def test_how_long_a_taxon_rests_is_its_own_or_its_ancestors_or_the_pools() -> None:
    assert stays("Poduromorpha", SOIL) == stays("Collembola", SOIL) != stays("Protura", SOIL)
    assert stays("Invertebrata", SOIL)[1:] == STAYED[POOLED] == stays("no such taxon", None)[1:]
    for shares in STAYED.values():
        assert 1 >= shares[0] ** 0.25 >= shares[0] >= shares[1] >= shares[2] >= 0


@pytest.mark.skipif(not TABLE.is_file(), reason="the campaign's table is not here")
def test_the_table_of_rests_is_what_the_campaigns_points_say() -> None:
    measured = measure_stays(TABLE)
    subjects = {"Polydesmida": "polydesmidae", "Diptera": "diptera larva", POOLED: POOLED}
    for taxon, shares in STAYED.items():
        found, animals = measured[subjects.get(taxon, taxon.lower())]
        assert shares == pytest.approx(found, abs=6e-4), taxon
        assert animals >= 25
