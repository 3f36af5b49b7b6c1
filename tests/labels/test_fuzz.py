"""Whatever stands in a file, an import ends with labels or with an error for people, and an error keeps nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soilpipe.errors import SoilpipeError
from soilpipe.labels.taking import take_labels
from tests.json_places import places, put
from tests.labels.conftest import NOW
from tests.labels.test_bad_input import FORMATS, GOOD, Desk

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["Acari", "looked at", "crowd", "2024-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "0001-01-01"]),
    st.lists(st.integers(-5, 5), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture
def desk(make_season: Callable[..., Any], tmp_path: Path) -> Desk:
    return Desk(make_season(scans=1), tmp_path)


def taken_or_told(desk: Desk, file: Path) -> bool:
    before = desk.season.files("labels")
    try:
        taken = take_labels(desk.season.project, desk.season.store, file, NOW, by="Ana", all_looked_at=True)
    except SoilpipeError as error:
        assert file.name in str(error)
        assert desk.season.files("labels") == before
        return False
    assert taken.taken + taken.unchanged + taken.older <= len(desk.tiles)
    return True


@pytest.mark.parametrize("format_", ["coco", "label-studio"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_in_json(desk: Desk, format_: str, data: st.DataObject) -> None:
    file = desk.file(format_, GOOD)
    document = json.loads(file.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        document = put(document, data.draw(st.sampled_from(places(document))), data.draw(ODD))
    file.write_text(json.dumps(document))
    taken_or_told(desk, file)


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_anywhere(desk: Desk, format_: str, data: st.DataObject) -> None:
    file = desk.file(format_, GOOD)
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(whole) - 1))
        whole[begin : begin + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
        whole = whole or bytearray(b" ")
    file.write_bytes(bytes(whole))
    taken_or_told(desk, file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "<a>" * 100_000, "[1e999]", "9" * 5000, "\x00", "\ufeff"]
)
def test_texts_that_upset_parsers(desk: Desk, text: str) -> None:
    file = desk.folder / "upset.json"
    file.write_text(text, encoding="utf-8")
    assert not taken_or_told(desk, file)
