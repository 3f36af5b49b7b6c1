"""The ablation's own parts: the enhanced picture, the crops, and which animals count as there for long."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.background import register
from soilpipe.detect.crops import CropSampler
from soilpipe.detect.dataset import Sample, SamplePass, true_detections
from soilpipe.detect.labelled import LabelledImage
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.tiles import image_from_array
from tests.detect.made_samples import ground, sample_of, with_animal
from tests.detect.test_predict import CARD

FIRST = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any, Any]:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "benchmarks"), *sys.path])
    import ablation
    import ablation_inputs
    import ablation_judging
    import ablation_runs

    return ablation_inputs, ablation_runs, ablation_judging, ablation


def test_red_tells_what_moves_before_and_after_blue_is_the_mean_green_stays(parts: tuple[Any, Any, Any, Any]) -> None:
    enhanced = parts[0].enhanced
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:] = (100, 80, 50)
    animal = picture.copy()
    animal[10:30, 20:40] = (200, 180, 150)  # 100 grey levels brighter
    told = enhanced(animal, picture, animal)
    assert told[20, 30].tolist() == [100, 180, 175] and told[5, 5].tolist() == [0, 80, 75]
    assert enhanced(animal, picture, picture)[20, 30, 0] == 200  # both differences are summed
    assert enhanced(picture, animal, None)[20, 30, 0] == 100 and not enhanced(animal, None, None)[..., 0].any()
    bright = np.full_like(picture, 255)
    assert enhanced(bright, picture * 0, picture * 0)[0, 0, 0] == 255


def test_a_neighbour_is_laid_under_the_scan(parts: tuple[Any, Any, Any, Any]) -> None:
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 200, (64, 64, 1)), np.ones((6, 6, 3))).astype(np.uint8)
    scan = image_from_array(ground[:, :-4], 21.17)
    other = image_from_array(ground[:, 4:], 21.17)  # the same ground, 4 px to the left
    laid = parts[0].under(scan, other, register(scan, other))
    inner = (slice(20, -20), slice(20, -20))
    apart = np.abs(laid[inner].astype(int) - ground[:, :-4][inner])
    assert np.median(apart) <= 2 < np.median(np.abs(ground[:, 4:][inner].astype(int) - ground[:, :-4][inner]))


def test_references_that_show_an_animal_are_those_within_its_stay(parts: tuple[Any, Any, Any, Any]) -> None:
    def sample(number: int, present: list[int]) -> Sample:
        count = len(present)
        image = LabelledImage(
            f"A/{number:02d}.jpg", Path(), 10, 10, 1200.0, "A", FIRST + number * timedelta(hours=6), True,
            np.zeros((count, 4), np.float32), np.zeros(count, np.int64), np.zeros(count, bool), np.array(present),
        )  # fmt: skip
        return Sample(image, {}, 21.17, 4)

    samples = [sample(number, []) for number in range(13)]
    samples[12] = sample(12, [0, 1, 3, 4, 8, 12])  # references 1, 4, 8 and 12 scans before
    other = replace(samples[12], image=replace(samples[12].image, scanner_id="B"))
    told = parts[2].references_showing([*samples, other], [one.image for one in (*samples, other)])
    assert told[12].tolist() == [0, 1, 1, 2, 3, 4]
    assert told[13].tolist() == [0] * 6  # the first scan of its scanner


def test_a_pass_at_half_scale_is_the_mean_of_four_and_valid_where_all_are(parts: tuple[Any, Any, Any, Any]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 8, 12)).astype(np.uint8)
    pixels[6] = 255
    pixels[6, 2, 4] = 0
    half = parts[0].halved(SamplePass(pixels, 1.0))
    assert half.pixels.shape == (7, 4, 6) and half.factor == 2.0
    means = pixels.reshape(7, 4, 2, 6, 2).mean(axis=(2, 4))
    assert np.abs(half.pixels[:3] - means[:3]).max() <= 0.5
    assert half.pixels[6, 1, 2] == 0 and (half.pixels[3:6, 1, 2] == 128).all()
    assert (half.pixels[6] == 255).sum() == 23 and np.abs(half.pixels[3:6, 0] - means[3:6, 0]).max() <= 0.5


def seen_by(variant: str) -> list[Sample]:
    """Two scans as a variant sees them: each with an animal that has just come, and one that its references show."""
    samples = []
    for number in range(2):
        soil, new, resting = ground(number), [40.0, 60.0, 70.0, 85.0], [150.0, 140.0, 180.0, 165.0]
        before = with_animal(soil, new if variant == "nearest" else resting)  # they may show another
        picture = with_animal(with_animal(soil, resting), new)
        whole = sample_of(picture, before, [new, resting])
        pixels = whole.passes["fine"].pixels
        if variant in ("rgb", "mie"):
            motion = 2 * np.abs(pixels[3].astype(int) - 128).clip(0, 127) if variant == "mie" else pixels[0]
            pixels[0], pixels[3:6], pixels[6] = motion, 128, 0
        passes: dict[Any, Any] = {head: SamplePass(pixels, 1.0) for head in ("fine", "coarse")}
        samples.append(replace(whole, image=replace(whole.image, file_name=f"{number}.jpg"), passes=passes))
    return samples


class CaughtError(Exception):
    """Ends a training where it would begin."""


@pytest.fixture
def given(parts: tuple[Any, Any, Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What the training of a variant gets: its samples, and what changes their light."""

    def caught(samples: Any, *_: Any, **named: Any) -> None:
        raise CaughtError(samples, named["lighting"])

    monkeypatch.setattr(parts[1], "samples_of", lambda _plan, _root, _part, variant, **_named: seen_by(variant))
    monkeypatch.setattr(parts[1], "fit", caught)

    def of(variant: str) -> Any:
        plan = parts[0].Plan("peat", 1, 1, 1, 1, 9, 64, 64, 1.0, 1.0, 1.0)
        with pytest.raises(CaughtError) as told:
            parts[1].train(parts[1].Run(variant, 0, 10, 2, 0.5), plan, tmp_path)
        return told.value.args

    return of


