"""The second stage's network, and how it goes with the weights and the card of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.detect.second_stage.looking import FROM, SECOND
from soilpipe.detect.second_stage.network import SIDE, TOLD, SecondStage
from soilpipe.detect.sizes import make_network
from soilpipe.detect.warm_start import begin_from
from soilpipe.detect.weights import WeightsError, load_detector, save_detector
from tests.detect.test_predict import CARD, lively


def some(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randint(0, 256, (count, 7, SIDE, SIDE), dtype=torch.uint8), torch.randn(count, TOLD)


def with_second(size: str = "medium") -> Any:
    network = lively(size)
    torch.manual_seed(4)
    second = SecondStage(3)
    torch.nn.init.normal_(second.out.weight, std=0.3)
    network.take_second(second.eval())
    return network


def test_a_fresh_one_says_nothing_of_any_crop() -> None:
    answer = SecondStage(3).eval()(*some(2))
    assert answer.animal.shape == (2,) and answer.sides.shape == (2, 4) and answer.taxon.shape == (2, 3)
    assert not any(bool(part.any()) for part in answer)


@pytest.mark.parametrize("wrong", [(1, 7, SIDE, 32), (1, 6, SIDE, SIDE)])
def test_crops_of_another_shape_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SecondStage(3)(torch.zeros(wrong, dtype=torch.uint8), torch.zeros(1, TOLD))


def test_it_begins_from_an_encoder_of_its_own_shape_alone() -> None:
    medium, second = lively("medium"), SecondStage(3)
    assert second.begin_from(medium)
    for mine, its in ((second.stem, medium.stem), (second.down, medium.down)):
        assert all(
            torch.equal(a, b) for a, b in zip(mine.state_dict().values(), its.state_dict().values(), strict=True)
        )
    before = [value.clone() for value in second.state_dict().values()]
    assert not second.begin_from(lively("small"))
    assert all(torch.equal(a, b) for a, b in zip(before, second.state_dict().values(), strict=True))


def test_folding_changes_no_answer_by_more_than_rounding_and_bf16_is_for_the_first_stage() -> None:
    network = with_second()
    folded = network.folded()
    with torch.inference_mode():
        plain, fast = network.second(*some(3)), folded.second(*some(3))
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert {value.dtype for value in folded.in_bf16().second.parameters()} == {torch.float32}
    assert folded.in_bf16().stem.conv.weight.dtype == torch.bfloat16


def test_it_comes_back_from_disk_and_counts_as_part_of_the_version(tmp_path: Path) -> None:
    network = with_second()
    card = CARD | {SECOND: {FROM: 0.1, "trained_on": {"images": 5}}}
    version = save_detector(tmp_path / "two", network, card)
    loaded = load_detector(tmp_path / "two", device="cpu")
    assert loaded.info.settings[SECOND] == {FROM: 0.1}
    for name, value in network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[name])
    network.take_second(None)
    assert "second" not in network.architecture
    assert save_detector(tmp_path / "one", network, CARD) != version
    assert SECOND not in load_detector(tmp_path / "one", device="cpu").info.settings


@pytest.mark.parametrize("told", [None, {}, {FROM: 0}, {FROM: 1}, {FROM: True}, {FROM: "0.1"}, 0.1])
def test_a_card_that_does_not_say_from_which_score_on_is_refused(told: Any, tmp_path: Path) -> None:
    card = dict(CARD) if told is None else CARD | {SECOND: told}
    with pytest.raises(WeightsError, match=SECOND):
        save_detector(tmp_path, with_second(), card)


def test_weights_without_the_second_stage_that_the_card_tells_are_refused(tmp_path: Path) -> None:
    save_detector(tmp_path, lively("medium"), CARD)
    path = tmp_path / "card.json"
    card = json.loads(path.read_text())
    card[SECOND], card["architecture"]["second"] = {FROM: 0.1}, SecondStage(3).architecture
    path.write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"no second\."):
        load_detector(tmp_path, device="cpu")


def test_a_first_stage_can_begin_from_a_detector_of_two(tmp_path: Path) -> None:
    save_detector(tmp_path, with_second(), CARD | {SECOND: {FROM: 0.1}})
    network = make_network("medium", 3)
    begin_from(network, tuple(CARD["taxa"]), tmp_path)
    assert network.second is None
    assert torch.equal(network.stem.conv.weight, lively("medium").stem.conv.weight)
