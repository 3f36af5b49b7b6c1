"""What no reader foresaw is a refusal with what happened, never an error that stops each run anew."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soilpipe.ingest import readers
from soilpipe.ingest.readers import Refused, open_reader
from soilpipe.ingest.readers.base import UNFORESEEN
from soilpipe.ingest.readers.jpeg2000 import Jpeg2000Reader
from soilpipe.ingest.readers.sequential import SequentialReader
from soilpipe.ingest.readers.tiff import TiffReader

FORMATS = {".jpg": SequentialReader, ".png": SequentialReader, ".tif": TiffReader, ".jp2": Jpeg2000Reader}
STEP = {SequentialReader: "samples", TiffReader: "_plain_rows", Jpeg2000Reader: "_whole"}
ERRORS = [
    ValueError("not enough values to unpack"),
    struct.error("unpack requires a buffer of 2 bytes"),
    TypeError("int() argument must be a string"),
    io.UnsupportedOperation("fileno"),
    OverflowError("int too large"),
    KeyError(7),
]


@pytest.fixture
def scan(tmp_path: Path, draw, encode):
    def make(suffix: str) -> Path:
        path = tmp_path / f"scan{suffix}"
        path.write_bytes(encode(draw(40, 50), suffix))
        return path

    return make


def read(path: Path) -> np.ndarray:
    with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
        return np.concatenate(list(reader.bands(16)))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("suffix", FORMATS)
def test_an_error_while_bands_are_read_is_damage(suffix: str, error: Exception, scan, monkeypatch) -> None:
    def fail(*args: object) -> Iterator[np.ndarray]:
        raise error
        yield

    monkeypatch.setattr(FORMATS[suffix], STEP[FORMATS[suffix]], fail)
    with pytest.raises(Refused, match=UNFORESEEN) as raised:
        read(scan(suffix))
    assert raised.value.code == "damaged"
    assert type(error).__name__ in raised.value.reason
    assert raised.value.__cause__ is error


def failing_to_open(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object) -> readers.Reader:
        raise error

    formats = [readers.Format(one.name, one.magics, one.suffixes, fail) for one in readers.FORMATS]
    monkeypatch.setattr(readers, "FORMATS", formats)


def test_an_error_while_a_file_is_opened_is_damage(scan, monkeypatch) -> None:
    path = scan(".png")
    failing_to_open(monkeypatch, ValueError("a line\nand another"))
    with pytest.raises(Refused, match=r"PNG file is damaged.*\(ValueError: a line\)"):
        read(path)


def test_memory_that_runs_out_is_told_as_such(scan, monkeypatch) -> None:
    path = scan(".jp2")
    failing_to_open(monkeypatch, MemoryError())
    with pytest.raises(Refused, match="Memory ran out while the JPEG 2000 file was read") as raised:
        read(path)
    assert raised.value.code == "needs_memory"


def test_a_disk_that_fails_is_still_no_fault_of_the_file(scan, monkeypatch) -> None:
    path = scan(".tif")
    failing_to_open(monkeypatch, OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        read(path)