def test_all_variants_learn_from_the_very_same_crops(parts: tuple[Any, Any, Any, Any], given: Any) -> None:
    """Which animals are drawn more often is told by the difference alone, whatever stands in a variant's channels."""
    drawn, chances = {}, {}
    for variant in parts[0].VARIANTS:
        samples, lighting = given(variant)
        drawer = CropSampler(
            samples, "fine", crop=64, length_range=(0, 1e9), centred=0.9, device=torch.device("cpu"),
            rng=np.random.default_rng(3), light=0.5, lighting=lighting,
        )  # fmt: skip
        crops = [drawer.draw(8) for _ in range(6)]
        drawn[variant] = np.concatenate([crop.boxes for crop in crops])
        chances[variant] = drawer._by_rarity
    assert len(drawn["rgb"]) > 30
    for variant in parts[0].VARIANTS:
        np.testing.assert_allclose(chances[variant], [1 / 6, 3 / 6, 4 / 6, 1])  # resting ones twice as often
        np.testing.assert_array_equal(drawn[variant], drawn["difference"])


def test_the_light_of_motion_stays_dark_where_nothing_moved_and_it_is_empty_as_often_as_a_difference(
    given: Any,
) -> None:
    _, lighting = given("mie")
    crops = torch.zeros(200, 7, 12, 12)
    crops[:, 1:3] = 100.0 + torch.arange(12.0)
    crops[:, 0, 3:6, 3:6], crops[:, 3:6] = 80.0, 128.0
    same = crops.clone()
    same[:, 0], same[:, 6] = same[:, 2], 255.0
    mine, other = np.random.default_rng(4), np.random.default_rng(4)
    lighting(crops, mine, 1.0)
    given("difference")[1](same, other, 1.0)
    motion = crops[:, 0]
    dropped = (same[:, 6] == 0).all(dim=2).all(dim=1)
    assert 0.08 < float(dropped.float().mean()) < 0.25
    assert not motion[:, 8:].any() and not motion[dropped].any()
    assert (motion[~dropped][:, 4, 4] > 20).all() and float(motion[~dropped][:, 4, 4].std()) > 5
    assert (crops[:, 3:6] == 128).all() and not crops[:, 6].any()
    torch.testing.assert_close(crops[:, 1:3], same[:, 1:3])  # green and blue change as in a picture
    assert mine.bit_generator.state == other.bit_generator.state


