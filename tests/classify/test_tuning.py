"""An encoder that learns from labelled crops: what it gains, and that nothing judges it that it has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soilpipe.classify import tuning
from soilpipe.classify.crop_pixels import CropPixels
from soilpipe.classify.embedding import TunedOn
from soilpipe.classify.examples import BACKGROUND, Examples
from soilpipe.classify.fitting import fit_classifier
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.training import train_classifier
from soilpipe.classify.tuned import TunedVectors
from soilpipe.classify.tuning import TrunkLook, Tuning, tune
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.ancestry import of_backbone, seen_by_ancestors
from soilpipe.detect.coco import read_labels
from soilpipe.detect.second_stage.network import TOLD
from soilpipe.encoder.close_look import CloseLook
from soilpipe.encoder.encoder import CENTRED, EMBEDDING, Encoder, embedding_of
from soilpipe.encoder.weights import load_encoder
from soilpipe.taxonomy import SOIL
from tests.classify import drawn_labels
from tests.classify.drawn_labels import draw_labels, tiny_encoder
from tests.classify.made_crops import made_crops
from tests.encoder.test_close_look import tiny_second

Kept = tuple[Examples, CropPixels, np.ndarray]
SHORT = Tuning(steps=40, batch=16)
COUNTS = {"Poduromorpha": 6, "Oribatida": 6, BACKGROUND: 8}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mites of two orders that differ by a shade."""
    animals = {"Oribatida": 4, "Mesostigmata": 4}
    with pytest.MonkeyPatch.context() as patch:
        for taxon, colour in zip(animals, ((140, 120, 100), (125, 130, 100)), strict=True):
            patch.setitem(drawn_labels.COLOURS, taxon, colour)
            patch.setitem(drawn_labels.SIZES, taxon, (18, 14))
        return draw_labels(tmp_path_factory.mktemp("labels"), animals, scanners=tuple("ABCD"))


