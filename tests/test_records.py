"""Records: one place that adds and reads them, with their seal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field

from soilpipe.config import FrozenModel
from soilpipe.errors import SoilpipeError
from soilpipe.records import Records
from soilpipe.seals import is_damaged_json
from soilpipe.store import Store


class Note(FrozenModel):
    from_: str = Field(alias="from")
    says: str


class NoteError(SoilpipeError):
    """A note cannot be read."""


NOTES = Records("notes", Note, "a note", NoteError)


def note(says: str) -> Note:
    return Note.model_validate({"from": "Ana", "says": says})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_records_come_back_by_their_names_and_those_of_one_folder_alone(store: Store) -> None:
    for name, says in (("A20/2", "second"), ("A20/1", "first"), ("B20/1", "other")):
        assert NOTES.add(store, name, note(says)) == f"records/notes/{name}.json" == NOTES.key(name)
    assert [one.says for one in NOTES.all(store)] == ["first", "second", "other"]
    assert [one.says for one in NOTES.all(store, "A20")] == ["first", "second"]
    assert NOTES.all(store, "A2") == [], "a folder, and no beginning of its name"
    assert NOTES.read(store, NOTES.key("B20/1")) == note("other")
    assert Records("other", Note, "a note", NoteError).all(store) == []


def test_a_record_is_sealed_and_the_same_one_is_the_same_bytes(store: Store) -> None:
    key = NOTES.add(store, "1", note("once"))
    before = store.read_bytes(key)
    assert json.loads(before)["from"] == "Ana" and not is_damaged_json(before)
    NOTES.add(store, "1", note("once"))
    assert store.read_bytes(key) == before
    assert is_damaged_json(before.replace(b"once", b"ever"))


def test_what_is_no_record_is_named(store: Store) -> None:
    store.write_json(NOTES.key("x"), {"from": "Ana", "says": 5})
    with pytest.raises(NoteError, match=r"records/notes/x\.json is not a note; records must not be edited"):
        NOTES.all(store)
    with pytest.raises(FileNotFoundError):
        NOTES.read(store, NOTES.key("nobody"))
