"""The close look: what a detector's second stage sees in an animal, beside the encoder's own vector."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from soilpipe.background import ModelInput
from soilpipe.classify.embedding import CLOSE_CROPS, CROPS, crops_told, embed_boxes, with_close
from soilpipe.detect.backbone_weights import load_backbone
from soilpipe.detect.base import Detections
from soilpipe.detect.second_stage.crops import crop, cuts_around
from soilpipe.detect.second_stage.looking import FROM, SECOND
from soilpipe.detect.second_stage.network import SecondStage
from soilpipe.detect.weights import load_detector, save_detector
from soilpipe.encoder.close_look import CloseLook, close_crops
from soilpipe.encoder.encoder import CPU_BATCH, Encoder
from soilpipe.encoder.trunk import trunk_of
from soilpipe.encoder.weights import EncoderError, encoder_of_detector, load_encoder, save_encoder
from soilpipe.pretrain.learning import pretrain
from soilpipe.tiles import ScanImage, image_from_array
from tests.encoder.tiny_encoder import CARD, encoder_of, tiny_network
from tests.pretrain.short_runs import RECIPE
from tests.pretrain.some_crops import SomeCrops
from tests.tiny_model import CARD as OF_DETECTOR

BOXES = np.array([[60, 80, 84, 90], [200, 30, 460, 100], [0, 0, 9, 12], [300, 300, 330, 350]], np.float64)


def tiny_second(seed: int = 1) -> SecondStage:
    torch.manual_seed(seed)
    return SecondStage(2, stem=8, widths=(8, 8, 8, 8), hidden=6).eval()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(trunk_of(tiny_network()), CARD, device="cpu", close=CloseLook(tiny_second()))


@pytest.fixture(scope="module")
def scan() -> ScanImage:
    return image_from_array(np.random.default_rng(3).integers(0, 256, (500, 520, 3), np.uint8), 21.17, "s")


def test_its_crops_are_those_that_the_second_stage_is_given(scan: ScanImage) -> None:
    pixels, told = close_crops(scan, (), (), BOXES, 21.17)
    windows: Any = {name: ModelInput(scan, (), (), scale) for name, scale in (("fine", 21.17), ("coarse", 84.68))}
    found = Detections(BOXES, np.full(4, 0.5, np.float32), np.zeros(4, np.int64), ("Acari",))
    cuts = cuts_around(found, windows, scan.um_per_px)
    assert {cut.name for cut in cuts} == {"fine", "coarse"}
    assert np.array_equal(pixels, np.stack([crop(cut, windows) for cut in cuts]))
    assert np.array_equal(told, np.array([cut.told for cut in cuts], np.float32))


def test_half_of_an_animals_vector_is_what_the_second_stage_answers_from(encoder: Encoder, scan: ScanImage) -> None:
    alone = Encoder(trunk_of(tiny_network()), CARD, device="cpu")
    vectors = embed_boxes(encoder, scan, (), (), BOXES).embeddings
    assert vectors.shape == (4, encoder.info.dim) and encoder.info.dim == 24 + 32 + 6 and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    trunk = embed_boxes(alone, scan, (), (), BOXES).embeddings
    np.testing.assert_allclose(vectors[:, :24] * np.sqrt(2), trunk, atol=1e-6)
    with torch.inference_mode():
        seen = tiny_second().seen(*(torch.from_numpy(part) for part in close_crops(scan, (), (), BOXES, 21.17)))
    means = torch.cat([functional.normalize(mean, dim=1) for mean in seen.means], dim=1) / 2
    expected = torch.cat([means, functional.normalize(seen.hidden, dim=1)], dim=1) / np.sqrt(2)
    np.testing.assert_allclose(vectors[:, 24:] * np.sqrt(2), expected.numpy(), atol=1e-5)
    assert (crops_told(encoder), crops_told(alone)) == (CLOSE_CROPS, CROPS)
    again = with_close(vectors, encoder.look_closely(*close_crops(scan, (), (), BOXES, 21.17)))
    assert np.array_equal(again, vectors), "to the bit: what is kept is what a run makes"
    assert embed_boxes(encoder, scan, (), (), np.zeros((0, 4))).embeddings.shape == (0, encoder.info.dim)


def test_an_animals_vector_does_not_depend_on_the_others(encoder: Encoder, scan: ScanImage) -> None:
    corners = np.random.default_rng(1).integers(0, 400, (CPU_BATCH + 5, 2))
    boxes = np.concatenate([corners, corners + 20], axis=1).astype(np.float64)
    whole = embed_boxes(encoder, scan, (), (), boxes).embeddings
    for rows in (slice(3, 4), slice(5, 18), slice(None, None, -1)):
        assert np.array_equal(embed_boxes(encoder, scan, (), (), boxes[rows]).embeddings, whole[rows])


def test_where_there_is_no_memory_for_so_many_crops_they_are_looked_at_in_parts(
    scan: ScanImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(trunk_of(tiny_network()), CARD, device="cpu", close=CloseLook(tiny_second()))
    given = close_crops(scan, (), (), np.tile(BOXES, (5, 1)), 21.17)
    expected, whole = encoder.look_closely(*given), CloseLook.forward

    def small(self: CloseLook, pixels: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 4:
            raise torch.OutOfMemoryError
        return whole(self, pixels, told)

    monkeypatch.setattr(CloseLook, "forward", small)
    np.testing.assert_allclose(encoder.look_closely(*given), expected, atol=1e-6)


def test_an_encoder_that_sees_no_difference_is_shown_none_closely_either(scan: ScanImage) -> None:
    blind = Encoder(trunk_of(tiny_network()), {**CARD, "difference": False}, close=CloseLook(tiny_second()))
    pixels, told = close_crops(scan, (), (), BOXES, 21.17)
    other = pixels.copy()
    other[:, 3:] = 255
    assert np.array_equal(blind.look_closely(pixels, told), blind.look_closely(other, told))


def test_it_is_kept_with_the_encoder_and_is_part_of_its_version(
    encoder: Encoder, scan: ScanImage, tmp_path: Path
) -> None:
    version = save_encoder(tmp_path / "close", encoder.network(), CARD, encoder.close)
    again = load_encoder(tmp_path / "close", device="cpu")
    assert again.info.version == version and again.info.dim == encoder.info.dim
    vectors = [embed_boxes(one, scan, (), (), BOXES).embeddings for one in (encoder, again)]
    assert np.array_equal(*vectors)
    assert version != save_encoder(tmp_path / "plain", encoder.network(), CARD)
    assert version != save_encoder(tmp_path / "other", encoder.network(), CARD, CloseLook(tiny_second(2)))
    # A detector's backbone is filled from such a folder as from any.
    network = tiny_network()
    network.stem.conv.weight.data.zero_()
    load_backbone(network, tmp_path / "close")
    assert torch.equal(network.stem.conv.weight, tiny_network().stem.conv.weight)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda card: card["architecture"].pop("close"), "`size` and `dim`"),
        (lambda card: card["architecture"]["close"].pop("hidden"), "none that this version knows"),
        (lambda card: card["architecture"].update(close=3), "none that this version knows"),
        (lambda card: card["architecture"]["close"].update(stem=16), "weights are of another network"),
    ],
)
def test_a_card_that_tells_another_close_look_is_refused(
    spoil: Callable[[dict[str, Any]], Any], says: str, encoder: Encoder, tmp_path: Path
) -> None:
    save_encoder(tmp_path, encoder.network(), CARD, encoder.close)
    card = json.loads((tmp_path / "card.json").read_text())
    spoil(card)
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match=says):
        load_encoder(tmp_path)


def detector_in(folder: Path, *, second: bool = True, seed: int = 1) -> Path:
    """A detector, with a second stage or without."""
    network: Any = tiny_network()
    network.take_second(tiny_second(seed) if second else None)
    card = {SECOND: {FROM: 0.1}} if second else {}
    save_detector(folder, network, {**OF_DETECTOR, **card})
    return folder


def test_the_close_look_of_a_detectors_encoder_is_its_second_stage(scan: ScanImage, tmp_path: Path) -> None:
    detector = detector_in(tmp_path / "two")
    found = encoder_of_detector(detector, device="cpu")
    assert found.info.version == f"detector:{load_detector(detector, device='cpu').info.version}"
    expected = Encoder(trunk_of(tiny_network()), CARD, device="cpu", close=CloseLook(tiny_second()))
    pair = [embed_boxes(one, scan, (), (), BOXES).embeddings for one in (found, expected)]
    assert np.array_equal(*pair)
    assert not any(name.startswith("second") for name in found.network().state_dict()), "it is no part of the trunk"
    save_encoder(tmp_path / "saved", found.network(), found.card, found.close)
    saved = embed_boxes(load_encoder(tmp_path / "saved", device="cpu"), scan, (), (), BOXES).embeddings
    assert np.array_equal(saved, pair[0])
    alone = encoder_of_detector(detector_in(tmp_path / "one", second=False), device="cpu")
    assert alone.close is None and alone.info.dim == 24


def test_pretraining_leaves_it_as_it_is(encoder: Encoder, tmp_path: Path) -> None:
    crops: Any = SomeCrops(side=64)

    def kept(out: str, **given: Any) -> CloseLook | None:
        pretrain(crops, tmp_path / out, recipe=RECIPE, device="cpu", **given)
        return load_encoder(tmp_path / out, device="cpu").close

    def alike(one: CloseLook | None, other: CloseLook | None) -> bool:
        assert one is not None and other is not None
        return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    other = CloseLook(tiny_second(2))
    assert alike(kept("its own", start=encoder), encoder.close)
    assert alike(kept("given", start=encoder, close=other), other) and not alike(other, encoder.close)
    assert kept("none", start=encoder_of(tiny_network())) is None