@pytest.fixture(scope="module")
def kept(labels: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Crops, their pixels, and a number for each taxon."""
    pixels = CropPixels(tmp_path_factory.mktemp("pixels") / "crops")
    crops = labelled_crops(read_labels(labels, labels.parent), encoder, taxonomy=SOIL, keep=pixels)
    return crops, pixels, np.unique(crops.taxa, return_inverse=True)[1]


def tuned_state(kept: Kept, encoder: Encoder, **more: Any) -> dict[str, torch.Tensor]:
    crops, pixels, numbers = kept
    assert crops.rows is not None
    look = TrunkLook(encoder.network())
    tuned = tune(look, pixels, crops.rows, crops.sizes_mm, numbers, Tuning(steps=3, batch=8, **more))
    assert not tuned.training
    return tuned.trunk.state_dict()


def test_pixels_come_back_by_their_row_as_the_encoder_sees_them(kept: Kept, encoder: Encoder) -> None:
    crops, pixels, _ = kept
    assert crops.rows is not None and crops.rows.tolist() == list(range(len(crops)))
    some = crops.select(np.array([7, 3, 30]))
    assert some.rows is not None
    for row, vector in zip(some.rows.tolist(), some.embeddings, strict=True):
        side = int(pixels.sides(np.array([row]))[0])
        seen = pixels.read(np.array([row]), side)
        assert seen.shape == (1, 7, side, side) and seen.dtype == np.uint8
        assert np.array_equal(encoder.embed(seen)[0], vector)
        assert pixels.told(np.array([row])).shape == (1, 0)
    with pytest.raises(ValueError, match="expected"):
        pixels.add(TunedOn(np.zeros((1, 7, 32, 32), np.uint8), np.array([32]), np.zeros((1, 0), np.float32)))


def test_the_same_seed_gives_the_same_weights_and_another_one_others(kept: Kept, encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.network().state_dict().items()}
    one, same, other = (tuned_state(kept, encoder, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(before[name], value) for name, value in encoder.network().state_dict().items())


def test_where_there_is_no_memory_for_a_batch_it_is_taken_in_parts(
    kept: Kept, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    forward = tuning._Classes.forward

    def small(self: Any, pixels: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        if len(pixels) > most:
            raise torch.OutOfMemoryError
        seen.append(len(pixels))
        return forward(self, pixels, *beside)

    monkeypatch.setattr(tuning._Classes, "forward", small)
    most = 4
    before = encoder.network().state_dict()
    after = tuned_state(kept, encoder)
    assert seen == [4, 4] * 3 and "tuning on 2 parts" in caplog.text
    assert any(not torch.equal(after[name], before[name]) for name in before)
    most = 1
    with pytest.raises(torch.OutOfMemoryError):
        tuned_state(kept, encoder)


def test_one_class_alone_teaches_nothing(kept: Kept, encoder: Encoder) -> None:
    crops, pixels, numbers = kept
    assert crops.rows is not None
    look = TrunkLook(encoder.network())
    trunk = tune(look, pixels, crops.rows, crops.sizes_mm, np.zeros_like(numbers), SHORT).trunk
    assert all(torch.equal(trunk.state_dict()[name], value) for name, value in encoder.network().state_dict().items())


@pytest.mark.parametrize("calibrate", [None, ["B", "E"]])
def test_what_a_fold_holds_out_no_encoder_of_it_has_learned(calibrate: list[str] | None) -> None:
    crops = made_crops(COUNTS)
    scanners = np.array(crops.scanners)
    asked: list[np.ndarray] = []

    def vectors(learned: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Those who know a crop see its class written on it."""
        asked.append(learned)
        assert (labels[learned] >= 0).all()
        found = np.random.default_rng(len(asked)).normal(0, 1, crops.embeddings.shape)
        found[learned, labels[learned]] += 1000
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    fitted = fit_classifier(crops, taxonomy=SOIL, alpha=0.05, calibrate=calibrate, vectors=vectors)
    for learned in asked[:-1]:
        held = set(scanners[~learned])
        assert held and not held & set(scanners[learned])
    assert set(scanners[asked[-1]]) == set(scanners) - set(calibrate or ())
    # What it says of itself is what guessing is worth, though it knows by heart what it was fitted on.
    figures = fitted.told["figures"]
    assert figures["accuracy"] < 0.6 and figures["error_among_answers"] in (None, pytest.approx(0, abs=0.05))
    assert np.abs(fitted.classifier.examples.embeddings).max(axis=1) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_tuning_tells_taxa_apart_that_the_encoder_does_not(labels: Path, encoder: Encoder, tmp_path: Path) -> None:
    def trained(out: str, **more: Any) -> dict[str, Any]:
        return train_classifier(labels, labels.parent, tmp_path / out, encoder=encoder, taxonomy=SOIL, **more)

    stages: list[tuple[str, int, int]] = []
    before = trained("before")["figures"]
    card = trained(
        "after",
        tuning=SHORT,
        tuned=tmp_path / "tuned",
        progress=lambda stage, done, of, _: stages.append((stage, done, of)),
    )
    assert card["figures"]["macro_f1"] > before["macro_f1"] + 0.05
    assert ("tuning the encoder, part 1", 40, 40) in stages and ("tuning the encoder, part 5", 40, 40) in stages

    tuned = load_encoder(tmp_path / "tuned")
    told = json.loads((tmp_path / "tuned" / "card.json").read_text())
    assert card["encoder"] == tuned.info.version != encoder.info.version
    assert (told["embedding"], told["begun_from"]) == (CENTRED, encoder.info.version)
    assert told["tuned"]["steps"] == 40 and told["tuned"]["crops"]["Oribatida"] == 48
    # Nothing that it has learned judges what is begun from it.
    images = read_labels(labels, labels.parent).images
    names = [image.file_name for image in images]
    assert seen_by_ancestors({"ancestors": of_backbone(tmp_path / "tuned")}, names, images) == len(images)


@pytest.fixture(scope="module")
def close_encoder(encoder: Encoder) -> Encoder:
    return Encoder(encoder.network(), encoder.card, version="close", device="cpu", close=CloseLook(tiny_second()))


def test_of_an_encoder_that_looks_closely_that_is_tuned_and_nothing_else(
    labels: Path, close_encoder: Encoder, tmp_path: Path
) -> None:
    read, pixels = read_labels(labels, labels.parent), CropPixels(tmp_path / "crops")
    crops = labelled_crops(read, close_encoder, taxonomy=SOIL, keep=pixels)
    assert crops.rows is not None and close_encoder.close is not None
    told = pixels.told(crops.rows)
    assert set(pixels.sides(crops.rows)) == {64} and told.shape == (len(crops), TOLD)
    np.testing.assert_allclose(np.exp(told[:, 1]), crops.sizes_mm, rtol=1e-5)
    numbers = np.unique(crops.taxa, return_inverse=True)[1]
    vectors = TunedVectors(close_encoder, crops, pixels, Tuning(steps=3, batch=8))
    found = vectors(np.ones(len(crops), bool), numbers)
    assert np.array_equal(found[:, :24], crops.embeddings[:, :24]) and not np.allclose(found, crops.embeddings)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors.embedded_as_last(crops.select(np.array([5, 2]))), found[[5, 2]])
    begun, fresh = close_encoder.close.state_dict(), CloseLook(tiny_second()).state_dict()
    assert any(not torch.equal(value, begun[name]) for name, value in vectors.last.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(begun.values(), fresh.values(), strict=True))


