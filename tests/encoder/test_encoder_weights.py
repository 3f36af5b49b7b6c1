"""An encoder on disk: what is written is read again, by us and as a detector's backbone, and nothing else is."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from soilpipe.detect.backbone_weights import BackboneError, load_backbone
from soilpipe.detect.network import CentrePointNetwork
from soilpipe.detect.sizes import SIZES, make_network
from soilpipe.detect.weights import WeightsError, load_detector
from soilpipe.encoder.encoder import EMBEDDING
from soilpipe.encoder.weights import EncoderError, encoder_of_detector, load_encoder, save_encoder
from soilpipe.models import content_version
from tests.encoder.tiny_encoder import CARD, crops, encoder_of, tiny_network
from tests.tiny_model import make_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_encoder(tmp_path / "tiny", tiny_network(), CARD)
    return tmp_path / "tiny"


def test_an_encoder_comes_back_as_it_was_saved(folder: Path) -> None:
    encoder = load_encoder(folder, device="cpu")
    assert np.array_equal(encoder.embed(crops(3)), encoder_of(tiny_network()).embed(crops(3)))
    assert encoder.info.version == save_encoder(folder, tiny_network(), CARD) == content_version(folder)
    assert (encoder.info.name, encoder.info.um_per_px, encoder.info.size, encoder.info.dim) == ("tiny", 21.17, None, 24)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert save_encoder(folder, encoder.network(), CARD) == encoder.info.version, "a trunk is as good as a network"


def test_another_card_or_other_weights_are_another_version(folder: Path) -> None:
    before = load_encoder(folder, device="cpu").info.version
    assert save_encoder(folder, tiny_network(), {**CARD, "um_per_px": 42.0}) != before
    network = tiny_network()
    network.stem.conv.weight.data[0, 0, 0, 0] += 1
    assert save_encoder(folder, network, CARD) != before
    network = tiny_network()
    network.fine.out.weight.data += 1
    assert save_encoder(folder, network, CARD) == before, "the heads are no part of it"


def test_the_encoder_of_a_detector_is_its_own(tmp_path: Path) -> None:
    model = make_model(tmp_path / "detector")
    detector, encoder = load_detector(model, device="cpu"), encoder_of_detector(model, device="cpu")
    assert encoder.info.version == f"detector:{detector.info.version}" and encoder.info.um_per_px == 21.17
    assert isinstance(detector.network, CentrePointNetwork)
    assert np.array_equal(encoder.embed(crops(3)), encoder_of(detector.network).embed(crops(3)))
    blind = make_model(tmp_path / "blind", difference=False)
    assert not encoder_of_detector(blind, device="cpu").info.uses_difference
    save_encoder(tmp_path / "saved", encoder.network(), encoder.card)
    assert np.array_equal(load_encoder(tmp_path / "saved", device="cpu").embed(crops(2)), encoder.embed(crops(2)))


@pytest.mark.slow
def test_a_detector_of_torchvisions_has_none_to_give(tmp_path: Path) -> None:
    from soilpipe.detect.torchvision_family import make_family
    from soilpipe.detect.weights import save_detector
    from tests.tiny_model import CARD as DETECTOR

    save_detector(tmp_path / "fcos", make_family("fcos_resnet50_fpn", 2), DETECTOR)
    with pytest.raises(EncoderError, match="one of torchvision's detectors"):
        encoder_of_detector(tmp_path / "fcos")
    with pytest.raises(WeightsError, match=r"card\.json is missing"):
        encoder_of_detector(tmp_path / "nowhere")


def test_a_detector_that_sees_evened_contrast_has_none_to_give(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="contrast is evened"):
        encoder_of_detector(make_model(tmp_path / "evened", contrast="local"))


@pytest.mark.parametrize("size", [*SIZES[:2], *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES[2:])])
def test_a_detector_can_begin_from_an_encoders_folder(size: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    given = make_network(size, 1).eval()
    save_encoder(tmp_path / "encoder", given, CARD)
    assert load_encoder(tmp_path / "encoder", device="cpu").info.size == size
    assert not any(name.startswith("encoder.") for name in load_file(tmp_path / "encoder" / "weights.safetensors"))
    for path in (tmp_path / "encoder", tmp_path / "encoder" / "weights.safetensors"):
        torch.manual_seed(5)
        network = make_network(size, 3).eval()
        fresh = {name: value.clone() for name, value in network.state_dict().items()}
        load_backbone(network, path)
        for name, value in network.state_dict().items():
            if name.startswith(("stem.", "down.", "encoder.")):
                if not name.endswith("num_batches_tracked"):
                    assert torch.equal(value, given.state_dict()[name]), name
            else:
                assert torch.equal(value, fresh[name]), name


def test_a_backbone_of_another_size_is_told(tmp_path: Path) -> None:
    save_encoder(tmp_path / "small", make_network("small", 1), CARD)
    save_encoder(tmp_path / "resnet18", make_network("resnet18", 1), CARD)
    medium, resnet = make_network("medium", 2), make_network("resnet18", 2)
    before = {name: value.clone() for name, value in medium.state_dict().items()}
    with pytest.raises(BackboneError, match=r"encoder of 16 16 32 64 96 channels, the network has 24 32 64 128 176"):
        load_backbone(medium, tmp_path / "small")
    with pytest.raises(BackboneError, match=r"holds a ResNet\. Weights of such a backbone are for the sizes resnet18"):
        load_backbone(medium, tmp_path / "resnet18")
    with pytest.raises(BackboneError, match="holds no ResNet"):
        load_backbone(resnet, tmp_path / "small")
    broken = load_file(tmp_path / "small" / "weights.safetensors")
    broken["stem.conv.weight"][0] = float("inf")
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(BackboneError, match=r"stem\.conv\.weight holds values that are not finite"):
        load_backbone(make_network("small", 2), tmp_path / "broken.safetensors")
    with pytest.raises(BackboneError, match="cannot be read"):
        load_backbone(medium, tmp_path)
    assert all(torch.equal(before[name], value) for name, value in medium.state_dict().items())


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"weights\.safetensors is missing. An encoder is a folder"):
        load_encoder(folder)
    with pytest.raises(EncoderError, match=r"card\.json is missing"):
        load_encoder(folder / "nowhere")


@pytest.mark.parametrize("length", [0, 5, 100, -7])
def test_a_truncated_file_is_refused(folder: Path, length: int) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(EncoderError, match="not a complete safetensors file"):
        load_encoder(folder)


def test_a_pickle_in_its_place_is_never_opened(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder / "sprung",))

    path = folder / "weights.safetensors"
    torch.save({"weights": Trap()}, path)
    with pytest.raises(EncoderError, match="this is a pickle"):
        load_encoder(folder)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EncoderError, match="this is a pickle"):
        load_encoder(folder)
    assert not (folder / "sprung").exists()


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    save_file({"layer.weight": torch.zeros(3)}, folder / "weights.safetensors")
    with pytest.raises(EncoderError, match="of another network than the card says"):
        load_encoder(folder)
    save_encoder(folder.parent / "small", make_network("small", 1), CARD)
    (folder / "weights.safetensors").write_bytes((folder.parent / "small" / "weights.safetensors").read_bytes())
    with pytest.raises(EncoderError, match=r"is \(16, .*, not \(8, "):
        load_encoder(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    network = tiny_network()
    network.stem.conv.weight.data[0, 0] = float("nan")
    save_encoder(folder, network, CARD)
    with pytest.raises(EncoderError, match=r"stem\.conv\.weight holds values that are not finite"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": None}, "`name` = None"),
        ({"um_per_px": 0}, "`um_per_px` = 0"),
        ({"um_per_px": "21"}, "`um_per_px` = '21'"),
        ({"um_per_px": True}, "`um_per_px` = True"),
        ({"difference": 1}, "`difference` = 1"),
        ({"embedding": "class-token"}, f"this version makes vectors by {EMBEDDING}"),
        ({"architecture": {"stem": 8}}, "`architecture` = .* none that this version knows"),
        ({"architecture": {"stem": 8, "widths": [8, 8, 8, 8], "heads": 3}}, "none that this version knows"),
        ({"architecture": {"encoder": "resnet99"}}, "none that this version knows"),
        ({"size": "medium"}, "changed by hand"),
        ({"dim": 25}, "changed by hand"),
    ],
)
def test_a_card_that_makes_no_sense_is_told_by_its_key(folder: Path, change: dict[str, Any], told: str) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(EncoderError, match=told) as error:
        load_encoder(folder)
    assert str(folder) in str(error.value)


def test_a_card_that_is_none_is_told(folder: Path) -> None:
    for text, told in (("[]", "not a list"), ("{", "not readable as JSON"), ("{}", "`name` is missing")):
        (folder / "card.json").write_text(text)
        with pytest.raises(EncoderError, match=told):
            load_encoder(folder)
    with pytest.raises(EncoderError, match="`um_per_px` is missing"):
        save_encoder(folder, tiny_network(), {"name": "tiny"})


def test_a_writer_that_dies_between_the_files_leaves_no_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from soilpipe.encoder import weights

    write = weights.write_atomically

    def dying(target: Path, temporary: Path, blocks: Any) -> None:
        if target.name == "card.json":
            raise OSError("the disk is full")
        write(target, temporary, blocks)

    monkeypatch.setattr(weights, "write_atomically", dying)
    with pytest.raises(OSError, match="full"):
        save_encoder(folder, make_network("small", 1), CARD)
    with pytest.raises(EncoderError, match=r"card\.json is missing"):
        load_encoder(folder)
