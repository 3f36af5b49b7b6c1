"""From label files to a classifier, and what is said of labels that cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.classify.adding import add_to_version
from soilpipe.classify.examples import BACKGROUND, ClassifierError, Examples, Source
from soilpipe.classify.label_facts import image_facts
from soilpipe.classify.labelled_crops import labelled_crops
from soilpipe.classify.training import train_classifier
from soilpipe.classify.weights import load_classifier
from soilpipe.detect.coco import read_labels
from soilpipe.detect.labelled import LabelError
from soilpipe.encoder.encoder import Encoder
from soilpipe.taxonomy import SOIL, Taxon, Taxonomy
from tests.classify.drawn_labels import SIDE, draw_labels, tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_labels(tmp_path_factory.mktemp("labels"), {"root": 1, "Acari": 2, "Collembola": 2})


def train(labels: Path, out: Path, encoder: Encoder, **more: Any) -> dict[str, Any]:
    return train_classifier(labels, labels.parent, out, encoder=encoder, taxonomy=SOIL, **more)


def test_classes_are_those_of_the_labels_what_is_no_animal_and_bare_ground(
    labels: Path, encoder: Encoder, tmp_path: Path
) -> None:
    card = train(labels, tmp_path, encoder)
    assert card["classes"] == ["Collembola", "Acari", "root", BACKGROUND]
    assert card["taxa"] == ["Collembola", "Acari"]
    assert card["encoder"] == encoder.info.version and card["encoder_info"]["dim"] == 24
    crops = card["trained_on"]["crops"]
    assert (crops["Acari"], crops["Collembola"], crops["root"]) == (18, 18, 9)
    assert 30 <= crops[BACKGROUND] <= 45
    classifier = load_classifier(tmp_path)
    assert all(len(thumbnail) > 300 for thumbnail in classifier.examples.thumbnails)
    assert {source.scanner_id for source in classifier.examples.sources} == {"A", "B", "C"}


def test_training_twice_gives_the_same_weights_and_tells_mites_from_springtails(
    labels: Path, encoder: Encoder, tmp_path: Path
) -> None:
    one, other = (train(labels, tmp_path / name, encoder) for name in "ab")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()
    unlike = {key for key in one if one[key] != other[key]}
    assert unlike <= {"name", "seconds", "version"}
    assert one["figures"]["macro_f1"] > 0.6


def test_windows_without_an_animal_are_clear_of_every_label(labels: Path, encoder: Encoder) -> None:
    given = read_labels(labels, labels.parent)
    crops = labelled_crops(given, encoder, taxonomy=SOIL)
    bare = [source for source, taxon in zip(crops.sources, crops.taxa, strict=True) if taxon == BACKGROUND]
    assert len(bare) > 20
    for source in bare:
        boxes = next(image.boxes for image in given.images if image.file_name == source.image)
        x0, y0, x1, y1 = source.box
        assert 0 <= x0 < x1 <= 220 and 0 <= y0 < y1 <= 220
        assert not ((boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)).any()
    again = labelled_crops(given, encoder, taxonomy=SOIL)
    assert again.sources == crops.sources and (again.embeddings == crops.embeddings).all()


def test_crops_look_like_their_animals(labels: Path, encoder: Encoder) -> None:
    crops = labelled_crops(read_labels(labels, labels.parent), encoder, taxonomy=SOIL)
    first = crops.taxa.index("Acari")
    shown = cv2.imdecode(np.frombuffer(crops.thumbnails[first], np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (96, 96, 3)
    np.testing.assert_allclose(shown[48, 48, ::-1], (230, 90, 70), atol=25)
    assert crops.sizes_mm[first] == pytest.approx(16 * 25.4 / 1200, rel=1e-5)


def test_animals_that_a_tiles_edge_cuts_teach_nothing_and_judge_nothing(encoder: Encoder, tmp_path: Path) -> None:
    whole = draw_labels(tmp_path / "labels", {"Acari": 3, "Collembola": 3}, scans=2)
    told = json.loads(whole.read_text())
    cut = told["annotations"][0]
    cut["bbox"] = [SIDE - 9, 40, 9, 16]  # the left half of a mite
    at_top = told["annotations"][1]
    at_top["bbox"] = [100, 1, 16, 16]
    whole.write_text(json.dumps(told))
    given = read_labels(whole, whole.parent)
    assert len(_animals(labelled_crops(given, encoder, taxonomy=SOIL))) == 36  # a scan's own edge cuts for a run too
    for image in told["images"]:
        image["origin"] = [500, 0]  # tiles at the upper edge of their scan
    whole.write_text(json.dumps(told))
    given = read_labels(whole, whole.parent)
    name = told["images"][0]["file_name"]
    alarms = {name: np.array([[0.0, 60, 9, 70], [60, 60, 75, 75]])}
    crops = labelled_crops(given, encoder, taxonomy=SOIL, false_alarms=alarms)
    boxes = [source.box for source in _animals(crops)]
    assert len(boxes) == 35 and not any(box[2] == 500 + SIDE for box in boxes)
    assert (600.0, 1.0, 616.0, 17.0) in boxes
    alarmed = [s.box for s, t in zip(crops.sources, crops.taxa, strict=True) if t == BACKGROUND and s.as_it_comes]
    assert [box for box in alarmed if box[0] == 500.0] == [] and (560.0, 60.0, 575.0, 75.0) in alarmed
    assert train(whole, tmp_path / "out", encoder)["cut_by_edge"] == 1


def _animals(crops: Examples) -> list[Source]:
    return [source for source, taxon in zip(crops.sources, crops.taxa, strict=True) if taxon != BACKGROUND]


def test_stages_and_synonyms_count_as_their_taxon(encoder: Encoder, tmp_path: Path) -> None:
    file = draw_labels(tmp_path / "labels", {"mites": 2, "Diptera (larva)": 2}, scanners=("A", "B"), scans=2)
    card = train(file, tmp_path / "out", encoder, least_examples=2)
    assert card["taxa"] == ["Diptera", "Acari"]


def test_a_taxon_with_few_animals_counts_as_what_is_above_it(encoder: Encoder, tmp_path: Path) -> None:
    animals = {"Oribatida": 1, "Trombidiformes": 1, "Isopoda": 2, "Lumbricidae": 1}
    card = train(draw_labels(tmp_path / "labels", animals, scans=1), tmp_path / "out", encoder)
    assert card["taxa"] == ["Isopoda", "Acari"]
    assert card["rolled_up"] == {mite: {"as": "Acari", "animals": 3} for mite in ("Trombidiformes", "Oribatida")}
    assert card["left_out"] == {"Lumbricidae": 3}


def test_a_taxon_that_the_project_does_not_have_is_named(encoder: Encoder, tmp_path: Path) -> None:
    file = draw_labels(tmp_path / "labels", {"Acarri": 2}, scanners=("A",), scans=1)
    with pytest.raises(LabelError, match=r"no taxon is called 'Acarri'; the nearest are Acari.*Add the taxon"):
        train(file, tmp_path / "out", encoder)
    assert not (tmp_path / "out").exists()
    mites = Taxonomy((Taxon("Acari", "class"),))
    springtails = draw_labels(tmp_path / "more", {"Collembola": 2}, scanners=("A",), scans=1)
    with pytest.raises(LabelError, match="'Collembola'; the taxa are Acari"):
        train_classifier(springtails, springtails.parent, tmp_path / "out", encoder=encoder, taxonomy=mites)


def test_a_class_without_a_label_is_no_class_and_the_card_says_so(encoder: Encoder, tmp_path: Path) -> None:
    file = draw_labels(tmp_path / "labels", {"Acari": 2, "Collembola": 2}, scans=2, categories=("Isopoda",))
    card = train(file, tmp_path / "out", encoder)
    assert "Isopoda" not in card["classes"]
    assert card["label_notes"] == [
        "Isopoda: no labelled animal to learn from (a hold-out's are not), so not among the classes"
    ]


def test_one_taxon_alone_is_told_from_bare_ground(encoder: Encoder, tmp_path: Path) -> None:
    card = train(draw_labels(tmp_path / "labels", {"Acari": 2}, scans=1), tmp_path / "out", encoder)
    assert card["classes"] == ["Acari", BACKGROUND]


def test_labels_without_an_animal_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="not one label"):
        train(draw_labels(tmp_path / "none", {}, scans=1), tmp_path / "out", encoder)
    with pytest.raises(ClassifierError, match="no animal is labelled"):
        train(draw_labels(tmp_path / "roots", {"root": 2}, scans=1), tmp_path / "out", encoder)


def test_suggested_tiles_do_not_say_how_frequent_a_taxon_is(encoder: Encoder, tmp_path: Path) -> None:
    file = draw_labels(tmp_path / "labels", {"Acari": 2, "Collembola": 2}, entry={"how": "suggested", "scan_id": "S1"})
    facts = image_facts(file)
    assert not facts["A0.png"].as_it_comes and facts["A0.png"].scan == "S1"
    card = train(file, tmp_path / "out", encoder)
    assert card["trained_on"]["drawn_as_it_comes"] == 0 and card["figures"] is None
    assert card["calibrated_on"].startswith("nothing: 0 crops")


def test_a_taxon_is_added_to_a_version_from_five_labels(labels: Path, encoder: Encoder, tmp_path: Path) -> None:
    before = train(labels, tmp_path / "one", encoder)
    new = draw_labels(tmp_path / "labels", {"Isopoda": 2}, scanners=("A", "B", "C"), scans=1, seed=5)
    known = load_classifier(tmp_path / "one")
    card = add_to_version(known, new, new.parent, tmp_path / "two", encoder=encoder, taxonomy=SOIL)
    assert card["classes"] == [*before["classes"], "Isopoda"]
    assert card["added"] == {"Isopoda": 6} and card["added_to"] == before["version"] != card["version"]
    crops = labelled_crops(read_labels(new, new.parent), encoder, taxonomy=SOIL, background_per_animal=0)
    answers = load_classifier(tmp_path / "two").classify(crops.embeddings, crops.sizes_mm)
    assert np.mean([taxon == "Isopoda" for taxon in answers.best_taxon]) > 0.8


def test_a_version_takes_no_crops_of_another_encoder(labels: Path, encoder: Encoder, tmp_path: Path) -> None:
    train(labels, tmp_path / "one", encoder)
    other = tiny_encoder(tmp_path / "encoder", seed=1)
    with pytest.raises(ClassifierError, match="cannot read those of"):
        add_to_version(
            load_classifier(tmp_path / "one"), labels, labels.parent, tmp_path / "two", encoder=other, taxonomy=SOIL
        )


def test_the_files_hold_no_path_of_this_machine(labels: Path, encoder: Encoder, tmp_path: Path) -> None:
    train(labels, tmp_path / "out", encoder, name="n")
    for name in ("card.json", "weights.safetensors"):
        assert str(labels.parent).encode() not in (tmp_path / "out" / name).read_bytes()
    json.loads((tmp_path / "out" / "card.json").read_bytes())
