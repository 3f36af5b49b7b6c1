"""What is no project file at all, and whatever a hand can slip into one, is told in words and never by a traceback."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from soilpipe.config import TEMPLATE, ConfigError, load_project
from soilpipe.errors import SoilpipeError


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="soilpipe init") as refused:
        load_project(tmp_path / "soilpipe.yaml")
    assert str(tmp_path / "soilpipe.yaml") in str(refused.value)
    assert isinstance(refused.value, SoilpipeError)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"# only a note\n", "is empty"),
        (b"caf\xe9: 1", "is not UTF-8"),
        (b"- a", "`key: value`"),
        (b"a: [1, 2", "line 1: is not valid YAML"),
        (b"a: 1\n\tb: 2", "line 2: is not valid YAML (column 1): found character"),
        (b"a: 1\n\tb: 2", "Indent with spaces, not with tabs"),
        (b'filename: "\\d"', "in 'single quotes'"),
        (b"a: b: c", "quote a value that holds"),
        (b"a: 'b", "A quotation mark is opened"),
        (b"a: 1\n---\nb: 1", "take the `---` out"),
        (b"a: 1\nb: \x01", "line 2: is not valid YAML: special characters"),
        (b"a: &x [*x]", "refers to itself"),
        (b"? [a]\n: 1", "has a key that is no word"),
        (b"a: !!python/object/apply:os.system [exit]", "unknown key"),
    ],
)
def test_what_is_no_yaml_is_told_in_words(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_project(file)
    assert told in str(refused.value)


def test_a_file_from_windows_loads(tmp_path: Path) -> None:
    file = tmp_path / "soilpipe.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TEMPLATE.replace("\n", "\r\n").encode())
    assert load_project(file).project == "my_project"


def test_an_error_survives_the_way_between_processes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path / "soilpipe.yaml")
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


words = st.sampled_from([*"abc", "007", "~", "id", "dpi", "from", "scanners", "sites", "taxa", "slots", "s3://b", "2h"])
yaml_values = st.recursive(
    words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
top_keys = st.sampled_from(
    ["project", "store", "sites", "scanners", "taxa", "slots", "inbox", "filename", "from", "until", "max_pixels",
     "storage_options", "inbox_options", "detector", "timezone", "late_after", "orientation", "keep_originals",
     "dask"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(top_keys, yaml_values, max_size=6))
def test_whatever_stands_in_a_file_the_only_error_is_a_config_error(tmp_path_factory, values) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError):
        load_project(file)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, len(TEMPLATE)), st.integers(0, 30), st.text(max_size=5))
def test_whatever_slip_of_the_hand_is_told_or_harmless(tmp_path_factory, at: int, cut: int, put: str) -> None:
    file = tmp_path_factory.getbasetemp() / "slip.yaml"
    file.write_text(TEMPLATE[:at] + put + TEMPLATE[at + cut :], encoding="utf-8", newline="")
    try:
        load_project(file)
    except ConfigError as refused:
        assert str(file) in str(refused)
