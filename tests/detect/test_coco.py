"""Labels are read strictly: what cannot be meant is told, with its id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soilpipe.detect.coco import LabelError, nearest_taxon, only, read_labels, taxa_with_examples, with_taxa
from soilpipe.taxonomy import SOIL

Labelled = Callable[..., Path]


def read(path: Path) -> Any:
    return read_labels(path, path.parent)


def edit(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes to the first annotation."""
    return lambda data: data["annotations"][0].update(values)


def test_images_and_boxes_come_as_they_are_written(labelled: Labelled) -> None:
    labels = read(labelled(scanners={"A": 2}, animals=4))
    image = labels.images[1]
    assert labels.categories == ("mite", "springtail") and labels.source == "labels.json"
    assert image.boxes.shape == (4, 4) and image.labels.tolist() == [0, 1, 0, 1]
    assert (image.boxes[1, 2:] - image.boxes[1, :2]).tolist() == [32, 8]
    assert image.captured_at == datetime(2024, 3, 6, 6, tzinfo=UTC) and image.scans_present.tolist() == [-1] * 4


def test_a_box_that_reaches_beyond_the_image_is_clipped(labelled: Labelled) -> None:
    image = read(labelled(change=edit(bbox=[-5, 150, 20, 30]))).images[0]
    assert image.boxes[0].tolist() == [0, 150, 15, 160]