def test_what_is_told_of_a_crop_is_turned_with_it(tmp_path: Path) -> None:
    """A long animal, one way or the other."""
    pixels = np.zeros((1, 7, 64, 64), np.uint8)
    pixels[:, :3, 28:36, 12:52] = 200
    told = np.array([[0, 0.5, 0.625, 0.125]], np.float32)
    crops = CropPixels(tmp_path / "crops")
    rows = crops.add(TunedOn(pixels, np.array([64]), told))
    draw = tuning._Draw(
        crops, rows, np.ones(1), np.zeros(1, np.int64), Tuning(batch=16, light=0), np.random.default_rng(0), True
    )
    drawn = draw()
    bright = drawn.pixels[:, 0] > 100
    wide = bright.any(dim=1).sum(dim=1) > bright.any(dim=2).sum(dim=1)
    assert 0 < wide.sum() < 16 and torch.equal(wide, drawn.told[:, 2] > drawn.told[:, 3])
    assert (drawn.told[:, :2] == torch.tensor([0, 0.5])).all()


@pytest.mark.parametrize(
    ("look", "calibrate"),
    [("encoder", None), ("close_encoder", None), pytest.param("encoder", ["B"], marks=pytest.mark.slow)],
)
def test_the_vectors_that_a_classifier_keeps_are_those_that_a_run_will_make(
    look: str, calibrate: list[str] | None, labels: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    encoder: Encoder = request.getfixturevalue(look)
    train_classifier(
        labels,
        labels.parent,
        tmp_path / "out",
        encoder=encoder,
        taxonomy=SOIL,
        calibrate=calibrate,
        tuning=Tuning(steps=3, batch=8),
        tuned=tmp_path / "tuned",
    )
    tuned = load_encoder(tmp_path / "tuned")
    assert tuned.card["embedding"] == (CENTRED if look == "encoder" else EMBEDDING)
    crops = labelled_crops(read_labels(labels, labels.parent), tuned, taxonomy=SOIL)
    kept = crops.select(~np.isin(crops.scanners, calibrate or []))
    assert np.array_equal(load_classifier(tmp_path / "out").examples.embeddings, kept.embeddings)


def test_centred_means_weigh_the_middle() -> None:
    cells = torch.zeros(2, 3, 12, 12)
    cells[0, 0, 5:7, 5:7], cells[1, 0, 5:7, :2] = 1, 1  # in the middle, and at the edge
    cells[:, 1] = 0.1
    levels = [torch.zeros(2, 1, 24, 24), cells, cells[:, :, ::2, ::2], torch.ones(2, 3, 1, 1)]
    plain, centred = (embedding_of(levels, way)[:, 0] for way in (EMBEDDING, CENTRED))
    assert plain[0] == pytest.approx(plain[1]) and centred[0] > 2 * centred[1] > 0
    assert torch.equal(embedding_of(levels), embedding_of(levels, EMBEDDING))


def test_vectors_need_the_pixels(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="were not kept"):
        TunedVectors(encoder, made_crops(COUNTS), CropPixels(tmp_path / "crops"), SHORT)
