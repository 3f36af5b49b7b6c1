"""What an encoder has learned from: told back to the detector whose trunk it began from, and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from soilpipe.detect import weights
from soilpipe.detect.ancestry import begun, of_backbone, seen
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.encoder.weights import encoder_of_detector, load_encoder, save_encoder
from soilpipe.lineage import detectors_before
from soilpipe.models import model_path, register
from soilpipe.store import Store
from tests.tiny_model import make_model

OWN = {"labels": "own.json", "simulated": False, "image_names": ["tile.png"]}
OLDER = {"name": "older", "version": "0" * 12, "trained_on": {"simulated": False, "image_names": ["older.png"]}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(weights, "SHIPPED", make_model(tmp_path / "shipped"))
    return Store(tmp_path / "store")


@pytest.fixture
def trunk(store: Store, tmp_path: Path) -> str:
    """A detector of the project's own, which began from another one."""
    make_model(tmp_path / "detector", name="own", trained_on=OWN, ancestors=[OLDER])
    return "detector:" + register(store, "detector", tmp_path / "detector")


def encoder(store: Store, folder: Path, **card: Any) -> str:
    torch.manual_seed(len(card))
    network = CentrePointNetwork(1, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()
    save_encoder(folder, network, {"name": folder.name, "um_per_px": 21.17, **card})
    return register(store, "encoder", folder)


def test_the_detectors_before_an_encoder_are_told_by_it_and_by_all_that_begin_from_it(
    store: Store, trunk: str, tmp_path: Path
) -> None:
    before = detectors_before(store, trunk)
    detector = model_path(store, "detector", trunk.removeprefix("detector:"))
    assert before == begun(detector)[1] == encoder_of_detector(detector, device="cpu").card["ancestors"]
    assert [one["name"] for one in before] == ["own", "older"] and before[0]["trained_on"] == OWN
    first = encoder(store, tmp_path / "first", begun_from=trunk, ancestors=before)
    assert detectors_before(store, first) == before
    # A detector trained on it (`--backbone`), and a classifier, take over what its card tells.
    assert of_backbone(tmp_path / "first") == before
    assert load_encoder(tmp_path / "first", device="cpu").card["ancestors"] == before


def test_an_encoder_of_an_earlier_release_is_asked_through_what_it_began_from(
    store: Store, trunk: str, tmp_path: Path
) -> None:
    silent = encoder(store, tmp_path / "silent", begun_from=trunk)
    assert detectors_before(store, encoder(store, tmp_path / "next", begun_from=silent, steps=3)) == detectors_before(
        store, trunk
    )
    assert detectors_before(store, encoder(store, tmp_path / "nothing", ancestors=[])) == []


def test_of_what_is_gone_all_is_held_possible(store: Store, tmp_path: Path) -> None:
    """Its images cannot be told any more: outside the hold-out all count as seen."""
    orphan = encoder(store, tmp_path / "orphan", begun_from="detector:" + "f" * 12)
    (gone,) = detectors_before(store, orphan)
    assert gone["version"] == "f" * 12 and gone["trained_on"] is None
    image = type("Image", (), {"scanner_id": None, "captured_at": None})()
    assert seen({"ancestors": [gone]}, ["any.png"], [image]) == 1
