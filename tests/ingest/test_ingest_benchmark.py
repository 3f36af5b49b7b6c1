"""The files and the verdicts of benchmarks/ingest.py."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile

from soilpipe.ingest.readers import open_reader

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Its modules, with scans of few pixels."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("ingest_files")
    monkeypatch.setattr(module, "A4", {600: (300, 260)})
    return module


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("tiff", {259: 1, 278: 128}),
        ("tiff deflate", {259: 8, 317: 2}),
        ("tiff jpeg", {259: 7, 262: 6, 278: 128}),
        ("tiff 16 bit", {258: (16, 16, 16)}),
        ("tiff big", {259: 1}),
        ("tiff one strip", {259: 8, 278: 300, 317: 2}),
    ],
)
def test_the_files_hold_the_picture_in_the_kind_they_are_called(
    name: str, tags: dict, files: ModuleType, tmp_path: Path
) -> None:
    path = files.make_file(tmp_path, name, 600)
    whole = np.concatenate(list(files.bands(300, 260, files.STRIP)))
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == (name == "tiff big")
        found = file.pages[0].tags
        assert {code: found[code].value for code in tags} == tags
    with open_reader(path, max_pixels=10**8, max_memory=10**9) as reader:
        assert reader.dpi == 600
        pixels = np.concatenate(list(reader.bands(128)))
    if name == "tiff jpeg":
        assert np.abs(pixels.astype(int) - whole).mean() < 12
    else:
        assert np.array_equal(pixels, whole)


def test_what_is_decoded_whole_is_judged_by_the_projects_limit(files: ModuleType) -> None:
    bench = importlib.import_module("ingest")

    def told(**ingest: object) -> str:
        (line,) = bench.verdicts([{"format": "jp2", "dpi": 2400, "ingest": ingest}])
        return str(line)

    assert bench.LIMIT_MB == 4000
    assert told(peak_mb=3900.0) == "jp2 at 2400 dpi, memory: 3900 MB of the project's limit of 4000 MB, met"
    assert told(peak_mb=5000.0).endswith("MISSED by 25%")
    assert told(failed="scan.jp2: refused (needs_memory): The JPEG 2000 file can only ...").endswith(
        "needs_memory, met"
    )
    assert "FAILED" in told(failed="scan.jp2: refused (damaged): ...")
