"""The format that a scanner writes changes no detection: real photographs, re-encoded without loss, give equal ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from soilpipe.analyses import analysis_of
from soilpipe.detect.change import ChangeDetector
from soilpipe.detect.run import detect_scan
from soilpipe.detect.weights import SHIPPED, load_detector
from soilpipe.detections import read_detection_file
from soilpipe.ingest.receipts import list_receipts

LOSSLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": (".png", {}),
    "tiff": (".tif", {}),
    "tiff, lzw": (".tif", {"compression": "lzw", "predictor": True}),
    "tiff, deflate": (".tif", {"compression": "zlib", "predictor": True}),
    "tiff, zstd": (".tif", {"compression": "zstd"}),
    "tiff, tiles": (".tif", {"compression": "zlib", "tile": (256, 256), "rowsperstrip": None}),
    "bigtiff, other byte order": (".tif", {"bigtiff": True, "byteorder": ">"}),
    "tiff, 16 bit": (".tif", {}),
    "jpeg 2000": (".jp2", {}),
}
RUN = ["20-19-15", "20-37-59", "20-56-43"]
"""Photographs of one trap within an hour."""


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> list[np.ndarray]:
    """The same 900 x 800 px of each; in the last, a piece of the trap with insects lies at another place too."""
    folder = shared_data / "stickypi" / "images"
    read = [cv2.imread(str(folder / f"0a5bb6f4.2020-06-20_{time}.jpg")) for time in RUN]
    cut = [np.ascontiguousarray(image[800:1700, 1200:2000, ::-1]) for image in read]
    cut[-1][200:420, 200:420] = read[-1][1200:1420, 1500:1720, ::-1]
    return cut


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_photograph_is_the_same_scan_in_every_lossless_format(make_bench, encode, shared_data: Path) -> None:
    """All of them whole. The shipped detector is asked about each twice: as PNG, and in one of the other formats."""
    detector = load_detector(SHIPPED)
    analysis = analysis_of(detector.info)
    files = sorted((shared_data / "stickypi" / "images").glob("*.jpg"))
    found = 0
    for number, file in enumerate(files):
        image = np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
        others = [name for name in LOSSLESS if name != "png"]
        asked = ("png", others[number % len(others)])
        stored, tables = {}, []
        for name, (suffix, options) in LOSSLESS.items():
            bench = make_bench(dpi=1200, keep_originals=False)
            deep = image.astype(np.uint16) * 257 if "16 bit" in name else image
            bench.deliver(f"A20_2024-03-06_00H00M{suffix}", encode(deep, suffix, **options))
            assert [outcome.kind for outcome in bench.run()] == ["accepted"], name
            (receipt,) = list_receipts(bench.store, "A20")
            stored[name] = [one.sha256 for one in receipt.files if "/c/" in one.path], receipt.quality, receipt.dpi
            if name in asked:
                done = detect_scan(bench.project, bench.store, receipt, detector, analysis)
                table = read_detection_file(bench.store, done.analysis_id, done.scan_id).table
                tables.append(table.drop_columns("detection_id"))
            shutil.rmtree(bench.project.store)
            shutil.rmtree(bench.scanner.inbox)
        assert all(one == stored["png"] for one in stored.values()), file.name
        assert tables[0].equals(tables[1]), (file.name, asked)
        found += tables[0].num_rows
    assert len(files) >= 20 and found >= 10  # it has seen soil only


def test_every_lossless_format_gives_equal_detections(make_bench, encode, photographs) -> None:
    bench = make_bench(dpi=1200)
    detector = ChangeDetector()
    analysis = analysis_of(detector.info)
    found = {}
    for name, (suffix, options) in LOSSLESS.items():
        for image, hour in zip(photographs, (0, 6, 12), strict=True):
            deep = image.astype(np.uint16) * 257 if "16 bit" in name else image
            bench.deliver(f"A20_2024-03-06_{hour:02d}H00M{suffix}", encode(deep, suffix, **options))
        assert [outcome.kind for outcome in bench.run()] == ["accepted"] * 3, name
        receipts = list_receipts(bench.store, "A20")
        done = detect_scan(bench.project, bench.store, receipts[-1], detector, analysis)
        table = read_detection_file(bench.store, done.analysis_id, done.scan_id).table.drop_columns("detection_id")
        shards = [file.sha256 for file in receipts[-1].files if "/c/" in file.path]
        found[name] = (table, shards, receipts[-1].quality)
        shutil.rmtree(bench.project.store)
        for path in Path(bench.scanner.inbox).iterdir():
            path.unlink()
    table, shards, quality = found["png"]
    assert table.num_rows >= 2
    for name, (other, other_shards, other_quality) in found.items():
        assert other_shards == shards, name
        assert other.equals(table), name
        assert other_quality == quality, name