@pytest.mark.parametrize(
    ("bbox", "told"),
    [
        ([5, 5, 0, 10], "has no area"),
        ([5, 5, -3, 10], "has no area"),
        ([float("nan"), 5, 10, 10], "not numbers"),
        ([5, 5, float("inf"), 10], "not numbers"),
        ([500, 5, 10, 10], "lies outside the image of 224 x 160 px"),
        ([5, 5, 10], "is not x, y, width, height"),
        (None, "is not x, y, width, height"),
        ("1234", "is not x, y, width, height: a list of four numbers"),
        ({"x": 5}, "is not x, y, width, height"),
        (0, "is not x, y, width, height"),
        ([5, 5, True, 10], "not numbers"),
        ([5, 5, "9", 10], "not numbers"),
        ([5, 5, 10**400, 10], "not numbers"),
        ([223.9999, 5, 10, 10], "has no area: 0.0001 x 10 px of it lie in the image of 224 x 160 px"),
        ([5, -10, 10, 10.009], "has no area: 10 x 0.009 px"),
        ([5, 5, 1e-9, 10], "has no area"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused_with_its_annotation(labelled: Labelled, bbox: Any, told: str) -> None:
    with pytest.raises(LabelError, match=rf"annotation 1 \(image_0.png\).*{told}"):
        read(labelled(change=edit(bbox=bbox)))


def test_a_mask_without_a_box_gets_the_box_around_it(labelled: Labelled) -> None:
    mask = [[10, 20, 30, 20, 30, 44], [12, 18, 14, 18, 14, 19]]
    image = read(labelled(change=edit(bbox=None, segmentation=mask))).images[0]
    assert image.boxes[0].tolist() == [10, 18, 30, 44]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"iscrowd": "0"}, "iscrowd '0' is not 0, 1, true or false"),
        ({"iscrowd": 2}, "iscrowd 2 is not"),
        ({"iscrowd": None}, "iscrowd None is not"),
        ({"scans_present": 10**400}, "scans_present 1000.* is not a whole number"),
        ({"scans_present": "2"}, "scans_present '2' is not a whole number"),
        ({"category_id": [1]}, r"unknown category \[1\]; the file declares 1, 2"),
        ({"category_id": True}, "unknown category True"),
        ({"segmentation": 7}, "segmentation 7 is neither a list of polygons nor run lengths"),
    ],
)
def test_other_values_of_an_annotation_that_cannot_be_meant_are_refused_too(
    labelled: Labelled, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(LabelError, match=rf"labels\.json: annotation 1 \(image_0\.png\): {told}.* Mend these entries"):
        read(labelled(change=edit(**values)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"width": 224.5}, "width 224.5 and height 160 must be whole numbers of px"),
        ({"height": True}, "height True must be whole"),
        ({"width": 10**400}, "must be whole numbers of px"),
        ({"width": 10**6, "height": 10**6}, "more than the 1.2e.09 px that are read"),
        ({"dpi": 10**400}, "dpi 1000.* is not a number above 0"),
        ({"dpi": "1200"}, "dpi '1200' is not a number"),
        ({"dpi": 1e-300}, "dpi 1e-300 is not a number above 0, from 1 to 1000000"),
        ({"inclusion_probability": 10**400}, "inclusion_probability 1000.* is not a number above 0"),
        ({"labelled": "false"}, "labelled 'false' is not true or false"),
        ({"contrast": "../a.npz", "origin": [0, 0]}, "contrast '../a.npz' is not the name of a file"),
        ({"contrast": "a.npz"}, "contrast a.npz is that of a scan, and no origin says where"),
        ({"contrast": "a.npz", "origin": [0, 0]}, "its file a.npz is not in"),
        ({"origin": [5]}, r"origin \[5\] is not \[x, y\] in whole px"),
        ({"origin": [10**400, 0]}, "origin .* in whole px"),
        ({"scanner_id": {}}, "scanner_id {} is not a text"),
        ({"scanner_id": "A", "date_captured": 20240306}, "date_captured 20240306 is not an ISO time"),
        ({"scanner_id": "A", "date_captured": "9999-12-31T23:59:59-12:00"}, "date_captured .* is not an ISO time"),
    ],
)
def test_values_of_an_image_that_cannot_be_meant_are_refused(
    labelled: Labelled, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(LabelError, match=rf"labels\.json: image image_0\.png: .*{told}.* Mend these entries"):
        read(labelled(change=lambda data: data["images"][0].update(values)))


@pytest.mark.parametrize(
    ("key", "values", "told"),
    [
        ("images", {"id": [1]}, r"image image_0\.png: its id \[1\] is neither a whole number nor a text"),
        ("images", {"id": 2}, r"images image_0\.png and image_1\.png share the id 2"),
        ("images", {"file_name": 5}, "image 1: file_name 5 is not the name of a file"),
        ("images", {"file_name": "x" * 5000}, "1 of 3 images are not in"),
        ("images", {"file_name": "\ud800"}, r"image 1: file_name '\\ud800' is not the name"),
        ("annotations", {"image_id": {}}, "annotation 1: no image has the id {}"),
        ("categories", {"id": None}, "category 'mite': its id None is neither"),
        ("categories", {"name": 3}, "category 1 has no name that is a text, but 3"),
    ],
)
def test_ids_and_names_that_are_none_are_refused(
    labelled: Labelled, key: str, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(LabelError, match=told):
        read(labelled(change=lambda data: data[key][0].update(values)))


@pytest.mark.parametrize("info", [7, "mine", {"simulated": "false"}])
def test_an_info_that_cannot_be_meant_is_refused(labelled: Labelled, info: Any) -> None:
    with pytest.raises(LabelError, match=r"info .* must be an object, and what it says of `simulated` true or false"):
        read(labelled(change=lambda data: data.update(info=info)))


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({}, None),
        ({"licenses": []}, None),
        ({"licenses": None, "info": {"license": "CC BY 4.0"}}, "CC BY 4.0"),
        ({"licenses": [{"id": 0, "name": "", "url": ""}], "info": {"license": {"name": "CC0"}}}, "CC0"),
        ({"licenses": [{"id": 1, "name": "CC BY\n4.0"}, {"id": 2, "url": "https://example.org/own"}]},
         "CC BY 4.0; https://example.org/own"),
        ({"licenses": [{"id": 1, "name": "CC0"}, {"id": 7, "name": "CC BY 4.0"}]}, "CC BY 4.0"),
        ({"licenses": ["CC0", "CC0"]}, "CC0"),
    ],
)  # fmt: skip
def test_the_licence_of_the_images_is_that_which_the_file_tells(
    labelled: Labelled, said: dict[str, Any], licence: str | None
) -> None:
    def change(data: dict[str, Any]) -> None:
        data.update(said)
        data["images"][0]["license"] = 7

    assert read(labelled(change=change)).licence == licence


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"licenses": "CC0"}, "licenses 'CC0' is not a list"),
        ({"licenses": [{"name": 7}]}, "the licence {'name': 7} has no name that is a text"),
        ({"info": {"license": 7}}, "the licence 7 has no name that is a text"),
    ],
)
def test_a_licence_that_cannot_be_meant_is_refused(labelled: Labelled, said: dict[str, Any], told: str) -> None:
    with pytest.raises(LabelError, match=rf"labels\.json: {told}.* Mend these entries"):
        read(labelled(change=lambda data: data.update(said)))