def test_settings_are_judged_on_validation_and_the_test_seasons_are_of_seeds_that_are_not_spent(
    parts: tuple[Any, Any, Any, Any], tmp_path: Path
) -> None:
    inputs, _, _, ablation = parts
    plan = inputs.Plan("loam", 3, 2, 2, 1, 12, 64, 64, 1.0, 1.0, 1.0)
    judged_on = {name: [spec for part in both for spec in plan.specs(part)] for name, both in inputs.JUDGED.items()}
    assert [spec.generator for spec in judged_on["test"]] == ["peat"] * 3  # ground that was not trained on
    assert [spec.generator for spec in judged_on["validation"]] == ["loam"] * 3
    every = [spec.seed for part in inputs.SEEDS for spec in plan.specs(part)]
    assert len(set(every)) == len(every)
    assert not {seed // 1000 for seed in every} & {751, 761}
    told = {"scans": 12, "size": 64, "test_size": 64, "crowd": 1.0, "test_crowd": 1.0, "rich_crowd": 1.0}
    (tmp_path / "plan.json").write_text(json.dumps({**told, "every": 2, "first": 8}))  # of seasons that are spent
    with pytest.raises(SystemExit, match="another --folder"):
        ablation.settled(plan, tmp_path)
    (tmp_path / "plan.json").unlink()
    ablation.settled(plan, tmp_path)
    ablation.settled(replace(plan, test_seasons=5), tmp_path)


@pytest.mark.slow
def test_figures_hold_for_the_seasons_they_were_judged_on(
    parts: tuple[Any, Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, runs, judging, ablation = parts
    monkeypatch.setattr(inputs, "ProcessPoolExecutor", lambda _workers, **_named: ThreadPoolExecutor(1))
    monkeypatch.setattr(judging, "of_sample", lambda used, seen, _least: true_detections(seen.image, used.info.taxa))
    plan = inputs.Plan("peat", 1, 1, 1, 1, 10, 128, 128, 900.0, 900.0, 900.0)
    run = runs.Run("rgb", 0, 10, 2, 0.5)
    network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    card = {**CARD, "taxa": ["Animalia"], "um_per_px": run.um_per_px, "threshold": 0.25, "seconds": 1.0}
    save_detector(run.folder(plan, tmp_path), network, card)

    def judged(plan: Any, judge_on: str) -> dict[str, Any]:
        inputs.prepare(plan, tmp_path, ["rgb"], 1, judge_on)
        assert judging.figures_of(run, plan, tmp_path, judge_on) is None
        judging.judge_run(run, plan, tmp_path, judge_on)
        figures: dict[str, Any] = judging.figures_of(run, plan, tmp_path, judge_on)
        return figures

    tried = judged(plan, "validation")
    assert not list((tmp_path / "seasons").glob("test-*"))  # nobody has looked at them
    assert tried["scans"] == tried["rich_scans"] == 2 and "validation scans of peat" in ablation.table([tried])
    assert judging.figures_of(run, plan, tmp_path, "test") is None
    tested = judged(plan, "test")
    assert tested["scans"] == tested["rich_scans"] == 10 and "10 test scans of peat" in ablation.table([tested])
    assert judging.figures_of(run, plan, tmp_path, "validation") == tried
    chosen = load_detector(run.folder(plan, tmp_path)).card
    assert chosen["validated_on"]["seasons"] == 1 and chosen["figures"]["images"] == 2

    for other in ("test", "rich", "validation"):
        assert judging.figures_of(run, replace(plan, **{f"{other}_seasons": 2}), tmp_path, "test") is None
    assert judged(replace(plan, test_seasons=2, validation_seasons=2), "test")["scans"] == 20
    assert judging.figures_of(run, plan, tmp_path, "test") is None
    chosen = load_detector(run.folder(plan, tmp_path)).card
    assert chosen["validated_on"]["seasons"] == 2 and chosen["figures"]["images"] == 4
