"""Detectors that were trained on from one and the same are averaged, and what all of them have seen is told."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.detect.training import Recipe, train_detector
from soilpipe.detect.weights import load_detector

Labelled = Callable[..., Path]


@pytest.fixture
def average(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("average_detectors").average


@pytest.fixture
def trained(labelled: Labelled) -> Path:
    """A folder with a detector `first`, and `one` and `other` begun from it on images of their own."""
    path = labelled(images=4)
    recipe = Recipe(steps=2, batch=2, crop=64, learning_rate=1e-3)
    train_detector(path, path.parent, path.parent / "first", recipe=recipe, device="cpu")
    names = [image["file_name"] for image in json.loads(path.read_text())["images"]]
    for name, mine in (("one", names[:2]), ("other", names[2:])):
        train_detector(
            path, path.parent, path.parent / name, recipe=recipe, device="cpu", warm_start=path.parent / "first",
            where=lambda image, mine=mine: image.file_name in mine,  # type: ignore[misc]
        )  # fmt: skip
    return path.parent


def test_each_weight_is_the_mean(average: Any, trained: Path) -> None:
    average([trained / "one", trained / "other"], trained / "both")
    one, other, both = (
        load_detector(trained / name, device="cpu").network.state_dict() for name in ("one", "other", "both")
    )
    changed = 0
    for name, value in both.items():
        mean = (one[name].double() + other[name].double()) / 2
        torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-7)
        changed += int(not torch.equal(one[name], other[name]))
    assert changed > 20


def test_the_card_tells_what_all_of_them_have_seen(average: Any, trained: Path) -> None:
    average([trained / "one", trained / "other"], trained / "both")
    detectors = {name: load_detector(trained / name, device="cpu") for name in ("first", "one", "other", "both")}
    card = detectors["both"].card
    assert card["averaged_of"] == [detectors["one"].info.version, detectors["other"].info.version]
    assert card["trained_on"]["image_names"] == detectors["one"].card["trained_on"]["image_names"]
    told = {one["version"]: one["trained_on"]["image_names"] for one in card["ancestors"]}
    assert told == {
        detectors[name].info.version: detectors[name].card["trained_on"]["image_names"] for name in ("other", "first")
    }


def test_strangers_are_not_averaged(average: Any, trained: Path) -> None:
    with pytest.raises(SystemExit, match="first: began from None"):
        average([trained / "one", trained / "first"], trained / "both")
    with pytest.raises(SystemExit, match="first: began from None"):
        average([trained / "first", trained / "first"], trained / "both")
    card = json.loads((trained / "other" / "card.json").read_text())
    (trained / "other" / "card.json").write_text(json.dumps({**card, "um_per_px": 5.0}))
    with pytest.raises(SystemExit, match=r"other: not of one kind with .*one: um_per_px 5\.0 and 21"):
        average([trained / "one", trained / "other"], trained / "both")
    card = json.loads((trained / "one" / "card.json").read_text())
    (trained / "one" / "card.json").write_text(json.dumps({**card, "warm_start": None}))  # as from a backbone alone
    with pytest.raises(SystemExit, match="one: began from None"):
        average([trained / "one", trained / "one"], trained / "both")
    assert not (trained / "both").exists()
