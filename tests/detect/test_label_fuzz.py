"""Whatever stands in a label file, reading ends with labels that can be worked with or with an error for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe.detect.coco import read_labels, taxa_with_examples, with_taxa
from soilpipe.detect.dataset import references_of
from soilpipe.detect.split import split_labels
from soilpipe.errors import SoilpipeError
from soilpipe.taxonomy import SOIL
from tests.json_places import places, put

Labelled = Callable[..., Path]
SEEDED: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1234", "image_0.png", "Acari", "A", "\ud800", "\x00", "9999-12-31T23:59:59-12:00", "0001-01-01"]),
    st.lists(st.one_of(st.integers(-5, 5), st.floats(), st.just(10**400), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.sampled_from(["size", "counts", "name", "id"]), st.integers(-5, 5), max_size=2),
)


@pytest.fixture
def file(labelled: Labelled) -> Path:
    """Labels with everything that an entry may say."""

    def change(data: dict[str, Any]) -> None:
        data.update(licenses=[{"id": 1, "name": "CC0", "url": ""}], info={"simulated": False, "license": "CC0"})
        for number, entry in enumerate(data["images"]):
            entry.update(license=1, dpi=1200, origin=[0, 0], labelled=number > 0, inclusion_probability=0.5)
        ring, compressed = [10, 20, 30, 20, 30, 44], {"size": [50, 64], "counts": "fo09Y100000Rn1"}
        runs = {"size": [50, 64], "counts": [700, 9, 2491]}
        for one, mask in zip(data["annotations"], ([ring], runs, compressed), strict=True):
            one.update(segmentation=mask, scans_present=1)
        del data["annotations"][1]["bbox"], data["annotations"][2]["bbox"]

    return labelled(scanners={"A": 2, "B": 1}, size=(50, 64), animals=1, change=change)


def read_or_told(file: Path) -> bool:
    try:
        labels = read_labels(file, file.parent)
    except SoilpipeError as error:
        assert file.name in str(error) and len(str(error)) < 20_000 and str(error).encode()
        return False
    for image in labels.images:
        boxes = image.boxes
        assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes[:, 2:] <= (image.width, image.height)).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all(), "each has an area in the precision that it is kept in"
        assert len(image.labels) == len(image.crowd) == len(image.scans_present) == len(boxes)
        assert all(np.isfinite(ring).all() for outline in image.outlines for ring in outline)
        assert image.captured_at is None or image.captured_at.tzinfo is not None
    for use in (
        references_of,
        split_labels,
        lambda given: with_taxa(given, taxa_with_examples(given, SOIL), SOIL),
    ):
        try:
            use(labels)
        except SoilpipeError as error:
            assert str(error).encode()
    return True


def test_the_file_as_it_is_can_be_read(file: Path) -> None:
    assert read_or_told(file)


@settings(max_examples=300, **SEEDED)
@given(data=st.data())
def test_any_value_anywhere(file: Path, data: st.DataObject) -> None:
    whole = file.read_text()
    document = json.loads(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        document = put(document, data.draw(st.sampled_from(places(document))), data.draw(ODD))
    changed = file.with_name("changed.json")
    changed.write_text(json.dumps(document))
    read_or_told(changed)


@settings(max_examples=100, **SEEDED)
@given(data=st.data())
def test_any_bytes_anywhere(file: Path, data: st.DataObject) -> None:
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, max(0, len(whole) - 1)))
        whole[begin : begin + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
    changed = file.with_name("changed.json")
    changed.write_bytes(bytes(whole))
    read_or_told(changed)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"a":' * 100_000, "[1e999]", "9" * 5000, "\x00", "\ufeff", '{"images": 1e999}']
)
def test_texts_that_upset_parsers(tmp_path: Path, text: str) -> None:
    file = tmp_path / "upset.json"
    file.write_text(text, encoding="utf-8")
    assert not read_or_told(file)


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    assert not read_or_told(tmp_path)


def test_a_byte_order_mark_is_passed_over(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_or_told(file)
