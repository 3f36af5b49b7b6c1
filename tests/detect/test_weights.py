"""A detector on disk: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.weights import WeightsError, load_detector, save_detector
from soilpipe.tiles import image_from_array
from tests.tiny_model import CARD


def small(taxa: int = 2) -> CentrePointNetwork:
    torch.manual_seed(0)
    return CentrePointNetwork(taxa, stem=8, widths=(8, 8, 8, 8), pyramid=8).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_detector(tmp_path / "tiny", small(), CARD)
    return tmp_path / "tiny"


def test_a_detector_comes_back_as_it_was_saved(folder: Path) -> None:
    detector = load_detector(folder, device="cpu")
    assert detector.info.taxa == ("Acari", "Collembola") and detector.info.threshold == 0.4
    assert detector.info.version == save_detector(folder, small(), CARD) and len(detector.info.version) == 12
    for name, value in small().state_dict().items():
        torch.testing.assert_close(detector.network.state_dict()[name], value, rtol=0, atol=0)
    scan = image_from_array(np.zeros((64, 64, 3), np.uint8), 21.17)
    assert detector.detect(scan, [], []).taxa == ("Acari", "Collembola")


def test_another_threshold_on_the_card_is_another_version(folder: Path) -> None:
    before = load_detector(folder, device="cpu").info.version
    assert save_detector(folder, small(), {**CARD, "threshold": 0.5}) != before


def test_settings_that_only_change_speed_do_not_name_an_analysis(folder: Path) -> None:
    detector = load_detector(folder, device="cpu")
    assert json.loads(json.dumps(detector.info.settings)) == detector.info.settings
    assert not {"core", "device"} & set(detector.info.settings)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights\.safetensors is missing"):
        load_detector(folder)
    with pytest.raises(WeightsError, match=r"card\.json is missing"):
        load_detector(folder / "nowhere")


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    for length in (0, 5, 100, path.stat().st_size - 7):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(WeightsError, match="not a complete safetensors file"):
            load_detector(folder)
        save_detector(folder, small(), CARD)


def test_a_pickle_in_its_place_is_never_opened(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder / "sprung",))

    torch.save({"weights": Trap()}, folder / "weights.safetensors")
    with pytest.raises(WeightsError, match="this is a pickle"):
        load_detector(folder)
    import pickle

    (folder / "weights.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="this is a pickle"):
        load_detector(folder)
    assert not (folder / "sprung").exists()


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    save_file({"layer.weight": torch.zeros(3)}, folder / "weights.safetensors")
    with pytest.raises(WeightsError, match="of another network than the card says"):
        load_detector(folder)
    save_file(CentrePointNetwork(2).state_dict(), folder / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"stem\.conv\.weight is \(24, 7, 3, 3\), not \(8, 7, 3, 3\)"):
        load_detector(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    network = small()
    network.fine.out.weight.data[0, 0] = float("nan")
    save_detector(folder, network, CARD)
    with pytest.raises(WeightsError, match="not finite"):
        load_detector(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"taxa": []}, "`taxa`"),
        ({"taxa": ["Acari", "Acari"]}, "`taxa`"),
        ({"threshold": 1.5}, "`threshold` = 1.5"),
        ({"um_per_px": 0}, "`um_per_px` = 0"),
        ({"um_per_px": "21"}, "`um_per_px` = '21'"),
        ({"heads": ["coarse"]}, "`heads`"),
        ({"middle_mm": [4.9, 2.3]}, "`middle_mm` = [4.9, 2.3]"),
        ({"middle_mm": [2.3, True]}, "`middle_mm` = [2.3, True]"),
        ({"middle_mm": [2.3, 4.9]}, "`middle_tolerance` = None (expected a number above 1"),
        ({"middle_mm": [2.3, 4.9], "middle_tolerance": 1}, "`middle_tolerance` = 1 (expected"),
        (
            {"middle_mm": [2.3, 4.9], "middle_tolerance": 1.5, "heads": ["fine"]},
            "`middle_mm` = [2.3, 4.9] (expected nothing",
        ),
        ({"finest_mm": -1}, "`finest_mm` = -1 (expected a length above 0 and below `border_mm`)"),
        ({"finest_mm": True}, "`finest_mm` = True"),
        ({"finest_mm": 3.0, "heads": ["fine", "coarse"], "border_mm": 3.0}, "`finest_mm` = 3.0"),
        ({"finest_mm": 0.3}, "`finest_tolerance` = None (expected a number above 1"),
        (
            {
                "heads": ["fine", "coarse"],
                "border_mm": 3.0,
                "finest_mm": 1.2,
                "finest_tolerance": 1.3,
                "middle_mm": [1.1, 4.9],
                "middle_tolerance": 1.5,
            },
            "`finest_mm` = 1.2 (expected a length below the first of `middle_mm`)",
        ),
        ({"validation": "good"}, "`validation` = 'good'"),
        ({"contrast": "global"}, "`contrast` = 'global'"),
        ({"name": None}, "`name` = None"),
        ({"architecture": {"taxa": 2}}, "`architecture`"),
    ],
)
def test_a_card_that_makes_no_sense_is_told_by_its_key(folder: Path, change: dict[str, Any], told: str) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(WeightsError, match=re.escape(told)):
        load_detector(folder)


def test_a_card_that_is_no_json_is_told(folder: Path) -> None:
    (folder / "card.json").write_bytes(b"\x80\x04 not json")
    with pytest.raises(WeightsError, match="not readable as JSON"):
        load_detector(folder)