def test_ids_as_texts_and_as_tables_write_them_are_ids(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["categories"][0]["id"] = "mite"
        for one in data["annotations"]:
            one.update(image_id=float(one["image_id"]), category_id={1: "mite", 2: 2.0}[one["category_id"]])

    labels = read(labelled(change=change))
    assert [len(image.boxes) for image in labels.images] == [6, 6, 6] and labels.images[0].labels.tolist()[:2] == [0, 1]


def test_a_scanner_may_be_called_0(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        for entry in data["images"]:
            entry["scanner_id"] = 0

    image = read(labelled(scanners={"A": 1}, change=change)).images[0]
    assert image.scanner_id == "0" and image.captured_at == datetime(2024, 3, 6, tzinfo=UTC)


def test_missing_images_are_named(labelled: Labelled) -> None:
    path = labelled(images=3)
    (path.parent / "image_1.png").unlink()
    with pytest.raises(LabelError, match=r"1 of 3 images are not in .*: image_1\.png"):
        read(path)


def test_an_unknown_category_and_an_unknown_image_are_named(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["annotations"][0]["category_id"] = 7
        data["annotations"][1]["image_id"] = 99

    with pytest.raises(LabelError, match=r"annotation 2: no image has the id 99; annotation 1 .*unknown category 7"):
        read(labelled(change=change))


def test_what_is_no_coco_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    with pytest.raises(LabelError, match="there is no such label file"):
        read(path)
    path.write_text("{")
    with pytest.raises(LabelError, match="not readable as JSON"):
        read(path)
    path.write_text("[]")
    with pytest.raises(LabelError, match="not COCO"):
        read(path)


def test_fifty_thousand_boxes_in_one_scan_are_read(labelled: Labelled) -> None:
    def change(data: dict[str, Any]) -> None:
        data["annotations"] = [
            {"id": index, "image_id": 1, "category_id": 1, "bbox": [index % 400 / 2, index // 400, 3, 3]}
            for index in range(50_000)
        ]

    assert len(read(labelled(images=1, change=change)).images[0].boxes) == 50_000


def test_categories_become_the_taxa_of_the_taxonomy(labelled: Labelled) -> None:
    labels = read(labelled())
    assert taxa_with_examples(labels, None) == ("mite", "springtail")
    taxa = taxa_with_examples(labels, SOIL)
    assert taxa == ("Collembola", "Acari")
    assert with_taxa(labels, taxa, SOIL).images[0].labels.tolist()[:2] == [1, 0]
    assert with_taxa(labels, ("Arthropoda",), SOIL).images[0].labels.tolist()[:2] == [0, 0]
    assert nearest_taxon("Poduromorpha", ("Acari", "Collembola"), SOIL) == "Collembola"


def test_a_category_that_no_taxonomy_knows_is_named(labelled: Labelled) -> None:
    labels = read(labelled(change=lambda data: data["categories"][0].update(name="blob")))
    with pytest.raises(LabelError, match=r"blob.*or train a single class"):
        taxa_with_examples(labels, SOIL)
    with pytest.raises(LabelError, match="the categories blob are none of the taxa Collembola"):
        with_taxa(labels, ("Collembola",), SOIL)
    assert with_taxa(labels, ("Collembola",), SOIL, strict=False).images[0].crowd.tolist()[:2] == [True, False]


def test_background_is_no_animal(labelled: Labelled) -> None:
    labels = read(labelled(change=lambda data: data["categories"][0].update(name="root")))
    assert taxa_with_examples(labels, SOIL) == ("Collembola",)
    assert len(with_taxa(labels, ("Collembola",), SOIL).images[0].boxes) == 3


def test_an_image_that_nobody_looked_at_is_not_ground_without_animals(labelled: Labelled) -> None:
    labels = read(labelled(images=3, change=lambda data: data["images"][0].update(labelled=False)))
    assert len(labels.labelled) == 2
    assert len(only(labels, lambda image: image.file_name == "image_1.png").labelled) == 1


def test_simulated_labels_say_so(labelled: Labelled) -> None:
    assert not read(labelled()).simulated
    assert read(labelled(change=lambda data: data["info"].update(simulated=True))).simulated


def test_masks_stay_with_their_animals(labelled: Labelled) -> None:
    """Also where other animals of the image are left out."""
    mask = [[10, 20, 30, 20, 30, 44], "no polygon"]

    def change(data: dict[str, Any]) -> None:
        data["categories"][0]["name"] = "root"
        data["annotations"][1]["segmentation"] = mask

    labels = read(labelled(images=1, animals=4, change=change))
    image = with_taxa(labels, ("springtail",), SOIL).images[0]
    assert image.labels.tolist() == [0, 0] and len(image.outlines) == 2
    assert [points.tolist() for points in image.outlines[0]] == [[[10, 20], [30, 20], [30, 44]]]
    assert image.outlines[1] == ()
    assert image.select(np.array([False, True])).outlines == ((),)
